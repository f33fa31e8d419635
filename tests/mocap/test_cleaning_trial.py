import numpy as np

from mocap.cleaning_trial import Tally, count, plant
from mocap.clip import Clip


def test_planted_glitches_are_found_and_mended(clip: Clip):
    tally = Tally()
    plant(clip, tally, 0.15, (1, 3), np.random.default_rng(1))
    assert tally.planted >= 3
    assert tally.found == tally.planted
    assert tally.false_frames == 0
    assert max(tally.after_m) < 0.01 < 0.08 < min(tally.before_m)
    assert "planted glitches found" in tally.line("made up")


def test_a_clean_clip_counts_as_clean(clip: Clip):
    tally = Tally()
    count(clip, tally)
    assert (tally.clips, tally.glitch_frames, tally.cut_clips) == (1, 0, 0)
    assert "none" in tally.line("made up")
