"""The file format: what goes in comes out, and nothing damaged does."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from neurograph import io
from neurograph.errors import FileFormatError, InvalidValueError

DTYPES = ["bool", "int8", "int32", "int64", "uint8", "uint64", "float16", "float32", "float64"]
ARRAYS = {
    "weight": np.linspace(-1, 1, 7, dtype=np.float32),
    "id": np.arange(5, dtype=np.int64),
    "alive": np.array([True, False, True]),
}
META = {"seed": 3, "groups": {"odd corner": [1, 2]}, "rate": 0.1, "name": "Zürich ☃", "none": None}

pytestmark = pytest.mark.nojit


def assert_same(actual, expected):
    arrays, meta = actual
    assert meta == expected[1]
    assert sorted(arrays) == sorted(expected[0])
    for name, array in expected[0].items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved file: its path, a scratch path beside it and its bytes."""
    folder = tmp_path_factory.mktemp("io")
    io.save(folder / "whole.ng", ARRAYS, META)
    return folder / "scratch.ng", (folder / "whole.ng").read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrays=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__"),
        st.sampled_from(DTYPES).flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0))),
        max_size=4,
    ),
    meta=st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=9), lambda x: st.lists(x, max_size=3)
        ),
        max_size=4,
    ),
)
def test_round_trip(tmp_path, arrays, meta):
    io.save(tmp_path / "file.ng", arrays, meta)
    assert_same(io.load(tmp_path / "file.ng"), (arrays, meta))


def test_loaded_arrays_are_the_callers_own(tmp_path):
    io.save(tmp_path / "file.ng", ARRAYS, META)
    arrays, _ = io.load(tmp_path / "file.ng")
    arrays["weight"][:] = 9
    assert_same(io.load(tmp_path / "file.ng"), (ARRAYS, META))


@pytest.mark.parametrize(
    "array",
    [np.arange(12.0).reshape(3, 4).T, np.arange(10)[::3], np.arange(4, dtype=">i4"), np.asfortranarray(np.eye(3))],
    ids=["transposed", "strided", "big-endian", "fortran"],
)
def test_any_memory_layout_is_saved(tmp_path, array):
    io.save(tmp_path / "file.ng", {"a": array}, {})
    np.testing.assert_array_equal(io.load(tmp_path / "file.ng")[0]["a"], array, strict=array.dtype.isnative)


def test_other_readers_can_open_the_file(saved):
    """The layout is the documented one: safetensors itself reads it."""
    arrays = safetensors.numpy.load(saved[1])
    np.testing.assert_array_equal(arrays["weight"], ARRAYS["weight"])
    header = json.loads(saved[1][8 : 8 + int.from_bytes(saved[1][:8], "little")])
    assert header["__metadata__"]["format"] == "neurograph"
    assert json.loads(header["__metadata__"]["meta"]) == META


def test_every_truncation_is_refused(saved):
    path, data = saved
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(FileFormatError, match="truncated"):
            io.load(path)
    path.write_bytes(data[:-1])
    with pytest.raises(FileFormatError, match="truncated"):
        io.load(path)


def test_every_flipped_bit_is_refused(saved):
    path, data = saved
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError, match=r"scratch\.ng"):
            io.load(path)


@given(data=st.data())
def test_changed_bytes_are_refused(saved, data):
    path, whole = saved
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    with pytest.raises(FileFormatError):
        io.load(path)


@given(tail=st.binary(min_size=1, max_size=20))
def test_appended_bytes_are_refused(saved, tail):
    path, whole = saved
    path.write_bytes(whole + tail)
    with pytest.raises(FileFormatError):
        io.load(path)


@given(content=st.binary(max_size=200))
def test_foreign_bytes_are_refused(saved, content):
    path, _ = saved
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="not a neurograph file"):
        io.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ng.*save\(\)"):
        io.load(tmp_path / "nowhere.ng")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(FileFormatError, match="is no file"):
        io.load(tmp_path)


def test_somebody_elses_safetensors_file_is_refused(tmp_path):
    safetensors.numpy.save_file({"a": np.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(FileFormatError, match="not one that neurograph wrote"):
        io.load(tmp_path / "other.safetensors")


def test_a_newer_version_says_so(tmp_path):
    texts = {"format": "neurograph", "version": "99", "meta": "{}", "checksum": ""}
    safetensors.numpy.save_file({"a": np.zeros(2)}, tmp_path / "new.ng", metadata=texts)
    with pytest.raises(FileFormatError, match=r"version 99.*up to 1.*newer neurograph"):
        io.load(tmp_path / "new.ng")


@pytest.mark.parametrize(
    ("arrays", "meta", "text"),
    [
        ({"a": np.array([{}, []], dtype=object)}, {}, "'a' has dtype object"),
        ({"a": np.array(["x"])}, {}, "'a' has dtype <U1"),
        ({}, {"f": print}, "JSON"),
        ({}, {"n": np.float32(1)}, "JSON"),
    ],
)
def test_what_the_file_cannot_hold_is_refused_and_the_old_file_stays(tmp_path, arrays, meta, text):
    io.save(tmp_path / "file.ng", ARRAYS, META)
    with pytest.raises(InvalidValueError, match=text):
        io.save(tmp_path / "file.ng", arrays, meta)
    assert_same(io.load(tmp_path / "file.ng"), (ARRAYS, META))


@pytest.mark.parametrize("culprit", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch, culprit):
    io.save(tmp_path / "file.ng", ARRAYS, META)

    def fail(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(os, culprit, fail)
        io.save(tmp_path / "file.ng", {"other": np.ones(3)}, {})
    assert os.listdir(tmp_path) == ["file.ng"]
    assert_same(io.load(tmp_path / "file.ng"), (ARRAYS, META))


def test_a_failing_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    io.save(tmp_path / "file.ng", ARRAYS, META)

    def fail(tensors, filename, metadata):
        filename.write_bytes(b"half")
        raise safetensors.SafetensorError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(safetensors.numpy, "save_file", fail)
        io.save(tmp_path / "file.ng", {}, {})
    assert os.listdir(tmp_path) == ["file.ng"]
    assert_same(io.load(tmp_path / "file.ng"), (ARRAYS, META))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        io.save(tmp_path / "nowhere" / "file.ng", ARRAYS, META)


def test_a_link_keeps_pointing_at_its_file(tmp_path):
    io.save(tmp_path / "real.ng", {}, {"n": 1})
    try:
        (tmp_path / "link.ng").symlink_to(tmp_path / "real.ng")
    except OSError:
        pytest.skip("this system makes no symbolic links")
    io.save(tmp_path / "link.ng", {}, {"n": 2})
    assert (tmp_path / "link.ng").is_symlink()
    assert io.load(tmp_path / "real.ng")[1] == {"n": 2}
