"""Damage to files, as chance and malice do it: for the fuzzer."""

from __future__ import annotations

import io
import re
import zipfile
from random import Random

_NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
_NUMBERS = (
    b"0", b"-1", b"1", b"nan", b"-nan(ind)", b"1.#QNAN", b"inf", b"-inf", b"1e308", b"1e400", b"-1e9", b"1e-400",
    b"99999999999999999999", b"4294967296", b"65535", b"2147483647", b"-2147483648", b"0x10", b"1_0", b"1,5", b"1.2.3",
    b"", b"--3", b"+", b"360", b"1e7", b"9" * 400,
)  # fmt: skip
_PIECES = (
    b"{", b"}", b"{" * 50, b"}" * 50, b"(", b")", b"[" * 60, b"]", b":", b"#", b"\n", b"\r", b"\t", b" ", b"\0",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\x1a", b"\xe2\x80\xa8", b"HIERARCHY", b"ROOT", b"JOINT a", b"End Site", b"OFFSET",
    b"CHANNELS 6", b"MOTION", b"Frames: 99999999999", b"Frame Time: 0", b":bonedata", b"begin", b"end",
    b":hierarchy", b"dof", b"limits", b"root", b"&a [*a]", b"!!python/object:os.system", b"PK\x03\x04", b"\x93NUMPY",
    b"'shape': (99999999999,)", b"'descr': '|O'", b"'descr': '<f8'", b",", b";", b"\x80\x04", b"%s%n", b"../../etc",
)  # fmt: skip
_BYTES = (0, 1, 2, 127, 128, 254, 255)


def mutate(data: bytes, chance: Random, text: bool) -> bytes:
    """The same file after one to four accidents.

    Args:
        data: the file.
        chance: where the accidents come from.
        text: whether it is text, so that its lines and numbers are damaged too.
    """
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        data = chance.choice(_TEXT if text else _BINARY)(data, chance)
    return data


def mutate_npz(data: bytes, chance: Random) -> bytes:
    """An npz file with its archive damaged, or (its check sums made good again) its arrays: damage that a check
    sum would find first says little about the reader behind it.
    """
    if chance.random() < 0.3:
        return mutate(data, chance, False)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        hit = chance.choice(names)
        for name in names:
            raw = old.read(name)
            if name == hit:
                if chance.random() < 0.1:
                    continue
                # The header of an array is its first 128 bytes and most of what can be wrong.
                cut = 128 if chance.random() < 0.7 else 0
                raw = (
                    mutate(raw[:cut], chance, chance.random() < 0.5) + raw[cut:]
                    if cut
                    else mutate(raw, chance, False)
                )
            new.writestr(name if chance.random() > 0.02 else chance.choice(names), raw)
    return out.getvalue()


def _flip(data: bytes, chance: Random) -> bytes:
    raw = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if raw:
            # Headers come first: half of the hits go there.
            end = len(raw) if chance.random() < 0.5 else min(len(raw), 600)
            at = chance.randrange(end)
            raw[at] = chance.choice(_BYTES) if chance.random() < 0.5 else chance.randrange(256)
    return bytes(raw)


def _cut(data: bytes, chance: Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _drop(data: bytes, chance: Random) -> bytes:
    a = chance.randrange(len(data) + 1)
    return data[:a] + data[a + chance.choice((1, 2, 8, 64, 512)) :]


def _repeat(data: bytes, chance: Random) -> bytes:
    a = chance.randrange(len(data) + 1)
    piece = data[a : a + chance.choice((1, 8, 64, 300))]
    return data[:a] + piece * chance.choice((2, 3, 20)) + data[a:]


def _insert(data: bytes, chance: Random) -> bytes:
    a = chance.randrange(len(data) + 1)
    return data[:a] + chance.choice(_PIECES) + data[a:]


def _line(data: bytes, chance: Random) -> bytes:
    lines = data.split(b"\n")
    a, b = chance.randrange(len(lines)), chance.randrange(len(lines))
    kind = chance.randrange(5)
    if kind == 0:
        del lines[a]
    elif kind == 1:
        lines.insert(b, lines[a])
    elif kind == 2:
        lines[a], lines[b] = lines[b], lines[a]
    elif kind == 3:
        lines[a:a] = [lines[a]] * chance.choice((2, 5, 50))
    else:
        lines[a] = b" ".join(chance.sample(words, len(words)) if (words := lines[a].split()) else [])
    return b"\n".join(lines)


def _number(data: bytes, chance: Random) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return _flip(data, chance)
    hit = chance.choice(found)
    return data[: hit.start()] + chance.choice(_NUMBERS) + data[hit.end() :]


def _ends(data: bytes, chance: Random) -> bytes:
    return chance.choice(
        (
            data.replace(b"\n", b"\r"),
            data.replace(b"\n", b"\r\n"),
            data.replace(b"\n", b" "),
            data.replace(b" ", b"\n"),
            data.replace(b".", b","),
            data.decode("latin-1").encode("utf-16"),
            data + b"\0" * 50,
        )
    )


_BINARY = (_flip, _flip, _flip, _cut, _drop, _repeat, _insert)
_TEXT = (_flip, _cut, _drop, _repeat, _insert, _line, _line, _line, _number, _number, _number, _ends)
