"""Where the floor is under a recorded body: height, tilt of the capture's axes, drift.

A foot that stands is slow for a while and no higher than the other. Each such stance gives one point of the
floor; a plane through all of them is fitted so that steps on something, lifted feet and glitches do not
pull it. Tilt and drift are believed only where they explain the stances much better than a level floor does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mocap.filters import runs, velocity
from mocap.rotations import Array, matrix_from_axis_angle
from mocap.skeleton import SIDES, Body

# A standing toe [m/s], how long it stands at least [s], and how much higher than the other it may be [m].
SLOW_M_S, SHORTEST_S, HIGHER_M = 0.3, 0.1, 0.04
# Stances further than this from the plane do not count [m]; those on the floor lie within a third of it.
FAR_M = 0.06
# Tilt and drift are used only from this many stances on, over this extent [m] or time [s], if they move the
# floor by this much over it [m] and leave at most this share of the level floor's spread.
STANCES, EXTENT_M, EXTENT_S, MATTERS_M, LEFT_SHARE = 20, 1.0, 5.0, 0.02, 0.7
# The two halves of a clip must tell the same slope, up to this share of it.
HALVES_SHARE = 0.5
# More is no mistake of calibration but a ramp [rad].
MOST_TILT_RAD = 0.12


@dataclass(frozen=True)
class Floor:
    """A floor under a body, of its toes as they stand.

    Attributes:
        height_m: height at `origin` [m].
        slope: (2,) rise per metre along x and y; zero unless significant.
        drift_m_s: rise per second; zero unless significant.
        origin: x, y [m] and time [s] at which `height_m` holds.
        spread_m: what the stances' heights scatter about it (1.48 times the median absolute deviation).
        stances: how many stances it rests on; 0 when nothing stands and the lowest toe heights were taken.
    """

    height_m: float
    slope: tuple[float, float]
    drift_m_s: float
    origin: tuple[float, float, float]
    spread_m: float
    stances: int

    @property
    def tilt_deg(self) -> float:
        """Angle between the floor and the level [degrees]."""
        return float(np.degrees(np.arctan(np.hypot(*self.slope))))


def find_floor(body: Body) -> Floor:
    """The floor under a body (z up)."""
    samples, weight, foot = _stances(body)
    if len(samples) < 1:
        toes = np.minimum(body["left_toe"][:, 2], body["right_toe"][:, 2])
        return Floor(float(np.percentile(toes, 5)), (0.0, 0.0), 0.0, (0.0, 0.0, 0.0), 0.0, 0)
    origin = np.average(samples[:, [0, 1, 3]], axis=0, weights=weight)
    z = samples[:, 2]
    start = _lowest_mode(z, weight)
    side = _foot_offset(z, weight, foot, start)
    z = z - side * foot
    x = samples[:, [0, 1, 3]] - origin
    level, level_spread = _fit(x[:, :0], z, weight, start)
    best, best_spread, columns = level, level_spread, ()
    for tried, size, least in (((0, 1), EXTENT_M, STANCES), ((2,), EXTENT_S, STANCES)):
        extent = np.ptp(x[:, list(tried)], axis=0)
        if len(z) < least or extent.max() < size:
            continue
        # Only directions in which the person went somewhere say anything about a tilt.
        used = tuple(c for c, e in zip(tried, extent, strict=True) if e > 0.5 * size)
        fit, spread = _tilted_fit(x[:, list(used)], z, weight, start)
        moved = np.abs(fit[1:]) @ np.array([np.ptp(x[:, c]) for c in used])
        halves = [_tilted_fit(x[h][:, list(used)], z[h], weight[h], start)[0][1:] for h in _halves(x[:, 2])]
        if max(np.linalg.norm(h - fit[1:]) for h in halves) > HALVES_SHARE * np.linalg.norm(fit[1:]):
            continue
        steep = tried == (0, 1) and np.linalg.norm(fit[1:]) > np.tan(MOST_TILT_RAD)
        if not steep and moved > MATTERS_M and spread < LEFT_SHARE * level_spread and spread < best_spread:
            best, best_spread, columns = fit, spread, used
    slope = [0.0, 0.0, 0.0]
    for c, s in zip(columns, best[1:], strict=True):
        slope[c] = float(s)
    return Floor(
        float(best[0]),
        (slope[0], slope[1]),
        slope[2],
        (float(origin[0]), float(origin[1]), float(origin[2])),
        best_spread,
        len(z),
    )


def level(body: Body, floor: Floor) -> Body:
    """The body with this floor level at z = 0: drift taken out, turned back about the floor's origin, and
    lowered. Distances between its points are kept.
    """
    points = body.points - np.array([0.0, 0.0, floor.height_m])
    if floor.drift_m_s:
        time = np.arange(body.frames) / body.fps - floor.origin[2]
        points[..., 2] -= (floor.drift_m_s * time)[:, None]
    if floor.slope != (0.0, 0.0):
        pivot = np.array([*floor.origin[:2], 0.0])
        normal = np.array([-floor.slope[0], -floor.slope[1], 1.0])
        normal /= np.linalg.norm(normal)
        axis = np.cross(normal, [0.0, 0.0, 1.0])
        sine = float(np.linalg.norm(axis))
        turn = matrix_from_axis_angle(axis / max(sine, 1e-12) * np.arctan2(sine, normal[2]))
        points = (points - pivot) @ turn.T + pivot
    return replace(body, points=points)


def _stances(body: Body) -> tuple[Array, Array, Array]:
    """One sample x, y, z, t per stance (S, 4), its weight (S,), and +½ for left or -½ for right (S,)."""
    toes = {side: body[f"{side}_toe"] for side in SIDES}
    samples, weight, foot = [], [], []
    for side, other, sign in (("left", "right", 0.5), ("right", "left", -0.5)):
        toe = toes[side]
        slow = np.linalg.norm(velocity(toe, body.fps), axis=1) < SLOW_M_S
        slow &= toe[:, 2] < toes[other][:, 2] + HIGHER_M
        for a, b in runs(slow):
            if b - a < max(2.0, SHORTEST_S * body.fps):
                continue
            # A long stand counts as several, not as hundreds.
            parts = max(1, round((b - a) / body.fps))
            for part in np.array_split(np.arange(a, b), parts):
                samples.append([*np.median(toe[part], axis=0), part.mean() / body.fps])
                weight.append(min(len(part) / body.fps, 0.5))
                foot.append(sign)
    return np.array(samples).reshape(-1, 4), np.array(weight), np.array(foot)


def _halves(time: Array) -> tuple[np.ndarray, np.ndarray]:
    """The earlier and the later half of the stances (S,) bool."""
    early = time <= np.median(time)
    return early, ~early


def _lowest_mode(z: Array, weight: Array) -> float:
    """The lowest height at which stances gather: nothing below it holds half of what it holds."""
    around = np.abs(z[:, None] - z[None, :]) < 0.5 * FAR_M
    density = around @ weight
    good = np.flatnonzero(density > 0.5 * density.max())
    lowest = good[np.argmin(z[good])]
    inside = around[lowest]
    return float(np.median(z[inside]))


def _foot_offset(z: Array, weight: Array, foot: Array, start: float) -> float:
    """How much higher the left toe's point sits than the right one's when both stand [m]."""
    near = np.abs(z - start) < FAR_M
    left, right = z[near & (foot > 0)], z[near & (foot < 0)]
    if len(left) < 3 or len(right) < 3:
        return 0.0
    return float(np.clip(np.median(left) - np.median(right), -0.5 * FAR_M, 0.5 * FAR_M))


def _tilted_fit(x: Array, z: Array, weight: Array, start: float) -> tuple[Array, float]:
    """The better of two fits: from the level floor, and from a plane through all stances."""
    a = np.column_stack([np.ones(len(z)), x]) * np.sqrt(weight)[:, None]
    first = np.linalg.lstsq(a, z * np.sqrt(weight), rcond=None)[0]
    fits = [_fit(x, z, weight, start), _fit(x, z, weight, float(first[0]), first[1:])]
    return min(fits, key=lambda f: f[1])


def _fit(x: Array, z: Array, weight: Array, start: float, slope: Array | None = None) -> tuple[Array, float]:
    """Robust plane (1 + C,) through stances by iterated weights that vanish beyond `FAR_M` (Tukey), and the
    spread about it.
    """
    fit = np.concatenate([[start], np.zeros(x.shape[1]) if slope is None else slope])
    a = np.column_stack([np.ones(len(z)), x])
    for _ in range(30):
        off = z - a @ fit
        w = weight * np.maximum(1.0 - (off / FAR_M) ** 2, 0.0) ** 2
        if w.sum() < 1e-9:
            break
        new = np.linalg.lstsq(a * np.sqrt(w)[:, None], z * np.sqrt(w), rcond=None)[0]
        done = bool(np.abs(new - fit).max() < 1e-9)
        fit = new
        if done:
            break
    off = z - a @ fit
    # Stances off the floor (steps, lifted feet) are no scatter, but they must not be shed for a better fit.
    return fit, float(1.4826 * np.median(np.abs(off)))
