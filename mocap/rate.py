"""The rate of a clip from what its file writes: a frame time that was rounded, in milliseconds, or not one."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from mocap.clip import ClipDataError

SLOWEST_HZ, FASTEST_HZ = 1.0, 10000.0
COMMON_HZ = (
    24, 24000 / 1001, 25, 30, 30000 / 1001, 48, 50, 60, 60000 / 1001, 72, 75, 90, 100, 120, 120000 / 1001,
    125, 144, 150, 160, 180, 200, 240, 250, 300, 360, 400, 480, 500, 600, 960, 1000,
)  # fmt: skip
"""Rates that cameras and exporters run at [Hz]."""


def check_fps(fps: float, source: str) -> float:
    """A rate that can be used; refuses what is not between 1 and 10000 frames a second.

    Raises:
        ClipDataError: naming the file and what to set.
    """
    if not SLOWEST_HZ <= fps <= FASTEST_HZ:
        raise ClipDataError(
            f"{source}: {fps:g} frames a second is not a usable rate; set fps=… to override the file"
        )
    return float(fps)


def rate_from_frame_time(text: str, source: str) -> tuple[float, str]:
    """Frames a second from a frame time as written.

    Frame times are written with few digits: .008333 means 1/120 s, 0.033 means 1/30 s. When a common rate
    lies within half a unit of the last digit written, it is meant; otherwise a whole number of frames a
    second that does. A "frame time" of 1 or more is read as milliseconds, or as the rate itself, whichever
    of the two is a common rate.

    Args:
        text: the frame time [s] as the file has it.
        source: the file, for messages.

    Returns:
        The rate [Hz], and a note for people when it is not simply what the file says ("" otherwise).

    Raises:
        ClipDataError: no usable rate.
    """
    try:
        value = Decimal(text)
        # Half a unit in the last place that is written.
        exponent = value.as_tuple().exponent
        half = Decimal(5).scaleb(exponent - 1) if isinstance(exponent, int) else Decimal(0)
    except (InvalidOperation, ValueError, OverflowError):
        value, half = Decimal("NaN"), Decimal(0)
    if not value.is_finite() or not 0 < value < 10000 or value.adjusted() < -6:
        raise ClipDataError(
            f"{source}: frame time {text[:40]} s is not a usable rate; set fps=… to override the file"
        )
    seconds, margin = float(value), float(half)
    if seconds < 1.0:
        rate = _nearest(seconds, margin)
        direct = 1.0 / seconds
        note = "" if abs(rate / direct - 1.0) < 1e-3 else f"frame time {text} s taken as 1/{rate:g} s"
        return check_fps(rate, source), note
    if seconds == 1.0:
        raise ClipDataError(
            f"{source}: frame time 1: one second, one millisecond or none; set fps=… to say the rate"
        )
    in_ms = _nearest(seconds * 1e-3, margin * 1e-3)
    # A single digit (7) says too little about milliseconds to choose a rate by it.
    ms_common = _is_common(in_ms) and (margin < 0.02 * seconds or _is_common(1e3 / seconds))
    rate_common = _is_common(seconds)
    if rate_common and not (ms_common and not float(seconds).is_integer()):
        return check_fps(seconds, source), f"frame time {text} taken as {seconds:g} frames a second"
    if ms_common:
        return check_fps(in_ms, source), f"frame time {text} taken as milliseconds, {in_ms:g} Hz"
    raise ClipDataError(
        f"{source}: frame time {text[:40]} s is not a usable rate, nor is it one in milliseconds; "
        f"set fps=… to override the file"
    )


def _is_common(rate: float) -> bool:
    return any(abs(rate / common - 1.0) < 1e-6 for common in COMMON_HZ)


def _nearest(seconds: float, margin: float) -> float:
    """The rate meant by a frame time [s] known to ± margin [s]."""
    rate = 1.0 / seconds
    low, high = 1.0 / (seconds + margin), 1.0 / max(seconds - margin, 1e-9)
    whole = float(round(rate))
    if abs(rate - whole) < 1e-6:
        return whole
    # More digits than any common rate is apart from a whole one: what is written is meant.
    inside = [c for c in COMMON_HZ if low <= c <= high]
    if inside:
        return float(min(inside, key=lambda c: (abs(c - rate) > 0.05, c != round(c), abs(c - rate))))
    # 0.033333 and 0.0333333 both mean 30 Hz, whatever the digits say.
    if (whole and low <= whole <= high) or abs(rate - whole) < 0.01:
        return whole
    return rate
