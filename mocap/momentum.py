"""Centre of mass, angular momentum and flights of a human and of the robot: is the motion thrown or hung?

The human's masses are those of an average man: segment masses and centres of P. de Leva, "Adjustments to
Zatsiorsky-Seluyanov's segment inertia parameters", J. Biomechanics 29 (1996) 1223–1230, Table 4; each segment
counts as a point mass, on both sides of the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mocap.filters import low_pass, runs, velocity
from mocap.kinematics import Tree
from mocap.rotations import Array
from mocap.skeleton import SIDES, Body
from mocap.smoothness import smooth, stiffness

GRAVITY = 9.81
# From, to, mass as a fraction of the body's, centre from the first point toward the second.
_LIMBS = (
    ("hip", "knee", 0.1416, 0.4095),
    ("knee", "ankle", 0.0433, 0.4459),
    ("ankle", "toe", 0.0137, 0.4415),
    ("shoulder", "elbow", 0.0271, 0.5772),
    ("elbow", "wrist", 0.0162, 0.4574),
)
_HAND, _HEAD, _TRUNK = 0.0061, 0.0694, 0.4346
# Centre of the trunk between the middle of the hips and the neck.
_TRUNK_UP = 0.55
# A human flies while both feet are this far over where they stand [m] for at least so long [s]; the margin is cut
# off at both ends, where a foot still pushes [s].
FLIGHT_M = 0.04
FLIGHT_S = 0.12
EDGE_S = 0.02
# A flight is one if the human falls with so much of g: beside it are feet drawn up and markers that rise.
TRUE = (0.6, 1.4)
# Bandwidth of what is added to a flight [Hz]: its ends are the robot's push and landing.
LIFT_HZ = 5.0


def human_masses(body: Body) -> tuple[Array, Array]:
    """Point masses of a human: positions (T, N, 3) [m] and fractions of the body's mass (N,), sum 1."""
    points, masses = [], []
    for side in SIDES:
        for a, b, mass, along in _LIMBS:
            start, end = body[f"{side}_{a}"], body[f"{side}_{b}"]
            points.append(start + along * (end - start))
            masses.append(mass)
        points.append(body[f"{side}_wrist"])
        masses.append(_HAND)
    hips = 0.5 * (body["left_hip"] + body["right_hip"])
    points += [hips + _TRUNK_UP * (body["neck"] - hips), body["neck"] + 0.5 * (body["neck"] - body["chest"])]
    masses += [_TRUNK, _HEAD]
    mass = np.array(masses)
    return np.stack(points, axis=1), mass / mass.sum()


def robot_masses(tree: Tree, pos: Array, rot: Array) -> tuple[Array, Array]:
    """The same of the robot: its links' centres of mass, given the results of `Tree.forward`."""
    return pos + (rot @ tree.coms[..., None])[..., 0], tree.masses / tree.masses.sum()


def angular_momentum(points: Array, masses: Array, fps: float) -> tuple[Array, Array]:
    """Centre of mass (T, 3) [m] and angular momentum about it per unit of mass (T, 3) [m²/s]."""
    com = np.einsum("tnk,n->tk", points, masses)
    rel = points - com[:, None]
    moving = velocity(rel, fps)
    return com, np.einsum("tnk,n->tk", np.cross(rel, moving), masses)


@dataclass(frozen=True)
class Momentum:
    """How the robot's momentum compares with the human's.

    Attributes:
        correlation: of the angular momentum about the centre of mass, all axes, robot against human.
        ratio: root mean square of the robot's over the human's, each per mass and square of the leg's length: 1
            for the same motion of the same proportions.
        flights: number of flights of the human that are true to g within `TRUE`.
        flight_gravity: mean of the centre of mass's downward acceleration in flight over g, weighted by
            duration; 1 is free fall, None without flights. human_flight_gravity: the same of the human, as a
            check on the recording.
    """

    correlation: float
    ratio: float
    flights: int
    flight_gravity: float | None
    human_flight_gravity: float | None


def compare(body: Body, tree: Tree, pos: Array, rot: Array, scale: float) -> Momentum:
    """Compare a robot motion with its human.

    Args:
        body: the human at the motion's rate, floor at zero.
        tree: the robot. pos, rot: its motion, from `Tree.forward`.
        scale: robot metres per human metre.
    """
    fps = body.fps
    human_com, human = angular_momentum(*human_masses(body), fps)
    robot_com, robot = angular_momentum(*robot_masses(tree, pos, rot), fps)
    human, robot = low_pass(human, fps, 6.0) * scale**2, low_pass(robot, fps, 6.0)
    size = np.sqrt((human**2).sum() * (robot**2).sum())
    spans = falls(body, human_com)
    return Momentum(
        correlation=float((human * robot).sum() / size) if size > 1e-12 else 1.0,
        ratio=float(np.sqrt((robot**2).sum() / max((human**2).sum(), 1e-12))),
        flights=len(spans),
        flight_gravity=_fall(robot_com, spans, fps),
        human_flight_gravity=_fall(human_com, spans, fps),
    )


def flights(body: Body) -> list[tuple[int, int]]:
    """Spans [a, b) of frames in which a human flies: jumps, and the airborne part of running steps."""
    up = np.ones(body.frames, dtype=bool)
    for side in SIDES:
        for point in ("toe", "ankle"):
            z = body[f"{side}_{point}"][:, 2]
            up &= z > np.percentile(z, 10) + FLIGHT_M
    return [(a, b) for a, b in runs(up) if a > 0 and b < body.frames and b - a >= max(FLIGHT_S * body.fps, 5)]


def falls(body: Body, com: Array | None = None) -> list[tuple[int, int]]:
    """Those `flights` in which the centre of mass (T, 3) falls as a body does."""
    if com is None:
        com = angular_momentum(*human_masses(body), body.fps)[0]
    out = []
    for span in flights(body):
        g = _fall(com, [span], body.fps)
        if g is not None and TRUE[0] <= g <= TRUE[1]:
            out.append(span)
    return out


def lift_flights(body: Body, scale: float) -> Body:
    """The human thrown higher, so that a robot of `scale` times his size falls with g in the same time.

    A jump that is scaled in space and not in time falls with scale · g: a small robot would hang in the air.
    Each flight of duration T is lifted by ½ (1/scale - 1) g t (T - t).
    """
    lift = np.zeros(body.frames)
    for a, b in falls(body):
        t = np.arange(b - a + 2) / body.fps
        lift[a - 1 : b + 1] = 0.5 * max(1.0 / scale - 1.0, 0.0) * GRAVITY * t * (t[-1] - t)
    if not lift.any():
        return body
    stiff = np.full(body.frames, stiffness(LIFT_HZ, body.fps))
    lift = np.maximum(smooth(lift[:, None], np.ones(body.frames), stiff)[:, 0], 0.0)
    points = body.points.copy()
    points[:, :, 2] += lift[:, None]
    return replace(body, points=points)


def _fall(com: Array, spans: list[tuple[int, int]], fps: float) -> float | None:
    """Mean downward acceleration over g in the spans, by a parabola fitted to each."""
    edge = round(EDGE_S * fps)
    total = weight = 0.0
    for a, b in spans:
        z = com[a + edge : b - edge, 2]
        if len(z) < 4:
            continue
        t = np.arange(len(z)) / fps
        total += -2.0 * float(np.polyfit(t, z, 2)[0]) / GRAVITY * len(z)
        weight += len(z)
    return total / weight if weight else None
