"""Archives of arrays on disk: NumPy `.npz` files, written in one step and read without trust.

An archive holds named arrays and one JSON object. It is an uncompressed zip file, which `numpy.load` also
opens: a member `NAME.npy` for each array, and `config.npy` with the JSON object's UTF-8 bytes.

Reading trusts nothing. No code runs, and nothing is unpacked to disk. Compressed members are refused, so
reading uses no more memory than the file is long.
"""

import contextlib
import errno
import functools
import json
import operator
import os
import re
import shutil
import stat
import struct
import uuid
import zipfile

import numpy as np

from l2l import checks

MOST_MEMBERS = 10_000
MOST_BYTES_OF_CONFIG = 64 * 1024

# A zip file ends with 22 bytes; 4 of them are the length of the table of its members. If the file is longer than
# 31 bits can tell, Python writes 20 more before them, which locate another table.
MOST_BYTES = 2**31 - 2**24
_LOCATOR_LENGTH, _END_LENGTH, _TABLE_BYTES_PER_MEMBER = 20, 22, 400
_MAGIC = b"\x93NUMPY\x01\x00"
# The header that NumPy writes before a C-contiguous array of plain numbers; it matches nothing else.
_HEADER = re.compile(
    rb"\{'descr': '([<|][fiub][1248])', 'fortran_order': False, 'shape': \(((?:\d{1,18}(?:, |,|(?=\))))*)\), \} *\n"
)


def check(config, arrays):
    """Returns the content of a file with this config and these arrays.

    Args:
      config: dict of JSON types.
      arrays: dict from name to array of numbers.

    Returns:
      `(text, arrays)`: the config as JSON, uint8 `[n]`, and the arrays in C order.

    Raises:
      ValueError: config or arrays are too large, or hold something else than JSON types and plain numbers.
    """
    try:
        text = np.frombuffer(json.dumps(config).encode(), np.uint8)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError("config must hold JSON types alone: %.200s" % error) from None
    if text.size > MOST_BYTES_OF_CONFIG:
        raise ValueError("config must have at most %d bytes as JSON, got %d" % (MOST_BYTES_OF_CONFIG, text.size))
    # Readers know C order and little-endian alone.
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8 or array.dtype.byteorder == ">":
            raise ValueError("arrays must hold plain numbers of up to 64 bits, %r has dtype %s" % (name, array.dtype))
    if len(arrays) >= MOST_MEMBERS:
        raise ValueError("arrays must be fewer than %d, got %d" % (MOST_MEMBERS, len(arrays)))
    total = sum(array.nbytes for array in arrays.values())
    if total > MOST_BYTES:
        raise ValueError("arrays must have at most %d bytes together, got %d" % (MOST_BYTES, total))
    return text, arrays


def write(path, config, arrays):
    """Writes an archive in one step.

    At any moment the path holds the old file or the whole new one.

    Args:
      path: file name; its folder must exist.
      config, arrays: as for `check`.

    Raises:
      ValueError: as `check`.
      OSError: it cannot be written. Nothing is left of it, and an old file of that name is unchanged.
    """
    path, (text, arrays) = checks.path("path", path), check(config, arrays)
    replace(path, lambda file: np.savez(file, config=text, **arrays))


def replace(path, write):
    """Writes any file in one step.

    After a failure nothing is left of it, and an old file is unchanged.

    Args:
      path: file name.
      write: function of an open file, which writes bytes to it.

    Raises:
      OSError: it cannot be written, or the path is neither a regular file nor missing.
    """
    path = os.path.realpath(path)  # a link stays one
    exists = os.path.exists(path)
    if exists and not os.path.isfile(path):  # such as /dev/full, which root could replace
        raise OSError(errno.EINVAL, "Not a regular file", path)
    with _written_aside(path, write) as aside:
        if exists:
            shutil.copymode(path, aside)
        os.replace(aside, path)
    _flush_folder(path)


def write_new(paths, config, arrays):
    """Writes an archive under the first free one of some names, even if others write at the same time.

    Args:
      paths: the names, an endless iterable; all in one folder.
      config, arrays: as for `check`.

    Returns:
      The name that was used, as an absolute path.
    """
    paths, (text, arrays) = map(os.path.abspath, paths), check(config, arrays)
    path = next(paths)
    with _written_aside(path, lambda file: np.savez(file, config=text, **arrays)) as aside:
        while not _took(aside, path):
            path = next(paths)
    _flush_folder(path)
    return path


def _took(aside, path):
    """Gives a file a name that no other file has; returns whether it could."""
    try:
        os.link(aside, path)
    except OSError:  # the name is taken; or there are no hard links here, and an empty file holds it for a moment
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        os.replace(aside, path)
    return True


@contextlib.contextmanager
def _written_aside(path, write):
    """Writes a file completely, under a name that nobody reads; within the block it may get another one."""
    aside = "%s.%s.unfinished" % (path, uuid.uuid4().hex)
    try:
        with open(aside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield aside
    finally:
        if os.path.exists(aside):
            os.unlink(aside)


def _flush_folder(path):
    """Flushes the new name itself to the disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path, known=None):
    """Reads the config and the arrays of an archive.

    Args:
      path: file name.
      known: names of the arrays that it must hold, and no others; None for any.

    Returns:
      `(config, arrays)`: a dict and a dict from name to array.

    Raises:
      TypeError: `path` is no path.
      FileNotFoundError: no such file exists.
      ValueError: it is no such archive: malformed, truncated, damaged, compressed, with pickled
        objects, or with other members.
    """
    path = checks.path("path", path)

    def wrong(reason, *values):
        return ValueError("%r is no archive that can be read: %s" % (path, reason % values))

    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115, closed below
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENXIO):  # a directory; a socket
            raise wrong("not a regular file") from None
        raise
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise wrong("not a regular file")
        _check_end(file, status.st_size, wrong)
        with _damage_named(wrong):
            archive = zipfile.ZipFile(file)
        members = archive.infolist()
        if sum(member.file_size for member in members) > status.st_size:  # they may overlap
            raise wrong("its members are longer than the file")
        arrays = {}
        for member in members:
            name = member.filename
            if not name.endswith(".npy") or name[:-4] in arrays:
                raise wrong("unknown or repeated member %.100r", name)
            if known is not None and name != "config.npy" and name[:-4] not in known:
                raise wrong("unknown member %.100r", name)
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise wrong("member %.100r is compressed or encrypted", name)
            if member.compress_size != member.file_size:  # it is the first of them that is read
                raise wrong("member %.100r has two lengths", name)
            with _damage_named(wrong):
                content = archive.read(member)
            arrays[name[:-4]] = _array(content, name, wrong)
    missing = [name for name in ["config", *(known or [])] if name not in arrays]
    if missing:
        raise wrong("it lacks %.200s", ", ".join(missing))
    return _config(arrays.pop("config"), wrong), arrays


def _without_waiting(path, flags):
    """Opens a file without waiting for a writer, in case it is a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


@contextlib.contextmanager
def _damage_named(wrong):
    """All that `zipfile` says about a damaged file, as one error."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        EOFError,
        OSError,
        NotImplementedError,
        struct.error,
        ValueError,
        OverflowError,
        IndexError,
    ) as error:
        raise wrong("damaged or truncated (%.200s)", error) from None


def _check_end(file, size, wrong):
    """Refuses a file whose table of members is missing or so long that reading it would need much memory."""
    if size < _LOCATOR_LENGTH + _END_LENGTH:
        raise wrong("too short (%d bytes)", size)
    file.seek(size - _LOCATOR_LENGTH - _END_LENGTH)
    locator, end = file.read(_LOCATOR_LENGTH), file.read(_END_LENGTH)
    if not end.startswith(b"PK\x05\x06"):
        raise wrong("its end is missing")
    if locator.startswith(b"PK\x06\x07"):
        raise wrong("it claims to be longer than %d bytes", MOST_BYTES)
    (table_bytes,) = struct.unpack("<L", end[12:16])
    if table_bytes > MOST_MEMBERS * _TABLE_BYTES_PER_MEMBER:
        raise wrong("too many members (a table of %d bytes)", table_bytes)


def _array(content, name, wrong):
    if not content.startswith(_MAGIC):
        raise wrong("member %.100r is no NumPy array of format 1.0", name)
    start = len(_MAGIC) + 2
    (length,) = struct.unpack("<H", content[start - 2 : start].ljust(2, b"\0"))
    header = _HEADER.fullmatch(content[start : start + length])
    if header is None:
        raise wrong(
            "member %.100r must hold plain numbers, its header is %.200r", name, content[start : start + length]
        )
    try:
        dtype = np.dtype(header.group(1).decode())
    except TypeError:
        raise wrong("member %.100r has the unknown dtype %r", name, header.group(1)) from None
    shape = tuple(int(number) for number in re.findall(rb"\d+", header.group(2)))
    data = memoryview(content)[start + length :]
    # Python's integers do not overflow, so a shape cannot lie.
    if functools.reduce(operator.mul, shape, 1) * dtype.itemsize != len(data):
        raise wrong("member %.100r has %d bytes, not what its shape %.200s needs", name, len(data), shape)
    try:
        return np.frombuffer(data, dtype).reshape(shape)
    except ValueError as error:  # too many dimensions, or one too large beside another of 0
        raise wrong("member %.100r has the impossible shape %.200s (%.100s)", name, shape, error) from None


def _config(text, wrong):
    if text.dtype != np.uint8 or text.size > MOST_BYTES_OF_CONFIG:
        raise wrong("its config is not %d bytes at most", MOST_BYTES_OF_CONFIG)
    try:
        config = json.loads(text.tobytes().decode())
    except (ValueError, RecursionError) as error:
        raise wrong("its config is no JSON (%.200s)", error) from None
    if not isinstance(config, dict):
        raise wrong("its config must be a JSON object, got %.100r", config)
    return config
