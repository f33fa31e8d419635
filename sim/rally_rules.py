"""The rules of a rally as a state machine: what happened, one event at a time, in; who won the point, out.

`Rally` is immutable and knows nothing of physics: `rally.after(event)` is the next state. It follows the ITF Rules
of Tennis (2024), singles; the numbers in brackets are the rules'. Sides are 0 (near, x < 0) and 1 (far).

A rally begins with a serve, or with a feed from a ball machine on one side. A feed is practice and no stroke: a feed
that is no good, or that clips the net, is played again.

Two contacts of one swing are one stroke, since only a deliberate second touch loses the point (24 f): contacts
within `SWING` of each other. What a robot cannot do is left out: carrying or throwing, hindrance, touching the net.
The ball's contact with a body or the posts is not simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

SWING = 0.15
"""Contacts of one player within this time belong to one swing, s. No rule gives a figure; strokes take longer."""

Opening = Literal["serve", "feed"]
Box = Literal["deuce", "ad"]

REASONS = {
    "not returned": "the ball bounced twice (24 b)",
    "net": "the stroke did not cross the net (24 c)",
    "out": "the stroke landed outside the court (24 c)",
    "short": "the stroke landed on the striker's own side without touching the net (24 c)",
    "double hit": "the same player touched the ball again (24 f)",
    "reached over": "the ball was hit before it had passed the net (24 h)",
    "volleyed serve": "the receiver hit the serve before it bounced (24 e)",
    "double fault": "two serves in a row were no good (24 a)",
    "fall": "the player fell",
}
"""Why the loser of a point lost it."""
REPLAYS = {
    "let": "the serve or feed clipped the net and was otherwise good, or the feed was no good (22, 23)",
    "fault": "the first serve was no good (19)",
    "cut": "the rally was stopped undecided",
}
"""Why a rally ended without a winner."""


@dataclass(frozen=True)
class Bounce:
    """The ball met the ground.

    Attributes:
        side: half on which it did.
        inside: in the singles court, lines included (12).
        box: the service box it lies in, or None; on the centre line, the one that is served to.
        time: s; only differences matter.
    """

    side: int
    inside: bool
    box: Box | None = None
    time: float = 0.0


@dataclass(frozen=True)
class Net:
    """The ball touched net, strap or band."""

    time: float = 0.0


@dataclass(frozen=True)
class Hit:
    """A player's racket touched the ball. `beyond`: on the other player's side of the net."""

    side: int
    beyond: bool = False
    time: float = 0.0


@dataclass(frozen=True)
class Fall:
    """A player fell."""

    side: int
    time: float = 0.0


@dataclass(frozen=True)
class Dead:
    """The ball came to rest, or left for good: it will not bounce in court any more."""

    time: float = 0.0


@dataclass(frozen=True)
class Stop:
    """The rally is stopped from outside."""

    time: float = 0.0


Event = Bounce | Net | Hit | Fall | Dead | Stop


@dataclass(frozen=True)
class Verdict:
    """How a rally ended: the winner's side, or None where the point is played again or not given; and a key of
    `REASONS` (about the loser) or `REPLAYS`."""

    winner: int | None
    reason: str


@dataclass(frozen=True)
class Rally:
    """One rally.

    Attributes:
        striker: side that the ball comes from: who struck it last; the server's or the feeding machine's at first.
        opening: how it began.
        box: service box that a serve must land in.
        second: it is the second serve.
        strokes: made by players, the serve included, a feed not.
        opened: some player has struck the ball after serve or feed.
        landed: it bounced in the right court since it was last struck.
        netted: it touched the net since it was last struck.
        struck_at: time of the last contact, s.
        verdict: how it ended; None while it is in play.
    """

    striker: int
    opening: Opening = "feed"
    box: Box = "deuce"
    second: bool = False
    strokes: int = 0
    opened: bool = False
    landed: bool = False
    netted: bool = False
    struck_at: float = 0.0
    verdict: Verdict | None = None

    @property
    def receiver(self) -> int:
        """The side that has to play the ball next."""
        return 1 - self.striker

    @property
    def over(self) -> bool:
        return self.verdict is not None

    def after(self, event: Event) -> Rally:
        """The state after an event. Nothing happens any more once there is a verdict."""
        if self.over:
            return self
        match event:
            case Net():
                return replace(self, netted=True)
            case Bounce():
                return self._bounced(event)
            case Hit():
                return self._hit(event)
            case Fall(side=side):
                return self._lost(side, "fall")
            case Dead():
                if self.landed:
                    return self._lost(self.receiver, "not returned")
                return self._wasted("net" if self.netted else "out")
            case Stop():
                return self._end(None, "cut")

    def _bounced(self, event: Bounce) -> Rally:
        if self.landed:
            return self._lost(self.receiver, "not returned")
        across = event.side == self.receiver
        serving = self.opening == "serve" and not self.opened
        if across and event.inside and (event.box == self.box or not serving):
            if self.netted and not self.opened:
                return self._end(None, "let")
            return replace(self, landed=True)
        if across:
            return self._wasted("out")
        return self._wasted("net" if self.netted else "short")

    def _hit(self, event: Hit) -> Rally:
        if event.side == self.striker:
            if self.strokes and event.time - self.struck_at <= SWING:
                return self
            if not self.opened and not self.landed:
                return self._wasted("double hit")  # the server or the feeding side runs into its own ball
            return self._lost(self.striker, "double hit")
        if not self.landed:
            if not self.opened and self.netted:
                return self._end(None, "let")
            if not self.opened and self.opening == "serve":
                return self._lost(event.side, "volleyed serve")
            if event.beyond:
                return self._lost(event.side, "reached over")
        return replace(
            self,
            striker=event.side,
            strokes=self.strokes + 1,
            opened=True,
            landed=False,
            netted=False,
            struck_at=event.time,
        )

    def _wasted(self, reason: str) -> Rally:
        """The ball under way will not land in court."""
        if self.opened:
            return self._lost(self.striker, reason)
        if self.opening == "feed":
            return self._end(None, "let")
        return self._lost(self.striker, "double fault") if self.second else self._end(None, "fault")

    def _lost(self, side: int, reason: str) -> Rally:
        return self._end(1 - side, reason)

    def _end(self, winner: int | None, reason: str) -> Rally:
        return replace(self, verdict=Verdict(winner, reason))


def serve(side: int, box: Box = "deuce", second: bool = False, time: float = 0.0) -> Rally:
    """A rally whose serve has just been struck by `side`."""
    _check(side)
    return Rally(side, "serve", box, second, strokes=1, struck_at=time)


def feed(side: int) -> Rally:
    """A rally whose first ball a machine on `side` has just fed to the other."""
    _check(side)
    return Rally(side)


def _check(side: int) -> None:
    if side not in (0, 1):
        raise ValueError(f"side {side!r}: 0 is the near player, 1 the far one")
