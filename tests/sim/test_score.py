"""Scores, held against the ITF's rules 5 to 7 and 17."""

import pytest

from sim.score import Score


def play(score: Score, winners) -> Score:
    for side in winners:
        score = score.award(side)
    return score


def games(score: Score, winners) -> Score:
    """Whole games, four points each."""
    for side in winners:
        score = play(score, [side] * 4)
    return score


@pytest.mark.parametrize(
    ("winners", "told"),
    [
        ([], ("0", "0")),
        ([0], ("15", "0")),
        ([0, 1, 1], ("15", "30")),
        ([0, 0, 0, 1], ("40", "15")),
        ([0, 0, 0, 1, 1, 1], ("40", "40")),
        ([0, 0, 0, 1, 1, 1, 1], ("40", "Ad")),
        ([0, 0, 0, 1, 1, 1, 1, 0], ("40", "40")),
    ],
)
def test_points_are_called(winners, told):
    assert play(Score("game"), winners).called() == told


def test_a_game_needs_two_points_more():
    deuce = play(Score("game"), [0, 0, 0, 1, 1, 1])
    assert not deuce.award(0).over
    assert play(deuce, [0, 0]).winner == 0
    assert play(deuce, [0, 1, 1, 1]).winner == 1
    assert play(Score("game"), [1] * 4).winner == 1


def test_a_tiebreak_goes_to_seven_by_two():
    six = play(Score("tiebreak"), [0, 1] * 6)
    assert not six.award(0).over
    assert play(six, [0, 0]).winner == 0
    assert play(Score("tiebreak"), [1] * 7).winner == 1


def test_in_a_tiebreak_one_serves_once_then_each_twice():
    score, served = Score("tiebreak", first=1), []
    for side in [0, 1] * 4:
        served.append(score.server)
        score = score.award(side)
    assert served == [1, 0, 0, 1, 1, 0, 0, 1]


def test_a_set_goes_to_six_by_two_or_to_a_tiebreak():
    five = games(Score("set"), [0, 1] * 5)
    assert not games(five, [0]).over
    assert games(five, [0, 0]).winner == 0
    six = games(five, [0, 1])
    assert six.in_tiebreak
    assert not play(six, [0] * 6).over
    assert play(six, [0] * 7).winner == 0


def test_the_serve_changes_with_the_game_and_after_a_tiebreak():
    score = Score("match")
    assert score.server == 0
    score = games(score, [0])
    assert score.server == 1
    six = games(Score("match"), [0, 1] * 6)
    assert six.server == 0  # who serves first in the tie-break ...
    assert play(six, [1] * 7).server == 1  # ... receives first in the next set (5 b)


def test_a_match_is_the_best_of_three_sets():
    one = games(Score("match"), [0] * 6)
    assert (one.sets, one.games, one.over) == ((1, 0), (0, 0), False)
    assert games(one, [0] * 6).winner == 0
    assert games(one, [1] * 12).winner == 1


def test_serves_go_to_the_deuce_box_first():
    score, boxes = Score("game"), []
    for side in [0, 0, 1, 1]:
        boxes.append(score.box)
        score = score.award(side)
    assert boxes == ["deuce", "ad", "deuce", "ad"]


def test_plain_points_may_be_drawn_and_the_server_changes():
    score = Score("points", length=4, first=1)
    servers, boxes = [], set()
    for side in [0, 1, None, None]:
        servers.append(score.server)
        boxes.add((score.server, score.box))
        score = score.award(side)
    assert (score.over, score.winner, score.points) == (True, None, (1, 1))
    assert servers == [1, 0, 1, 0]
    assert len(boxes) == 4  # each side serves to either box
    assert play(Score("points", length=3), [1, None, 1]).winner == 1


def test_a_match_that_is_stopped_goes_to_who_leads():
    assert games(Score("match"), [0, 1, 1]).stopped().winner == 1
    assert Score("set").stopped().winner is None


def test_impossible_scores_are_refused():
    with pytest.raises(ValueError, match="scoring=sets: choose points, game"):
        Score("sets")
    with pytest.raises(ValueError, match="points=0"):
        Score("points", length=0)
    with pytest.raises(ValueError, match="over"):
        play(Score("points", length=1), [0, 0])
