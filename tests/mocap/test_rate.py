"""Rates from frame times as exporters write them."""

import pytest

from mocap.clip import ClipDataError
from mocap.rate import COMMON_HZ, rate_from_frame_time


@pytest.mark.parametrize("hz", [24, 25, 30, 50, 60, 72, 90, 100, 120, 144, 200, 240, 250, 300, 360, 480, 500])
@pytest.mark.parametrize("digits", [6, 7, 9])
def test_rounded_frame_times_give_the_rate_back(hz: int, digits: int):
    rate, note = rate_from_frame_time(f"{1.0 / hz:.{digits}f}", "a")
    assert rate == hz
    assert note == ""


@pytest.mark.parametrize(
    ("text", "hz"),
    [(".00833", 120), ("0.0083", 120), ("0.033", 30), ("0.03", 30), ("0.017", 60), ("0.0167", 60), ("0.04", 25),
     ("0.033367", 30000 / 1001), ("0.0417083", 24000 / 1001), ("0.03125", 32), ("8.3333e-3", 120)],
)  # fmt: skip
def test_few_digits(text: str, hz: float):
    assert rate_from_frame_time(text, "a")[0] == pytest.approx(hz, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "hz"),
    [("8.333", 120), ("16.6667", 60), ("33.3333", 30), ("10", 100), ("20", 50), ("33.3667", 29.97)],
)
def test_milliseconds_are_noticed_and_said(text: str, hz: float):
    rate, note = rate_from_frame_time(text, "a")
    assert rate == pytest.approx(hz, rel=1e-4)
    assert "milliseconds" in note


@pytest.mark.parametrize("text", ["30", "60", "120", "25"])
def test_a_rate_instead_of_a_time_is_noticed_and_said(text: str):
    rate, note = rate_from_frame_time(text, "a")
    assert rate == float(text)
    assert "frames a second" in note


@pytest.mark.parametrize(
    "text",
    ["0", "-0.01", "nan", "inf", "1", "7", "1e400", "1e-400", "1e99999999999", "0.00000001", "19.3", "x"],
)
def test_what_is_no_rate_says_what_to_set(text: str):
    with pytest.raises(ClipDataError, match=r"^a: .*fps="):
        rate_from_frame_time(text, "a")


def test_the_rates_are_usable():
    assert all(1.0 <= hz <= 10000.0 for hz in COMMON_HZ)
