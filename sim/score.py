"""Scores: points in a row for statistics, or tennis: game, tie-break, set, match (ITF rules 5–7, 14)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sim.rally_rules import Box

SCORINGS = ("points", "game", "tiebreak", "set", "match")
GAME_POINTS = ("0", "15", "30", "40")
TIEBREAK = 7
SET_GAMES = 6
BEST_OF = 3

Pair = tuple[int, int]


@dataclass(frozen=True)
class Score:
    """A score, immutable: `score.award(side)` is the next one.

    Attributes:
        scoring: "points": `length` points are played, whoever has more wins, else it is drawn. "game": one game.
            "tiebreak": one tie-break to 7. "set": to 6 games, a tie-break at 6–6. "match": best of three sets.
        length: number of points, of "points" only.
        first: side that serves first.
        points: in the present game or tie-break. games: in the present set. sets: won.
        played: points given or drawn so far. games_played: since the beginning.
        over: decided. winner: side, or None while it goes on and when it is drawn.
    """

    scoring: str = "points"
    length: int = 10
    first: int = 0
    points: Pair = (0, 0)
    games: Pair = (0, 0)
    sets: Pair = (0, 0)
    played: int = 0
    games_played: int = 0
    over: bool = False
    winner: int | None = None

    def __post_init__(self) -> None:
        if self.scoring not in SCORINGS:
            raise ValueError(f"scoring={self.scoring}: choose {', '.join(SCORINGS)}")
        if self.length < 1:
            raise ValueError(f"points={self.length}: give a number from 1 on")

    @property
    def in_tiebreak(self) -> bool:
        """A tie-break is being played."""
        return self.scoring == "tiebreak" or (
            self.scoring in ("set", "match") and self.games == (SET_GAMES, SET_GAMES)
        )

    @property
    def server(self) -> int:
        """Who serves the next point: by turns point for point ("points"), game for game, and in a tie-break one
        point and then two each (5 b)."""
        if self.scoring == "points":
            return (self.first + self.played) % 2
        turns = self.games_played
        if self.in_tiebreak:
            turns += (sum(self.points) + 1) // 2
        return (self.first + turns) % 2

    @property
    def box(self) -> Box:
        """Service box of the next serve: deuce first, then by turns (17). With "points", where the server changes
        each time, two points to the deuce box and two to the other."""
        count = self.played // 2 if self.scoring == "points" else sum(self.points)
        return "ad" if count % 2 else "deuce"

    def award(self, side: int | None) -> Score:
        """The score after a point.

        Args:
            side: that won it; None for a point that nobody won, which counts as played with "points" only.
        """
        if self.over:
            raise ValueError("the match is over: no more points")
        score = replace(self, played=self.played + 1)
        if side is not None:
            score = replace(score, points=_add(score.points, side))
        mine, other = (0, 0) if side is None else (score.points[side], score.points[1 - side])
        if score.scoring == "points":
            return score.stopped() if score.played >= score.length else score
        if side is None or mine < (TIEBREAK if self.in_tiebreak else 4) or mine - other < 2:
            return score
        if score.scoring in ("game", "tiebreak"):
            return replace(score, over=True, winner=side)
        games = _add(self.games, side)
        score = replace(score, points=(0, 0), games=games, games_played=self.games_played + 1)
        lead = games[side] - games[1 - side]
        if not self.in_tiebreak and (games[side] < SET_GAMES or lead < 2):
            return score
        sets = _add(self.sets, side)
        if score.scoring == "set" or sets[side] > BEST_OF // 2:
            return replace(score, sets=sets, over=True, winner=side)
        return replace(score, games=(0, 0), sets=sets)

    def stopped(self) -> Score:
        """The score when play ends here: won by who leads, else drawn."""
        ahead = next((pair for pair in (self.sets, self.games, self.points) if pair[0] != pair[1]), None)
        winner = None if ahead is None else int(ahead[1] > ahead[0])
        return replace(self, over=True, winner=winner)

    def called(self) -> tuple[str, str]:
        """The points of either side as they are called: 0, 15, 30, 40, Ad in a game, else plain numbers."""
        if self.scoring in ("points", "tiebreak") or self.in_tiebreak:
            return str(self.points[0]), str(self.points[1])
        return called(self.points)


def called(points: Pair) -> tuple[str, str]:
    """Points of a game as they are called, e.g. ("40", "Ad")."""
    a, b = points
    if a >= 3 and b >= 3:
        names = {0: ("40", "40"), 1: ("Ad", "40"), -1: ("40", "Ad")}
        return names.get(a - b, ("Game", "") if a > b else ("", "Game"))
    if max(a, b) >= 4:
        return ("Game", "") if a > b else ("", "Game")
    return GAME_POINTS[a], GAME_POINTS[b]


def _add(pair: Pair, side: int) -> Pair:
    return (pair[0] + (side == 0), pair[1] + (side == 1))
