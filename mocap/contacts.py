"""When and where the feet stand: floor height, contacts, and foot paths that are still and flat in stance."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mocap.filters import close_gaps, low_pass, runs, smoothstep, velocity
from mocap.floor import find_floor
from mocap.rotations import Array, wrap
from mocap.skeleton import SIDES, Body


@dataclass(frozen=True)
class Footing:
    """How a human's feet meet the ground.

    Attributes:
        contact: (T, 2) bool, left and right: the foot stands and may be held still.
        position: (T, 2, 3) where a flat foot's ankle would be horizontally [m], and its lift above its own
            stance level [m].
        heading: (T, 2) direction of the toes about the vertical [rad], unwrapped.
        pitch: (T, 2) heel lift of the foot against its flat attitude [rad], toes down positive.
        floor: floor height in the body's coordinates [m].
    """

    contact: np.ndarray
    position: Array
    heading: Array
    pitch: Array
    floor: float


def floor_height(body: Body) -> float:
    """Height of the toes while they stand [m], see `mocap.floor`."""
    return find_floor(body).height_m


def find_footing(
    body: Body,
    *,
    slow_m_s: float = 0.35,
    pivot_rad_s: float = 3.0,
    pivot_rad: float = 0.5,
    high_m: float = 0.06,
    heel_rad: float = 0.35,
    shortest_s: float = 0.08,
) -> Footing:
    """Detect stance from the toes' speed and height and the foot's turning rate.

    A foot on its toes counts as standing (the robot's foot is flat then); a foot that pivots does not,
    since a flat robot foot cannot pivot without sliding: it is lifted and set down again.

    Args:
        body: the human, smoothed, at the output rate.
        slow_m_s: toe speed below which a foot stands; it lifts off at 1.6 times that.
        pivot_rad_s: turning rate above which it does not stand, and pivot_rad: if it turns at least so far; a
            shorter twist is held.
        high_m: toe height above its stance level above which it does not stand.
        heel_rad: heel lift (foot pitch against flat) above which it does not stand.
        shortest_s: shorter stances are dropped; gaps half as long are closed.
    """
    frames = body.frames
    floor = floor_height(body)
    contact = np.zeros((frames, 2), dtype=bool)
    position = np.zeros((frames, 2, 3))
    heading = np.zeros((frames, 2))
    pitch = np.zeros((frames, 2))
    for n, side in enumerate(SIDES):
        ankle, toe = body[f"{side}_ankle"], body[f"{side}_toe"]
        along = toe - ankle
        flat = np.linalg.norm(along[:, :2], axis=1)
        angle = _foot_heading(along, flat, body.fps)
        drop = np.arctan2(-along[:, 2], np.maximum(flat, 1e-6))
        speed = np.linalg.norm(velocity(toe, body.fps), axis=1)
        turning = _pivots(low_pass(angle, body.fps, 5.0), body.fps, pivot_rad_s, pivot_rad)
        level = _stance_level(toe[:, 2], speed, floor)
        high = toe[:, 2] - level
        tilt = drop - np.percentile(drop[speed < 1.6 * slow_m_s], 20) if (speed < slow_m_s).any() else drop
        on = (speed < slow_m_s) & (high < high_m) & (turning < pivot_rad_s) & (tilt < heel_rad)
        hold = (
            (speed < 1.6 * slow_m_s)
            & (high < 1.3 * high_m)
            & (turning < 1.5 * pivot_rad_s)
            & (tilt < 1.2 * heel_rad)
        )
        contact[:, n] = _hysteresis(on, hold)
        contact[:, n] = close_gaps(
            contact[:, n], gap=round(0.5 * shortest_s * body.fps) + 1, shortest=round(shortest_s * body.fps)
        )
        standing = contact[:, n] if contact[:, n].any() else np.ones(frames, dtype=bool)
        length = float(np.percentile(flat[standing], 80))
        pitch[:, n] = np.maximum(drop - np.percentile(drop[standing], 20), -0.3)
        heading[:, n] = angle
        back = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length
        position[:, n, :2] = toe[:, :2] - back
        lift_ankle = ankle[:, 2] - np.percentile(ankle[standing, 2], 30)
        position[:, n, 2] = np.maximum(np.minimum(high, lift_ankle) * 0.5 + 0.5 * np.maximum(high, 0.0), 0.0)
    return Footing(contact, position, heading, pitch, floor)


def _foot_heading(along: Array, flat: Array, fps: float) -> Array:
    """Direction of the foot about the vertical (T,) [rad], unwrapped; smoothed where the foot is steep."""
    weight = np.clip(flat / max(float(np.percentile(flat, 80)), 1e-6), 0.0, 1.0) ** 2
    unit = along[:, :2] / np.maximum(flat, 1e-6)[:, None]
    mean = low_pass(unit * weight[:, None], fps, 3.0)
    mean /= np.maximum(np.linalg.norm(mean, axis=1), 1e-6)[:, None]
    blend = np.clip(weight * 2.0 - 0.5, 0.0, 1.0)[:, None]
    mixed = blend * unit + (1.0 - blend) * mean
    return np.unwrap(np.arctan2(mixed[:, 1], mixed[:, 0]))


def _pivots(angle: Array, fps: float, rate: float, least: float) -> Array:
    """Turning rate (T,) [rad/s] of a heading, zero where a turn is shorter than `least` [rad]."""
    turning = velocity(angle, fps)
    out = np.abs(turning)
    for sign in (1.0, -1.0):
        for a, b in runs(sign * turning > 0.5 * rate):
            if abs(angle[b - 1] - angle[a]) < least:
                out[a:b] = 0.0
    return out


def _stance_level(z: Array, speed: Array, floor: float) -> float:
    """The height at which this toe stands: markers sit differently on the two feet."""
    slow = (speed < 0.3) & (z < floor + 0.08)
    return float(np.median(z[slow])) if slow.sum() > 5 else floor


def _hysteresis(on: np.ndarray, hold: np.ndarray) -> np.ndarray:
    """Runs of `hold` that contain at least one `on` (T,)."""
    out = np.zeros_like(on)
    for a, b in runs(hold | on):
        if on[a:b].any():
            out[a:b] = True
    return out


def split_drifting(
    contact: np.ndarray,
    position: Array,
    heading: Array,
    fps: float,
    *,
    tolerance_m: float = 0.045,
    tolerance_rad: float = 0.4,
    step_s: float = 0.2,
) -> np.ndarray:
    """Cut stances in which the foot creeps or turns: a small step is put where it has gone too far. Returns
    (T, 2) bool.

    Args:
        contact: (T, 2) bool.
        position: (T, 2, 3) foot path [m]; heading: (T, 2) [rad].
        fps: frames a second.
        tolerance_m, tolerance_rad: how far a foot may go from the middle of its range before it is cut.
        step_s: duration of the step put in.
    """
    out = contact.copy()
    half = max(2, round(0.5 * step_s * fps))
    shortest = max(3, round(0.1 * fps))
    for n in range(2):
        pending = runs(contact[:, n])
        while pending:
            a, b = pending.pop()
            x = np.concatenate(
                [position[a:b, n, :2] / tolerance_m, heading[a:b, n, None] / tolerance_rad], axis=1
            )
            spread = np.ptp(x, axis=0).max()
            if spread <= 2.0 or b - a < 2 * (half + shortest):
                continue
            # Cut where the foot moves most between what comes before and what comes after.
            k = np.arange(half + shortest, b - a - half - shortest + 1)
            gap = np.linalg.norm(x[k + half - 1] - x[k - half], axis=1)
            cut = a + int(k[np.argmax(gap)])
            out[cut - half : cut + half, n] = False
            pending += [(a, cut - half), (cut + half, b)]
    return out


def lock_feet(
    position: Array, heading: Array, contact: np.ndarray, fps: float, *, clearance_m: float = 0.035
) -> tuple[Array, Array]:
    """Make foot paths still in stance and smooth between: positions (T, 2, 3) [m] and headings (T, 2) [rad].

    In each stance, position and heading become their means over it and the lift becomes zero. In a swing
    the path keeps its shape; the offsets to the neighbouring stances are blended in. A swing rises at least
    `clearance_m` (less when it is short), so that no foot is dragged.

    Args:
        position: (T, 2, 3) horizontal position and lift [m].
        heading: (T, 2) [rad], unwrapped.
        contact: (T, 2) bool.
        fps: frames a second.
        clearance_m: least lift at mid-swing [m].
    """
    out, yaw = position.copy(), heading.copy()
    frames = len(position)
    for n in range(2):
        stances = runs(contact[:, n])
        if not stances:
            out[:, n, 2] = np.maximum(out[:, n, 2], 0.0)
            continue
        held = []
        for a, b in stances:
            inner = slice(a + (b - a) // 5, b - (b - a) // 5)
            xy = np.median(position[inner, n, :2], axis=0)
            direction = heading[inner, n]
            held.append((xy, float(np.median(direction))))
        raw = np.concatenate([position[:, n], heading[:, n, None]], axis=1)
        path = raw.copy()
        for (a, b), (xy, direction) in zip(stances, held, strict=True):
            path[a:b] = [*xy, 0.0, direction]
        edges = [(0, stances[0][0])] + [(s[1], t[0]) for s, t in pairwise(stances)]
        edges.append((stances[-1][1], frames))
        for a, b in edges:
            if a >= b:
                continue
            # Offsets at take-off and touch-down; at the clip's ends there is only one of them.
            off = path[a - 1] - raw[a - 1] if a > 0 else None
            land = path[b] - raw[b] if b < frames else None
            t = (np.arange(a, b) - a + 1.0) / (b - a + 1.0)
            h = smoothstep(t)[:, None]
            first = off if off is not None else land
            last = land if land is not None else off
            if first is None or last is None:
                continue
            path[a:b] = raw[a:b] + first * (1.0 - h) + last * h
            if a > 0 and b < frames:
                bump = clearance_m * min(1.0, (b - a) / (0.2 * fps)) * 16.0 * (t * (1.0 - t)) ** 2
                # Where the path itself rises steeply off the ground at the ends, the foot is still moving:
                # ease it.
                ease = smoothstep(np.minimum(t, 1.0 - t) * (b - a + 1.0) / (0.08 * fps))
                path[a:b, 2] = np.maximum(path[a:b, 2] * ease, bump)
        path[:, 2] = np.maximum(path[:, 2], 0.0)
        # Corners where swing meets stance are rounded; stance itself stays put.
        for _ in range(2):
            soft = path.copy()
            soft[1:-1] = 0.25 * path[:-2] + 0.5 * path[1:-1] + 0.25 * path[2:]
            free = ~contact[:, n]
            path[free] = soft[free]
        out[:, n], yaw[:, n] = path[:, :3], path[:, 3]
    return out, yaw


def support_offset(
    point: Array, feet: Array, heading: Array, contact: np.ndarray, half: tuple[float, float]
) -> Array:
    """How far a ground point is outside the support area: the shift (T, 2) [m] that would bring it in; zero
    in flight.

    The support area is taken as the segment between the centres of the standing feet, thickened by the
    foot's half length and half width: smooth, and a little smaller than the true hull.

    Args:
        point: (T, 2) the point (centre of mass or zero-moment point) [m].
        feet: (T, 2, 2) centres of the soles [m].
        heading: (T, 2) [rad].
        contact: (T, 2) bool.
        half: half length and half width of the foot, shrunk by the wished margin [m].
    """
    both = np.asarray(contact.all(axis=1))
    one = np.asarray(contact.any(axis=1))
    left = contact[:, :1]
    a = np.where(left, feet[:, 0], feet[:, 1])
    b = np.where(both[:, None], feet[:, 1], a)
    d = b - a
    s = np.clip(np.sum((point - a) * d, axis=1) / np.maximum(np.sum(d * d, axis=1), 1e-9), 0.0, 1.0)[:, None]
    nearest = a + s * d
    w = np.where(both[:, None], s, np.where(left, 0.0, 1.0))
    ref = heading[:, :1]
    yaw = ref[:, 0] + w[:, 0] * wrap(heading[:, 1] - ref[:, 0])
    rel = point - nearest
    c, sn = np.cos(yaw), np.sin(yaw)
    x, y = c * rel[:, 0] + sn * rel[:, 1], -sn * rel[:, 0] + c * rel[:, 1]
    ox, oy = x - np.clip(x, -half[0], half[0]), y - np.clip(y, -half[1], half[1])
    shift = -np.stack([c * ox - sn * oy, sn * ox + c * oy], axis=1)
    return np.where(one[:, None], shift, 0.0)
