"""Where the soles are along a motion, which of them carry weight, and where the zero-moment point may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pinocchio as pin
from scipy.spatial import ConvexHull

FOOT = (0.04, 0.012)
"""Half length and half width of the part of a sole that the zero-moment point is kept in, m: about half of the G1's
sole, so that feedback has the rest."""


@dataclass(frozen=True)
class Footing:
    """Feet along a motion of T frames, in the motion's frame.

    Attributes:
        soles: poses of left and right sole at each frame, T of 2.
        contact: which of them carry weight, (T, 2) bool.
        support: half planes that bound the zero-moment point at each frame, T of (P, 3): inside is where
            nx x + ny y <= d for all rows nx, ny, d, m.
    """

    soles: list[tuple[pin.SE3, pin.SE3]]
    contact: np.ndarray
    support: list[np.ndarray]

    @staticmethod
    def planted(soles: list[pin.SE3], frames: int, support: tuple[float, float] = (0.04, 0.12)) -> Footing:
        """Both feet stand all the time; `support` is half the length and width of the zero-moment point's area around
        their middle, m."""
        x, y = np.mean([sole.translation[:2] for sole in soles], axis=0)
        long, wide = support
        area = np.array([[1, 0, long + x], [-1, 0, long - x], [0, 1, wide + y], [0, -1, wide - y]])
        return Footing([(soles[0], soles[1])] * frames, np.ones((frames, 2), dtype=bool), [area] * frames)


@dataclass(frozen=True)
class StepTiming:
    """When the feet of a step move, s, and how.

    Attributes:
        shift: weight goes to the foot that stays. lead: the foot on the side of the way moves. pass_on: weight goes
            over. trail: the other foot follows. settle: to rest.
        lift: highest point of a moving sole, m.
    """

    shift: float = 0.10
    lead: float = 0.16
    pass_on: float = 0.08
    trail: float = 0.16
    settle: float = 0.10
    lift: float = 0.04

    @property
    def duration(self) -> float:
        return self.shift + self.lead + self.pass_on + self.trail + self.settle

    @property
    def swing(self) -> np.ndarray:
        """When the leading and the trailing foot leave the ground and stand again, (2, 2), s."""
        second = self.shift + self.lead + self.pass_on
        return np.array([[self.shift, self.shift + self.lead], [second, second + self.trail]])


def step(
    soles: list[pin.SE3],
    way: tuple[float, float, float],
    lead: int,
    fps: float,
    timing: StepTiming,
    foot: tuple[float, float] = FOOT,
) -> Footing:
    """Both feet move by `way` and turn about the origin, one after the other.

    Args:
        soles: where they stand at first.
        way: x, y, m, and turn to the left, rad.
        lead: the foot that moves first, 0 left, 1 right.
        fps: frames a second.
        timing: see `StepTiming`.
        foot: see `FOOT`.
    """
    frames = round(timing.duration * fps) + 1
    t = np.arange(frames) / fps
    begin = timing.swing[:, 0]
    last = (timing.lead, timing.trail)
    poses: list[list[pin.SE3]] = [[], []]
    contact = np.ones((frames, 2), dtype=bool)
    for order, side in enumerate((lead, 1 - lead)):
        share = np.clip((t - begin[order]) / last[order], 0.0, 1.0)
        contact[:, side] = ~((share > 1e-6) & (share < 1 - 1e-6))
        along = share**3 * (10 - 15 * share + 6 * share**2)
        # Up fast, down softly: no speed and no acceleration at either end.
        up = timing.lift * 64 * (share * (1 - share)) ** 3
        for k in range(frames):
            turn = pin.utils.rotate("z", way[2] * along[k])
            move = np.array([way[0] * along[k], way[1] * along[k], up[k]])
            poses[side].append(pin.SE3(turn, move) * soles[side])
    both = list(zip(*poses, strict=True))
    support = [hull([both[k][side] for side in (0, 1) if contact[k, side]], foot) for k in range(frames)]
    return Footing(both, contact, support)


def hull(soles: list[pin.SE3], foot: tuple[float, float] = FOOT) -> np.ndarray:
    """Half planes around the middles of standing soles, (P, 3), see `Footing.support`."""
    corners = [
        sole.act(np.array([x, y, 0.0]))[:2]
        for sole in soles
        for x in (-foot[0], foot[0])
        for y in (-foot[1], foot[1])
    ]
    equations = np.unique(ConvexHull(np.array(corners)).equations.round(12), axis=0)
    return np.concatenate([equations[:, :2], -equations[:, 2:]], axis=1)
