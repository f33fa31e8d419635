"""Numbers and tables of numbers as the text files of mocap have them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from mocap.clip import ClipDataError, ClipFormatError
from mocap.rotations import Array

# Larger than any mocap value in any unit (10 km in millimetres), small enough that squares stay finite.
MAX_ABS = 1e7


def number(token: str) -> float | None:
    """A number as exporters write them: also with a decimal comma, or as Windows writes NaN (-1.#IND)."""
    try:
        # Python reads 1_000 as a number; in a file it is damage.
        return float(token) if "_" not in token else None
    except ValueError:
        pass
    low = token.lower()
    if "#ind" in low or "#qnan" in low or "#snan" in low or low in ("-nan(ind)", "nan(ind)", "-nan(snan)"):
        return float("nan")
    if "#inf" in low:
        return float("inf")
    if token.count(",") == 1 and "." not in token:
        return number(token.replace(",", "."))
    return None


def parse_table(
    body: list[str], first: int, width: int, announced: int | None, owner: Callable[[int], str], source: str
) -> tuple[Array, str]:
    """A table of numbers (frames, width) and a note when it has another length than announced.

    Line breaks mean nothing as long as the count is right.

    Args:
        body: its lines.
        first: how many lines of the file stand before it.
        width: numbers a frame.
        announced: frames that the file says it has; None if it does not.
        owner: the joint that column c belongs to, for messages.
        source: the file, for messages.

    Raises:
        ClipFormatError: naming the line, the frame and the joint.
    """
    text = "\n".join(body)
    if not text.strip():
        raise ClipDataError(f"{source}: the clip has no frames; nothing to retarget")
    flat: Array | None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # text that is not a number ends the numbers with a warning
            flat = np.fromstring(text, sep=" ")
    except (ValueError, DeprecationWarning):
        numbers = [number(t) for t in text.split()]
        good = [v for v in numbers if v is not None]
        flat = np.array(good) if len(good) == len(numbers) else None
    if flat is not None and announced is not None and flat.size == announced * width:
        return flat.reshape(announced, width), ""
    # Something is wrong: find the line that says what.
    rows = 0
    for n, line in enumerate(body):
        words = line.split()
        if not words:
            continue
        column = next((c for c, w in enumerate(words) if number(w) is None), None)
        where = f"{source}, line {first + n + 1}"
        if column is not None:
            raise ClipFormatError(
                f'{where}: "{words[column][:40]}" is not a number '
                f"(channel of joint {owner(column)}, frame {rows})"
            )
        if len(words) != width:
            last = not any(later.strip() for later in body[n + 1 :])
            hint = "the file is truncated, get it again" if last else "the frame is damaged, cut it out"
            raise ClipFormatError(
                f"{where}: frame {rows} has {len(words)} values "
                f"where the skeleton has {width} channels; {hint}"
            )
        rows += 1
    if flat is None or flat.size != rows * width:
        raise ClipFormatError(f"{source}: the motion block cannot be read as numbers; get the file again")
    if announced is None or rows == announced:
        return flat.reshape(rows, width), ""
    if rows < announced:
        raise ClipFormatError(
            f"{source}: announces {announced} frames but holds {rows}; it is truncated, get it again "
            f"(or correct its Frames: line to keep what is there)"
        )
    return flat.reshape(rows, width), f"the file announces {announced} frames and holds {rows}; all were read"


def hold_bad_rows(
    values: np.ndarray, owner: Callable[[int], str], source: str, nan: str
) -> tuple[np.ndarray, int]:
    """Refuse or fill rows with NaN or absurd values.

    Args:
        values: (T, C).
        owner: what a column belongs to, for the message.
        source: file, for the message.
        nan: "interpolate" fills bad rows, anything else refuses them.

    Returns:
        The table and the number of filled rows. Euler angles wrap at ±180°, so the nearest good row is held instead of
        mixing angles.

    Raises:
        ClipDataError: bad rows that are to be refused, or no good row at all.
    """
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(values) <= MAX_ABS)
    if not bad.any():
        return values, 0
    rows = bad.any(axis=1)
    frame, column = np.argwhere(bad)[0]
    if nan != "interpolate" or rows.all():
        raise ClipDataError(
            f"{source}: frame {frame}, {owner(int(column))} holds {values[frame, column]} "
            f"({int(rows.sum())} of {len(values)} frames are like it); "
            f"cut them out or set clean.nan_frames=interpolate"
        )
    good = np.flatnonzero(~rows)
    at = np.arange(len(values))
    after = np.searchsorted(good, at).clip(0, len(good) - 1)
    before = (after - 1).clip(0)
    nearest = good[np.where(np.abs(good[after] - at) < np.abs(at - good[before]), after, before)]
    filled = values.copy()
    filled[rows] = values[nearest[rows]]
    return filled, int(rows.sum())
