"""Archives from others: every bad file gives a clear error, and needs no more memory than it is long."""

import errno
import io
import json
import os
import socket
import struct
import warnings
import zipfile

import numpy as np
import pytest

import l2l
from l2l import archives

PLAIN = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }"


def test_written_and_read(tmp_path, recwarn):
    arrays = {"a/ü": np.arange(6.0).reshape(2, 3), "c": np.array(3, np.int64), "d": np.zeros([0, 2], np.float32)}
    opened = os.listdir("/proc/self/fd")
    archives.write(tmp_path / "x", {"name": "x", "ü": [1, None]}, arrays)
    config, read = archives.read(tmp_path / "x")
    assert not recwarn.list and os.listdir("/proc/self/fd") == opened  # all is closed
    assert config == {"name": "x", "ü": [1, None]} and set(read) == set(arrays)
    for name in arrays:
        assert read[name].dtype == arrays[name].dtype and read[name].shape == arrays[name].shape
        np.testing.assert_array_equal(read[name], arrays[name])
    with np.load(str(tmp_path / "x"), allow_pickle=False) as plain:
        np.testing.assert_array_equal(plain["a/ü"], arrays["a/ü"])
        assert json.loads(plain["config"].tobytes().decode()) == config


def test_writing_replaces_all_or_nothing(tmp_path, monkeypatch):
    archives.write(tmp_path / "x.npz", {"number": 1}, {})

    def full(file, **arrays):
        file.write(b"some of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        archives.write(tmp_path / "x.npz", {"number": 2}, {})
    assert os.listdir(str(tmp_path)) == ["x.npz"]
    assert archives.read(tmp_path / "x.npz")[0] == {"number": 1}


WRITERS = {
    "write": archives.write,
    "write_new": lambda path, config, arrays: archives.write_new([path], config, arrays),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_all_of_it_is_on_the_disk_before_it_has_its_name_and_the_name_is_flushed_too(writer, tmp_path, monkeypatch):
    path, steps, fsync = tmp_path / "x.npz", [], os.fsync
    rename = "replace" if writer == "write" else "link"
    renamed = getattr(os, rename)

    def recording_fsync(number):
        target = os.readlink("/proc/self/fd/%d" % number)
        steps.append(("fsync", target, os.fstat(number).st_size))
        fsync(number)

    def recording_rename(source, target):
        steps.append((rename, source, target))
        renamed(source, target)

    # NumPy's own writer happens to leave nothing in the file object's buffer.
    monkeypatch.setattr(np, "savez", lambda file, **arrays: file.write(b"an archive"))
    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, rename, recording_rename)
    WRITERS[writer](path, {"number": 1}, {"a": np.arange(10.0)})
    (_, aside, size), (_, source, target), (_, folder, _) = steps
    assert [step[0] for step in steps] == ["fsync", rename, "fsync"]
    assert size == path.stat().st_size == 10 and os.path.dirname(aside) == folder == str(tmp_path)
    assert source == aside and aside.endswith(".unfinished") and target == str(path)
    assert os.listdir(str(tmp_path)) == ["x.npz"]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_nothing_unfinished_is_left_whenever_it_fails(writer, error, tmp_path, monkeypatch):
    def failing(*arguments, **more):
        raise error

    for name in ["fsync", "replace" if writer == "write" else "link"]:
        with monkeypatch.context() as patched:
            patched.setattr(os, name, failing)
            if name == "link":  # what goes on without hard links fails too
                patched.setattr(os, "replace", failing)
                patched.setattr(os, "open", failing)
            with pytest.raises(type(error)):
                WRITERS[writer](str(tmp_path / "x.npz"), {}, {"a": np.zeros(3)})
        assert os.listdir(str(tmp_path)) == []


def test_a_new_name_is_the_first_that_nothing_has(tmp_path):
    (tmp_path / "a").write_text("a file")
    (tmp_path / "b").mkdir()
    (tmp_path / "c").symlink_to(tmp_path / "nothing")
    assert archives.write_new([tmp_path / name for name in "abcde"], {"x": 1}, {}) == str(tmp_path / "d")
    assert archives.read(tmp_path / "d")[0] == {"x": 1}
    assert (tmp_path / "a").read_text() == "a file" and sorted(os.listdir(str(tmp_path))) == list("abcd")


def test_a_new_name_is_taken_where_there_are_no_hard_links_too(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("a file")

    def link(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert archives.write_new([tmp_path / name for name in "abc"], {"x": 1}, {}) == str(tmp_path / "b")
    assert archives.read(tmp_path / "b")[0] == {"x": 1} and sorted(os.listdir(str(tmp_path))) == ["a", "b"]


def npy(header=PLAIN, data=bytes(24), magic=b"\x93NUMPY\x01\x00", length=None):
    header += b"\n"
    return magic + struct.pack("<H", len(header) if length is None else length) + header + data


CONFIG = npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", b"{}")
GOOD = {"config.npy": CONFIG, "a.npy": npy()}


def zipped(members, **more):
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", **more) as archive:
        warnings.simplefilter("ignore")  # of repeated names
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return file.getvalue()


def with_a(content):
    return zipped({"config.npy": CONFIG, "a.npy": content})


def with_config(text):
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }" % len(text)
    return zipped({"config.npy": npy(header.encode(), text), "a.npy": npy()})


def pickled():
    file = io.BytesIO()
    np.savez(file, config=np.array([{}], object))
    return file.getvalue()


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def overlapping():
    """A hundred members, each of which is most of the file: 2 MB that claim to be 200."""
    body, entries = b"", b""
    inner = b"x" * 2_000_000
    names = ["%03d.npy" % i for i in range(100)]
    headers = 37 * len(names)
    for i, name in enumerate(names):
        size = headers - 37 * (i + 1) + len(inner)
        fields = (0, 0, 0, 0, size, size, len(name), 0)
        body += struct.pack("<4sHHHHHLLLHH", b"PK\3\4", 20, *fields[:4], 0, *fields[4:]) + name.encode()
        entries += (
            struct.pack(
                "<4sHHHHHHLLLHHHHHLL", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, size, size, len(name), 0, 0, 0, 0, 0, 37 * i
            )
            + name.encode()
        )
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 100, 100, len(entries), len(body) + len(inner), 0)
    return body + inner + entries + end


def claiming(compressed):
    """The stored length of the last member, of the two in the table, is another."""
    good = zipped(GOOD)
    place = good.rindex(b"PK\1\2") + 20
    return good[:place] + struct.pack("<L", compressed) + good[place + 4 :]


GOOD_FILE = zipped(GOOD)


def with_a_table_of(size):
    return GOOD_FILE[:-10] + struct.pack("<LLH", size, 0, 0)


def encrypted():
    """As the table says of the last member."""
    place = GOOD_FILE.rindex(b"PK\1\2") + 8
    return GOOD_FILE[:place] + b"\1" + GOOD_FILE[place + 1 :]


BAD_FILES = {
    "empty": (b"", "too short"),
    "as short as an end": (bytes(41), "too short (41 bytes)"),
    "as long as an end": (bytes(42), "its end is missing"),
    "text": (b"meta_loss,last_loss\n" * 10, "its end is missing"),
    "random bytes": (np.random.RandomState(0).bytes(5000), "its end is missing"),
    "a pickle": (b"cos\nsystem\n(S'echo bad > /tmp/bad'\ntR." * 3, "its end is missing"),
    "cut in the middle": (GOOD_FILE[: len(GOOD_FILE) // 2], "its end is missing"),
    "cut by a byte": (GOOD_FILE[:-1], "its end is missing"),
    "cut at the start": (GOOD_FILE[100:], "damaged or truncated"),
    "a flipped byte in the data": (flipped(GOOD_FILE, GOOD_FILE.index(b"a.npy") + 80), "damaged or truncated"),
    "a flipped byte in the table": (flipped(GOOD_FILE, GOOD_FILE.index(b"PK\1\2")), "damaged or truncated"),
    "a table that is not there": (GOOD_FILE[:-10] + struct.pack("<LLH", 200, 10**6, 0), "damaged or truncated"),
    "a table of gigabytes": (with_a_table_of(2**32 - 2), "too many members"),
    "a table of 400 bytes a member and one more": (with_a_table_of(4_000_001), "too many members"),
    "a table as long as it may be": (with_a_table_of(4_000_000), "damaged or truncated"),
    "another table": (bytes(100) + b"PK\6\7" + bytes(16) + GOOD_FILE[-22:], "it claims to be longer than"),
    "compressed": (zipped(GOOD, compression=zipfile.ZIP_BZIP2), "is compressed or encrypted"),
    "encrypted": (encrypted(), "is compressed or encrypted"),
    "a zip bomb": (
        zipped({"config.npy": CONFIG, "a.npy": bytes(10**7)}, compression=zipfile.ZIP_DEFLATED),
        "its members are longer than the file",
    ),
    "overlapping members": (overlapping(), "its members are longer than the file"),
    "a member that claims gigabytes": (claiming(2 * 10**9), "has two lengths"),
    "path that escapes": (zipped({**GOOD, "../../a.npy": npy()}), "unknown member '../../a.npy'"),
    "absolute path": (zipped({**GOOD, "/etc/a.npy": npy()}), "unknown member '/etc/a.npy'"),
    "a script": (zipped({**GOOD, "setup.py": b"import os"}), "unknown or repeated member 'setup.py'"),
    "a name twice": (zipped([*GOOD.items(), ("a.npy", npy())]), "unknown or repeated member 'a.npy'"),
    "a missing member": (zipped({"config.npy": CONFIG}), "it lacks a"),
    "no config": (zipped({"a.npy": npy()}), "it lacks config"),
    "pickled objects": (pickled(), "must hold plain numbers"),
    "an object array": (with_a(npy(PLAIN.replace(b"<f8", b"|O"))), "must hold plain numbers"),
    "text for numbers": (with_a(npy(PLAIN.replace(b"<f8", b"<U8"))), "must hold plain numbers"),
    "a structured dtype": (with_a(npy(PLAIN.replace(b"'<f8'", b"[('a', '<f8')]"))), "must hold plain numbers"),
    "an unknown dtype": (with_a(npy(PLAIN.replace(b"<f8", b"<b8"))), "unknown dtype"),
    "Fortran order": (with_a(npy(PLAIN.replace(b"False", b"True"))), "must hold plain numbers"),
    "code for a shape": (with_a(npy(PLAIN.replace(b"(3,)", b"exit()"))), "must hold plain numbers"),
    "brackets without end": (with_a(npy(b"(" * 60000)), "must hold plain numbers"),
    "a shape too large": (with_a(npy(PLAIN.replace(b"3", b"10000000000"))), "not what its shape"),
    "a shape that overflows": (with_a(npy(PLAIN.replace(b"3,", b"4294967296, 4294967296, 16"))), "not what its shape"),
    "a shape that is impossible": (
        with_a(npy(PLAIN.replace(b"3,", b"0, 100000000000000000, 100000000000000000"), b"")),
        "impossible shape",
    ),
    "too many dimensions": (with_a(npy(PLAIN.replace(b"3,", b"1, " * 32 + b"3"))), "impossible shape"),
    "many long names": (zipped({"config.npy": CONFIG, "x" * 60000 + ".npy": npy()}), "unknown member 'xxx"),
    "a long header": (with_a(npy(PLAIN + b" " * 60000 + b"x")), "must hold plain numbers"),
    "a negative shape": (with_a(npy(PLAIN.replace(b"3", b"-3"))), "must hold plain numbers"),
    "data cut short": (with_a(npy(data=bytes(23))), "not what its shape"),
    "data too long": (with_a(npy(data=bytes(25))), "not what its shape"),
    "another format of arrays": (with_a(npy(magic=b"\x93NUMPY\x02\x00")), "no NumPy array of format 1.0"),
    "a header longer than the array": (with_a(npy(length=60000)), "must hold plain numbers"),
    "no array at all": (with_a(b""), "no NumPy array of format 1.0"),
    "an array without a header": (with_a(b"\x93NUMPY\x01\x00"), "must hold plain numbers"),
    "an array with half a length": (with_a(b"\x93NUMPY\x01\x00\x00"), "must hold plain numbers"),
    "a config that is no JSON": (with_config(b"{'a': 1}"), "its config is no JSON"),
    "a config of another kind": (with_config(b"[1, 2]"), "its config must be a JSON object"),
    "a config of brackets": (with_config(b"[" * 60000), "its config is no JSON"),
    "a config that is too long": (with_config(b" " * 70000 + b"{}"), "its config is not"),
    "a config longer by a byte": (with_config(b" " * (64 * 1024 - 1) + b"{}"), "its config is not 65536 bytes at most"),
    "a config of other numbers": (
        zipped(
            {"config.npy": npy(b"{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }", b"{}"), "a.npy": npy()}
        ),
        "its config is not 65536 bytes at most",
    ),
    "a config in no encoding": (with_config(b"\xff\xfe"), "its config is no JSON"),
}


def test_the_good_file_is_read(tmp_path):
    (tmp_path / "good").write_bytes(GOOD_FILE)
    assert archives.read(tmp_path / "good", ["a"])[0] == {}


@pytest.mark.parametrize("case", BAD_FILES)
def test_refused(case, tmp_path):
    content, reason = BAD_FILES[case]
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(ValueError) as caught:
        archives.read(tmp_path / "bad.npz", ["a"])
    assert type(caught.value) is ValueError
    assert "bad.npz" in str(caught.value) and reason in str(caught.value) and len(str(caught.value)) < 500
    # The same through every public function that reads a file.
    for read in [l2l.History.load, l2l.load]:
        with pytest.raises(ValueError, match=r"bad\.npz"):
            read(tmp_path / "bad.npz")


def test_every_cut_and_every_flipped_byte_is_refused_or_harmless(tmp_path):
    """No file makes anything but a ValueError, wherever it was damaged."""
    path, accepted = tmp_path / "bad.npz", 0
    for place in range(len(GOOD_FILE)):
        for content in [GOOD_FILE[:place], flipped(GOOD_FILE, place)]:
            path.write_bytes(content)
            try:
                _, arrays = archives.read(path, ["a"])
            except ValueError:
                continue
            accepted += 1  # a date, say
            np.testing.assert_array_equal(arrays["a"], np.zeros(3))
    assert accepted < 150


def test_what_is_no_regular_file_is_refused(tmp_path, monkeypatch):
    os.mkfifo(str(tmp_path / "pipe"))
    os.symlink("/dev/zero", str(tmp_path / "zeros"))
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    socket.socket(socket.AF_UNIX).bind("socket")
    for path in [tmp_path, tmp_path / "pipe", tmp_path / "zeros", tmp_path / "socket"]:
        with pytest.raises(ValueError, match="not a regular file"):
            archives.read(path)
        with pytest.raises(OSError, match="Not a regular file"):
            archives.write(path, {}, {})
    assert os.path.islink(str(tmp_path / "zeros")) and len(os.listdir(str(tmp_path))) == 3
    with pytest.raises(FileNotFoundError):
        archives.read(tmp_path / "nothing")
    for use in [archives.read, lambda path: archives.write(path, {}, {})]:
        with pytest.raises(TypeError, match=r"^path must be "):
            use(3)


def test_a_folder_that_cannot_be_flushed_is_no_obstacle(tmp_path, monkeypatch):
    flush = os.fsync

    def fsync(number):
        if os.path.isdir("/proc/self/fd/%d" % number):
            raise OSError(22, "Invalid argument")
        flush(number)

    monkeypatch.setattr(archives.os, "fsync", fsync)
    archives.write(tmp_path / "x", {"number": 1}, {})
    assert archives.read(tmp_path / "x")[0] == {"number": 1}


def test_arrays_in_any_order_can_be_written(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    archives.write(tmp_path / "x", {}, {"a": array.T, "b": array[:, ::2], "c": np.float32(2)})
    _, read = archives.read(tmp_path / "x")
    np.testing.assert_array_equal(read["a"], array.T)
    np.testing.assert_array_equal(read["b"], array[:, ::2])
    assert read["c"].shape == ()


def test_what_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    for array in [
        np.zeros(2, complex),
        np.array(["x"]),
        np.array([{}], object),
        np.zeros(2, ">f8"),
        np.zeros(2, "V2"),
        np.zeros(2, "g"),
    ]:
        with pytest.raises(ValueError, match="arrays must hold plain numbers of up to 64 bits, 'a' has dtype"):
            archives.write(tmp_path / "x", {}, {"a": array})
    circular = {}
    circular["itself"] = circular
    for config in [{"a": b"x"}, {"a": np.float32(1)}, {(1, 2): 3}, circular]:
        with pytest.raises(ValueError, match="config must hold JSON types alone: "):
            archives.write(tmp_path / "x", config, {})
    longest = {"text": "x" * (65536 - len('{"text": ""}'))}
    archives.write(tmp_path / "x", longest, {})
    assert archives.read(tmp_path / "x") == (longest, {})
    os.remove(str(tmp_path / "x"))
    with pytest.raises(ValueError, match="config must have at most 65536 bytes as JSON, got 65537"):
        archives.write(tmp_path / "x", {"text": longest["text"] + "x"}, {})
    with pytest.raises(ValueError, match="arrays must be fewer than 10000, got 10000"):
        archives.check({}, dict.fromkeys(map(str, range(10_000)), np.zeros(1)))
    assert archives.MOST_BYTES == 2**31 - 2**24  # of longer files Python writes the table's place elsewhere
    monkeypatch.setattr(archives, "MOST_BYTES", 100)
    archives.check({}, {"a": np.zeros(50, np.uint8), "b": np.zeros(50, bool)})
    with pytest.raises(ValueError, match="arrays must have at most 100 bytes together, got 160"):
        archives.write(tmp_path / "x", {}, {"a": np.zeros(20)})
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    archives.check({}, {"a": np.zeros(1), "b": np.zeros(1)})
    with pytest.raises(ValueError, match="arrays must be fewer than 3, got 3"):
        archives.write(tmp_path / "x", {}, {name: np.zeros(1) for name in "abc"})
    assert os.listdir(str(tmp_path)) == []


def test_histories_and_weights_of_another_kind_are_refused(tmp_path):
    columns = {column: np.zeros(3) for column in l2l.History.COLUMNS}
    for change in [
        {"seconds": np.zeros(2)},
        {"seconds": np.zeros(3, np.float32)},
        {"meta_loss": np.zeros([3, 1])},
        {"last_loss": np.zeros(3, np.int64)},
    ]:
        archives.write(tmp_path / "x", {}, {**columns, **change})
        with pytest.raises(ValueError, match="must hold float64 columns"):
            l2l.History.load(tmp_path / "x")
    one = {"weights/0": np.zeros(2)}
    for config, arrays in [
        ({}, {"0": np.zeros(2)}),
        ({"weights": 2}, {"0": np.zeros(2)}),
        ({"weights": 1}, columns),
        ({"weights": 0}, {}),
        ({"weights": True}, {"0": np.zeros(2)}),
        ({"weights": "1"}, {"0": np.zeros(2)}),
        ({"format": 2, "weights": 2}, one),
        ({"format": 2, "weights": 1}, {"0": np.zeros(2)}),
        ({"format": "2", "weights": 1}, one),
        ({"format": 0, "weights": 1}, one),
        ({"format": 2, "weights": 1, "record": []}, one),
        ({"format": 2, "weights": 1}, {**one, "adapted/1": np.zeros(2)}),
    ]:
        archives.write(tmp_path / "x", config, arrays)
        with pytest.raises(ValueError, match="must hold a trained optimizer, saved by l2l"):
            l2l.load(tmp_path / "x", build=l2l.CoordinatewiseLSTM)
    archives.write(tmp_path / "x", {"format": 3, "weights": 1}, one)
    with pytest.raises(ValueError, match="has format 3, which a newer version of l2l wrote; this one reads up to 2"):
        l2l.load(tmp_path / "x")


DESCRIPTION = {
    "class": "CoordinatewiseLSTM",
    "hidden": [3],
    "casting": {"kind": "none", "name": "none", "parameters": {}},
    "dtype": "float32",
    "input_layer": True,
    "output_scale": 1.0,
}


@pytest.mark.parametrize(
    "change",
    [
        {"class": "Trainer"},
        {"class": ["CoordinatewiseLSTM"]},
        {"hidden": 3},
        {"hidden": []},
        {"hidden": [0]},
        {"hidden": [[3]]},
        {"hidden": "33"},
        {"hidden": [10**30]},
        {"hidden": None},
        {"dtype": "string"},
        {"dtype": "int32"},
        {"dtype": 7},
        {"dtype": "x"},
        {"dtype": {}},
        {"casting": None},
        {"casting": "none"},
        {"casting": []},
        {"casting": {"kind": "none"}},
        {"casting": {"kind": ["none"], "parameters": {}}},
        {"casting": {"kind": "__class__", "parameters": {}}},
        {"casting": {"kind": "log", "parameters": {"min_log_gradient": "x"}}},
        {"casting": {"kind": "log", "parameters": {"min_log_gradient": 5}}},
        {"casting": {"kind": "log", "parameters": {"other": 5}}},
        {"casting": {"kind": "log", "parameters": [1]}},
        {"casting": {"kind": "log_and_sign", "parameters": {"k": 10**400}}},
        {"casting": {"kind": "log_ratio", "parameters": {"min_log_ratio": "x"}}},
        {"casting": {"kind": "moments", "parameters": {"beta": None}}},
        {"casting": {"kind": "secant", "parameters": {"beta": 0.9}}},
        {"input_activation": "relu"},
        {"input_activation": ["elu"]},
        {"input_activation": "elu", "input_layer": False},
    ],
    ids=lambda change: str(change)[:60],
)
def test_a_description_that_describes_nothing_is_refused(change, tmp_path):
    """The record of a trained optimizer is read without trust too: whatever stands there, it is a ValueError."""
    config = {"format": 2, "weights": 1, "record": {"optimizer": {**DESCRIPTION, **change}}}
    archives.write(tmp_path / "x", config, {"weights/0": np.zeros(2)})
    with pytest.raises(ValueError, match=r"build must be given for .*none of the library's own"):
        l2l.load(tmp_path / "x")


def test_a_description_with_a_part_missing_is_refused(tmp_path):
    for optimizer in [None, [], 3, *({k: v for k, v in DESCRIPTION.items() if k != name} for name in DESCRIPTION)]:
        archives.write(
            tmp_path / "x",
            {"format": 2, "weights": 1, "record": {"optimizer": optimizer}},
            {"weights/0": np.zeros(2)},
        )
        with pytest.raises(ValueError, match=r"build must be given for .*none of the library's own"):
            l2l.load(tmp_path / "x")


def test_a_trained_optimizer_of_other_weights_is_refused_where_it_is_used(tmp_path):
    config = {"format": 2, "weights": 1, "record": {"optimizer": DESCRIPTION}}
    archives.write(tmp_path / "x", config, {"weights/0": np.zeros(2)})
    with pytest.raises(ValueError, match=r"must have the weights that it builds"):
        l2l.evaluate(l2l.Quadratic(2), {"x": l2l.load(tmp_path / "x")}, draws=1, steps=1)
