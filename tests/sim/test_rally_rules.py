"""The rules of a rally, by small lists of events; numbers are those of the ITF Rules of Tennis."""

import itertools

import pytest

from sim.rally_rules import (
    REASONS,
    REPLAYS,
    Bounce,
    Dead,
    Fall,
    Hit,
    Net,
    Rally,
    Stop,
    Verdict,
    feed,
    serve,
)

NEAR, FAR = 0, 1
FEED, SERVE = feed(FAR), serve(FAR, "deuce")
SECOND = serve(FAR, "deuce", second=True)
GOOD = Bounce(NEAR, True, "deuce", 0.5)
IN_NEAR, IN_FAR = Bounce(NEAR, True), Bounce(FAR, True)
OUT_NEAR, OUT_FAR = Bounce(NEAR, False), Bounce(FAR, False)


def after(rally: Rally, *events) -> Rally:
    for event in events:
        rally = rally.after(event)
    return rally


def hit(side: int, time: float = 1.0) -> Hit:
    return Hit(side, time=time)


RETURN = (IN_NEAR, hit(NEAR))
"""A feed that the near player returns."""

DECIDED = {
    # Serve (18, 19, 22, 24 a, 24 e)
    "ace": (SERVE, [GOOD, IN_NEAR], FAR, "not returned"),
    "ace, second bounce outside": (SERVE, [GOOD, OUT_NEAR], FAR, "not returned"),
    "serve too long": (SERVE, [IN_NEAR], None, "fault"),
    "serve outside the court": (SERVE, [OUT_NEAR], None, "fault"),
    "serve to the wrong box": (SERVE, [Bounce(NEAR, True, "ad")], None, "fault"),
    "serve into the net": (SERVE, [Net(), IN_FAR], None, "fault"),
    "serve on the own side": (SERVE, [IN_FAR], None, "fault"),
    "serve that comes to rest in the net": (SERVE, [Net(), Dead()], None, "fault"),
    "serve that leaves for good": (SERVE, [Dead()], None, "fault"),
    "let": (SERVE, [Net(), GOOD], None, "let"),
    "second serve let": (SECOND, [Net(), GOOD], None, "let"),
    "net, then wrong box": (SERVE, [Net(), Bounce(NEAR, True, "ad")], None, "fault"),
    "net, then the receiver's racket": (SERVE, [Net(), hit(NEAR)], None, "let"),
    "volleyed serve": (SERVE, [hit(NEAR)], FAR, "volleyed serve"),
    "double fault, long": (SECOND, [IN_NEAR], NEAR, "double fault"),
    "double fault, net": (SECOND, [Net(), IN_FAR], NEAR, "double fault"),
    "double fault, net and out": (SECOND, [Net(), OUT_NEAR], NEAR, "double fault"),
    "server runs into its serve": (SERVE, [hit(FAR, 0.4)], None, "fault"),
    "server falls": (SERVE, [Fall(FAR)], NEAR, "fall"),
    "receiver of a serve falls": (SERVE, [Fall(NEAR)], FAR, "fall"),
    # Feed: practice, no fault of anybody
    "missed feed": (FEED, [IN_NEAR, IN_NEAR], FAR, "not returned"),
    "bad feed": (FEED, [OUT_NEAR], None, "let"),
    "feed into the net": (FEED, [Net(), IN_FAR], None, "let"),
    "feed that clips the net": (FEED, [Net(), IN_NEAR], None, "let"),
    "feed that stays": (FEED, [Dead()], None, "let"),
    "feed meets the player behind it": (FEED, [hit(FAR)], None, "let"),
    # Rally (12, 13, 24, 25)
    "winner": (FEED, [*RETURN, IN_FAR, IN_FAR], NEAR, "not returned"),
    "winner, second bounce outside": (FEED, [*RETURN, IN_FAR, OUT_FAR], NEAR, "not returned"),
    "winner that spins back over the net": (FEED, [*RETURN, IN_FAR, IN_NEAR], NEAR, "not returned"),
    "winner that rolls away": (FEED, [*RETURN, IN_FAR, Dead()], NEAR, "not returned"),
    "out": (FEED, [*RETURN, OUT_FAR], FAR, "out"),
    "net": (FEED, [*RETURN, Net(), IN_NEAR], FAR, "net"),
    "net, and out on the own side": (FEED, [*RETURN, Net(), OUT_NEAR], FAR, "net"),
    "rests in the net": (FEED, [*RETURN, Net(), Dead()], FAR, "net"),
    "own side, no net": (FEED, [*RETURN, IN_NEAR], FAR, "short"),
    "net cord and out": (FEED, [*RETURN, Net(), OUT_FAR], FAR, "out"),
    "net cord winner": (FEED, [*RETURN, Net(), IN_FAR, IN_FAR], NEAR, "not returned"),
    "flies away": (FEED, [*RETURN, Dead()], FAR, "out"),
    "volley out": (FEED, [*RETURN, hit(FAR, 2.0), OUT_NEAR], NEAR, "out"),
    "double hit": (FEED, [*RETURN, hit(NEAR, 1.5)], FAR, "double hit"),
    "touches its own winner": (FEED, [*RETURN, IN_FAR, hit(NEAR, 2.0)], FAR, "double hit"),
    "reached over": (FEED, [*RETURN, Hit(FAR, beyond=True, time=2.0)], NEAR, "reached over"),
    "striker falls": (FEED, [*RETURN, Fall(NEAR)], FAR, "fall"),
    "striker falls after its winner": (FEED, [*RETURN, IN_FAR, IN_FAR, Fall(NEAR)], NEAR, "not returned"),
    "receiver falls": (FEED, [*RETURN, Fall(FAR)], NEAR, "fall"),
    "stopped": (FEED, [*RETURN, Stop()], None, "cut"),
}


@pytest.mark.parametrize("name", DECIDED)
def test_decided(name):
    rally, events, winner, reason = DECIDED[name]
    assert not after(rally, *events[:-1]).over or name == "striker falls after its winner"
    assert after(rally, *events).verdict == Verdict(winner, reason)


PLAYED_ON = {
    "serve in": (SERVE, [GOOD], FAR, 1),
    "serve returned": (SERVE, [GOOD, hit(NEAR)], NEAR, 2),
    "first return may go to any part of the court": (SERVE, [GOOD, hit(NEAR), IN_FAR], NEAR, 2),
    "volleyed feed": (FEED, [hit(NEAR)], NEAR, 1),
    "volley": (FEED, [*RETURN, hit(FAR, 2.0)], FAR, 2),
    "net cord in a rally": (FEED, [*RETURN, Net(), IN_FAR], NEAR, 1),
    "net cord volleyed": (FEED, [*RETURN, Net(), hit(FAR, 2.0)], FAR, 2),
    "two contacts of one swing": (FEED, [*RETURN, hit(NEAR, 1.1)], NEAR, 1),
    "two contacts of one serve": (SERVE, [hit(FAR, 0.05)], FAR, 1),
    "reaching over for a ball that spun back": (
        FEED,
        [*RETURN, IN_FAR, Hit(FAR, beyond=True, time=2.0)],
        FAR,
        2,
    ),
    "half volley": (FEED, [*RETURN, IN_FAR, hit(FAR, 2.0), IN_NEAR, hit(NEAR, 3.0)], NEAR, 3),
}


@pytest.mark.parametrize("name", PLAYED_ON)
def test_played_on(name):
    rally, events, striker, strokes = PLAYED_ON[name]
    rally = after(rally, *events)
    assert rally.verdict is None
    assert (rally.striker, rally.receiver, rally.strokes) == (striker, 1 - striker, strokes)


EVENTS = (IN_NEAR, IN_FAR, OUT_NEAR, OUT_FAR, GOOD, Net(), hit(NEAR), hit(FAR), Fall(NEAR), Fall(FAR), Dead())


def mirrored(event):
    """The same event with the sides changed."""
    if not hasattr(event, "side"):
        return event
    return type(event)(**{**vars(event), "side": 1 - event.side})


@pytest.mark.parametrize("begin", [feed, serve])
def test_both_sides_have_the_same_rules(begin):
    for events in itertools.product(EVENTS, repeat=3):
        one, other = after(begin(FAR), *events), after(begin(NEAR), *map(mirrored, events))
        assert one.over == other.over
        if one.verdict is not None and other.verdict is not None:
            assert one.verdict.reason == other.verdict.reason
            same = one.verdict.winner is None
            assert other.verdict.winner == (None if same else 1 - (one.verdict.winner or 0))


def test_a_verdict_is_final_and_explained():
    for events in itertools.product(EVENTS, repeat=3):
        rally = after(SERVE, *events)
        if rally.verdict is None:
            continue
        assert rally.verdict.reason in (REPLAYS if rally.verdict.winner is None else REASONS)
        assert all(rally.after(event) == rally for event in EVENTS)


def test_two_bounces_always_end_a_rally():
    ground = (IN_NEAR, IN_FAR, OUT_NEAR, OUT_FAR, GOOD)
    for prefix in ([], list(RETURN), [*RETURN, Net()], [*RETURN, hit(FAR, 2.0)]):
        for bounces in itertools.product(ground, repeat=2):
            assert after(FEED, *prefix, *bounces).over


def test_a_side_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="side 2"):
        feed(2)
