from pathlib import Path

import numpy as np
import pytest

import assets
from mocap.config import RetargetConfig
from mocap.retarget import prepare
from mocap.skeleton import Body
from mocap.stroke_classifier import CLASSES, shipped_classifier
from mocap.train_strokes import Annotation, confusion, examples, read_annotations, summary

FOLDER = Path(next(iter(assets.__path__))) / "annotations"


@pytest.fixture(scope="module")
def smooth(body: Body) -> Body:
    return prepare(body, RetargetConfig())


def forehands(*times: float, sure: bool = True) -> list[Annotation]:
    return [Annotation("forehand", "forehand", "right", t, sure) for t in times]


def test_the_annotations_are_whole():
    known = read_annotations(sorted(FOLDER.glob("strokes_*.csv")))
    strokes = [a for clip in known.values() for a in clip]
    assert len(strokes) > 850
    assert {CLASSES[a.label] for a in strokes} == set(CLASSES) - {"none"}
    for clip, own in known.items():
        times = [a.strike_s for a in own]
        assert times == sorted(times), clip
        assert (np.diff([a.strike_s for a in own if a.sure]) > 0.9).all(), clip


def test_swings_at_annotated_strikes_are_strokes_and_others_are_not(smooth: Body):
    right, left = examples(smooth, "clip", "player", forehands(1.5, 4.5))
    at = right.times[right.labels == CLASSES.index("forehand")]
    np.testing.assert_allclose(at, [1.5, 4.5], atol=0.06)
    assert (left.labels <= 0).all()


def test_time_cut_off_the_start_is_allowed_for(smooth: Body):
    right, _ = examples(smooth, "clip", "player", forehands(3.5, 6.5), skip_s=2.0)
    np.testing.assert_allclose(right.times[right.labels > 0], [1.5, 4.5], atol=0.06)


def test_unsure_strokes_count_neither_way(smooth: Body):
    right, _ = examples(smooth, "clip", "player", forehands(1.5, 4.5, 7.5, sure=False))
    assert (right.labels <= 0).all()
    assert (right.labels == -1).sum() >= 3


def test_the_shipped_classifier_makes_no_mistake_on_the_made_up_player(smooth: Body):
    counts = confusion(
        list(examples(smooth, "clip", "player", forehands(1.5, 4.5, 7.5))), shipped_classifier()
    )
    assert counts[1:].sum() == counts[1, 1] == 3
    assert counts[0, 1:].sum() == 0
    assert summary(counts).startswith("3 of 3 strokes found (100.0 %)")


def test_a_false_alarm_is_counted(smooth: Body):
    counts = confusion(list(examples(smooth, "clip", "player", forehands(1.5, 4.5))), shipped_classifier())
    assert counts[0, 1:].sum() == 1
