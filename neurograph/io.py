"""The file format: a dictionary of arrays and a dictionary of plain values, in and out. Knows nothing of networks.

A neurograph file is a `safetensors <https://github.com/huggingface/safetensors>`_ file: a JSON header, then the raw
bytes of the arrays. Nothing in it is ever executed, and any safetensors reader can open it. The header's metadata hold
four texts:

=========== ==========================================================================================
format      the word ``neurograph``
version     version of the layout, a whole number
meta        the plain values, as JSON
checksum    BLAKE2b over the three texts above and over name, dtype, shape and bytes of every array
=========== ==========================================================================================
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FileFormatError, InvalidValueError

FORMAT = "neurograph"
VERSION = 1

# What both NumPy and safetensors can hold.
_DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)


def save(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and plain values to one file, all or nothing.

    The bytes go to a temporary file beside `path`, are flushed to the disk and only then take the place of `path`: when
    anything fails on the way, power included, the old file is still there, whole.

    Parameters
    ----------
    path : path
        Where to write. The folder must exist; an existing file is replaced.
    arrays : mapping of str to array
        Numbers or booleans, any shape.
    meta : mapping of str to plain values
        What JSON can hold: dicts, lists, texts, numbers, booleans and None. Tuples come back as lists.

    Raises
    ------
    InvalidValueError
        An array is not of a numeric type, or `meta` holds something that JSON cannot. Nothing is written.
    FileNotFoundError
        The folder does not exist.
    OSError
        The disk refused (full, read-only, ...).

    Examples
    --------
    >>> import os, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "example.ng")
    >>> save(path, {"weight": np.array([0.5, -1.0])}, {"seed": 7})
    >>> arrays, meta = load(path)
    >>> arrays["weight"], meta
    (array([ 0.5, -1. ]), {'seed': 7})
    >>> folder.cleanup()
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: _plain(name, array) for name, array in arrays.items()}
    texts = {"format": FORMAT, "version": str(VERSION), "meta": _to_json(meta)}
    texts["checksum"] = _checksum(texts, arrays)

    # A link keeps pointing where it did; only the file behind it is replaced.
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {target.parent} to write {target.name} into: make it first.")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            save_file(arrays, temporary, metadata=texts)
        except SafetensorError as error:
            raise OSError(f"Could not write {target}: {error}. What was there before is unchanged.") from error
        _flush(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(target.parent)


def load(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `save` wrote, and refuse anything that is not exactly that.

    Parameters
    ----------
    path : path
        A file written by `save`.

    Returns
    -------
    arrays : dict of str to array
        The arrays, writable and owned by the caller, in alphabetical order of their names.
    meta : dict
        The plain values.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FileFormatError
        Not a neurograph file, truncated, altered, or written by a newer neurograph.

    Examples
    --------
    >>> load("no such file.ng")
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no file 'no such file.ng'. Check the spelling and the folder; save() writes such files.
    """
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"There is no file {name!r}. Check the spelling and the folder; save() writes such files."
        )
    if not os.path.isfile(path):
        raise FileFormatError(f"{name!r} is no file: give the path of one that save() wrote.")
    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            _check_origin(name, texts)
            arrays = {key: file.get_tensor(key) for key in sorted(file.keys())}
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(
            f"{name!r} is not a neurograph file, or it was truncated or altered ({error}). "
            "Take another copy, or save the network again."
        ) from error
    if not _header_is_clean(path) or texts.get("checksum") != _checksum(texts, arrays):
        raise FileFormatError(
            f"{name!r} was altered after it was saved: its checksum does not match its content. "
            "Take another copy, or save the network again."
        )
    return arrays, json.loads(texts["meta"])


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    """Return the array as safetensors wants it: contiguous, little-endian, of a numeric dtype."""
    array = np.asarray(array)
    if array.dtype.name not in _DTYPES:
        raise InvalidValueError(
            f"Array {name!r} has dtype {array.dtype}, which the file cannot hold: "
            f"convert it to one of {', '.join(_DTYPES)}."
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _to_json(meta: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(meta), separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise InvalidValueError(
            f"The meta data cannot be written as JSON ({error}): use dicts, lists, texts, numbers, booleans and None."
        ) from error


def _checksum(texts: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> str:
    """Digest of all that a file says, whatever the order in which the arrays lie in it."""
    digest = hashlib.blake2b(digest_size=32)
    for key in ("format", "version", "meta"):
        digest.update(_framed(texts.get(key, "")))
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(_framed(name) + _framed(array.dtype.name) + _framed(str(array.shape)))
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _framed(text: str) -> bytes:
    """Bytes with their length in front, so that no two lists of texts look alike."""
    data = text.encode()
    return len(data).to_bytes(8, "little") + data


def _check_origin(name: str, texts: Mapping[str, str]) -> None:
    if texts.get("format") != FORMAT:
        raise FileFormatError(f"{name!r} is a safetensors file, but not one that neurograph wrote, or it was altered.")
    version = texts.get("version", "")
    if not version.isdecimal():
        raise FileFormatError(f"{name!r} was altered: its format version reads {version!r}.")
    if int(version) > VERSION:
        raise FileFormatError(
            f"{name!r} has format version {version}, and this neurograph reads versions up to {VERSION}: "
            "install a newer neurograph."
        )


def _header_is_clean(path: str | os.PathLike) -> bool:
    """Say whether the header is padded with spaces only: the one place that the checksum cannot see."""
    with open(path, "rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    return header.rstrip(b" ").endswith(b"}") and not header.startswith((b" ", b"\t", b"\r", b"\n"))


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut. Systems that cannot open a folder do so on their own."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
