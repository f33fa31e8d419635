"""Arrays of npz files from strangers: no pickles, and no more memory than the file's own size answers for."""

from __future__ import annotations

import io
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from mocap.clip import MAX_BYTES, ClipFormatError

# What zipfile and numpy's header parser raise for damaged files.
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    SyntaxError,
    EOFError,
    MemoryError,
    OverflowError,
    RecursionError,
    RuntimeError,
    struct.error,
    UnicodeError,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)
_MAX_ENTRIES = 1000
# Header of an npy array: far longer than any real one (128 bytes).
_HEADER_BYTES = 8192


def array_names(data: bytes | Path, source: str) -> tuple[str, ...]:
    """Names of the arrays in an npz file, given as its bytes or its path.

    Raises:
        ClipFormatError: not a readable zip archive.
    """
    with _open(data, source) as archive:
        return tuple(n.removesuffix(".npy") for n in archive.namelist())


def load_arrays(data: bytes, source: str, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """The wanted arrays that an npz file has; others are not looked at.

    Args:
        data: the file's bytes.
        source: the file, for messages.
        wanted: names of arrays.

    Returns:
        Arrays of numbers, booleans or text by name.

    Raises:
        ClipFormatError: damaged file, an array of Python objects (which could run code), or more data than
            `MAX_BYTES`.
    """
    found: dict[str, np.ndarray] = {}
    room = MAX_BYTES
    with _open(data, source) as archive:
        entries = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
        for name in wanted:
            if name not in entries:
                continue
            try:
                with archive.open(entries[name]) as stream:
                    found[name] = _read_array(stream, name, room, source)
            except ClipFormatError:
                raise
            except _DAMAGE as e:
                raise ClipFormatError(
                    f"{source}: array {name} is damaged ({type(e).__name__}: {str(e)[:100]}); get it again"
                ) from None
            room -= found[name].nbytes
    return found


def _open(data: bytes | Path, source: str) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data) if isinstance(data, bytes) else data)
    except _DAMAGE as e:
        raise ClipFormatError(
            f"{source}: not a readable npz file ({type(e).__name__}: {str(e)[:100]}); get it again"
        ) from None
    if len(archive.filelist) > _MAX_ENTRIES:
        raise ClipFormatError(f"{source}: {len(archive.filelist)} arrays; this is not a motion file")
    return archive


def _read_array(stream, name: str, room: int, source: str) -> np.ndarray:
    """One array from an open npy entry, its header checked before memory is taken."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy version {version}")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(stream, max_header_size=_HEADER_BYTES)
    if dtype.kind not in "fiubUS" or dtype.hasobject:
        raise ClipFormatError(
            f"{source}: array {name} holds {dtype} objects, which could run code; "
            f"save it as numbers or text (np.savez without object arrays)"
        )
    size = dtype.itemsize
    for n in shape:
        size *= n
    if len(shape) > 4 or not 0 <= size <= room:
        raise ClipFormatError(f"{source}: array {name} of shape {shape} is too large for a motion; split it")
    raw = stream.read(size)
    if len(raw) != size:
        raise ValueError(f"{len(raw)} bytes where its header says {size}")
    if dtype.kind == "U":
        # numpy does not check what it takes for text, and stumbles over it later.
        codes = np.frombuffer(raw, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if codes.size and codes.max() > sys.maxunicode:
            raise ValueError("text with characters that do not exist")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def text(value: np.ndarray | None) -> tuple[str, ...]:
    """Strings of an array of text, or of bytes; () for anything else."""
    if value is None or value.dtype.kind not in "US":
        return ()
    return tuple(
        v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in value.ravel().tolist()
    )


def scalar(value: np.ndarray | None) -> float | None:
    """The number in an array of one number; None for anything else."""
    if value is None or value.dtype.kind not in "fiub" or value.size != 1:
        return None
    return float(value.ravel()[0])
