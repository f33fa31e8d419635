"""Safety: how close a policy comes to the robot's limits, and what stands between it and the motors.

Four parts, which need numpy and numba:

- :class:`SafetyMonitor` watches N robots and keeps, per joint, the closest approach to every limit.
- :class:`SelfCollisionMonitor` does so for the distances between the robot's parts and its racket.
- :class:`Shield` turns a commanded joint target into one that the robot may safely be given.
- :class:`StateGuard` says whether a measured state may be acted upon at all.

Braking. A joint at position q and velocity q̇ whose motor can decelerate it at a stops after the distance
q̇² / 2a. The joint is viable while q + q̇|q̇| / 2a lies within its range: then it can still be stopped
before the limit, otherwise only the mechanical stop will. Here a = BRAKE_SHARE · effort / inertia, where the
inertia is that of everything beyond the joint (the racket included) about its axis, in the pose it is in. As a first
look, and it is the last one if it finds no danger, the largest inertia over all poses is taken. (Arms that are
stretched out triple what the waist has to stop: taken for granted, that alone cost a sixth of all returns.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import cos, radians
from typing import Any

import numpy as np

from humanoid.bodies import Bodies
from humanoid.compiled import compiled, record, rows
from humanoid.joints import (
    ARMATURE,
    EFFORT_LIMIT,
    JOINT_NAMES,
    JOINTS,
    KD,
    KP,
    LOWER,
    NUM_JOINTS,
    UPPER,
    VELOCITY_LIMIT,
)
from humanoid.racket import LINK, QUAT, RACKET
from humanoid.rotations import quat_matrix

BRAKE_SHARE = 0.7
"""Share of a motor's effort that is counted on for braking; the rest is left for gravity and for the
other joints' motion. A choice, without a source."""

TOLERANCE = 1e-4
"""Excess over a limit that does not count yet, [rad], [rad/s] or [N·m]: a joint that rests at its limit is
not beyond it for a rounding error. About one step of a 16-bit encoder, 2π / 2¹⁶."""

_UNITS = {"position": "_rad", "velocity": "_rad_s", "torque": "_nm", "braking": "_rad"}


def pd_torque(
    target: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray, kp: np.ndarray = KP, kd: np.ndarray = KD
) -> np.ndarray:
    """Torque that the motors are commanded to, before they clip it: kp (target − q) − kd q̇, [N·m].

    Args:
        target, joint_pos: [rad], shape (..., 29).
        joint_vel: [rad/s], shape (..., 29).
        kp, kd: gains, [N·m/rad] and [N·m·s/rad], shape (29,).
    """
    return kp * (target - joint_pos) - kd * joint_vel


_LINK = record(
    [
        ("parent", "i8"), ("axis", "i8"), ("turn", "f8", (3, 3)), ("place", "f8", (3,)), ("mass", "f8"),
        ("moment", "f8", (3,)), ("inertia", "f8", (3, 3)), ("armature", "f8"), ("lower", "f8"), ("upper", "f8"),
        ("velocity", "f8"), ("effort", "f8"),
    ]
)  # fmt: skip
"""A joint and its link: its parent's number or -1, the joint's axis and place in the parent, the link's mass, first
moment and inertia about the joint, what it holds included, and the motor's armature and limits."""


@cache
def _links() -> np.ndarray:
    index = {joint.link: number for number, joint in enumerate(JOINTS)}
    links = np.zeros(NUM_JOINTS, dtype=_LINK)
    for link, joint in zip(links, JOINTS, strict=True):
        bodies: list[tuple[float, Any, Any, Any]] = [
            (joint.mass, joint.com, joint.inertia_quat, joint.inertia)
        ]
        if joint.link == LINK:
            centre = RACKET.position + quat_matrix(QUAT) @ RACKET.com
            bodies.append((RACKET.mass, centre, QUAT, RACKET.inertia))
        for mass, com, quat, moments in bodies:
            place, principal = np.asarray(com, dtype=float), quat_matrix(quat)
            link["mass"] += mass
            link["moment"] += mass * place
            link["inertia"] += principal @ np.diag(moments) @ principal.T
            link["inertia"] += mass * (place @ place * np.eye(3) - np.outer(place, place))
        link["parent"], link["axis"] = index.get(joint.parent, -1), "xyz".index(joint.axis)
        link["turn"], link["place"] = quat_matrix(joint.quat), joint.pos
    links["armature"], links["lower"], links["upper"] = ARMATURE, LOWER, UPPER
    links["velocity"], links["effort"] = VELOCITY_LIMIT, EFFORT_LIMIT
    return links


def pose_inertia(joint_pos: np.ndarray) -> np.ndarray:
    """Inertia about each joint's axis of what hangs beyond it, held as it is, armature included, [kg m²].

    The diagonal of the joints' mass matrix by the composite-rigid-body algorithm (Featherstone, Rigid Body Dynamics
    Algorithms, 2008, section 6.2).

    Args:
        joint_pos: [rad], shape (N, 29).

    Returns:
        Shape (N, 29).
    """
    angles = rows("joint_pos", joint_pos, NUM_JOINTS)
    about = np.empty_like(angles)
    _pose_inertias(angles, _links(), about)
    return about


@compiled
def _pose_inertias(angles, links, about):
    for i in range(len(angles)):
        _pose_inertia(angles[i], links, about[i])


@compiled
def _pose_inertia(angles, links, about):
    """`pose_inertia` of one robot, into `about` (29,)."""
    # Of each link with all beyond it.
    mass, moment, inertia = links["mass"].copy(), links["moment"].copy(), links["inertia"].copy()
    turn, half, first = np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    for number in range(len(links) - 1, -1, -1):
        link = links[number]
        axis, parent, place = link.axis, link.parent, link.place
        about[number] = inertia[number, axis, axis] + link.armature
        if parent < 0:
            continue
        cos, sin = np.cos(angles[number]), np.sin(angles[number])
        second, third = (axis + 1) % 3, (axis + 2) % 3
        trace = square = 0.0
        for i in range(3):
            turn[i, axis] = link.turn[i, axis]
            turn[i, second] = link.turn[i, second] * cos + link.turn[i, third] * sin
            turn[i, third] = link.turn[i, third] * cos - link.turn[i, second] * sin
            first[i] = 0.0
            for k in range(3):
                first[i] += turn[i, k] * moment[number, k]
            trace += first[i] * place[i]
            square += place[i] * place[i]
        for i in range(3):
            for j in range(3):
                half[i, j] = 0.0
                for k in range(3):
                    half[i, j] += turn[i, k] * inertia[number, k, j]
        for i in range(3):
            for j in range(3):
                turned = 0.0
                for k in range(3):
                    turned += half[i, k] * turn[j, k]
                # Moved from the joint's place to the parent's (Steiner, with the first moment).
                shift = -first[i] * place[j] - first[j] * place[i] - mass[number] * place[i] * place[j]
                if i == j:
                    shift += 2.0 * trace + mass[number] * square
                inertia[parent, i, j] += turned + shift
            moment[parent, i] += first[i] + mass[number] * place[i]
        mass[parent] += mass[number]


@cache
def joint_inertia() -> np.ndarray:
    """Largest :func:`pose_inertia` of each joint, [kg m²], (29,): over 300 poses drawn evenly within the joint limits,
    with a fixed seed."""
    poses = np.random.default_rng(0).uniform(LOWER, UPPER, size=(300, NUM_JOINTS))
    inertia = pose_inertia(poses).max(axis=0)
    inertia.flags.writeable = False
    return inertia


def deceleration(joint_pos: np.ndarray | None = None) -> np.ndarray:
    """Deceleration that joints can be counted on for, [rad/s²]; see the module's text.

    Args:
        joint_pos: poses, [rad], shape (N, 29); None: in the worst pose.

    Returns:
        Shape (N, 29), or (29,).
    """
    inertia = joint_inertia() if joint_pos is None else pose_inertia(joint_pos)
    return BRAKE_SHARE * EFFORT_LIMIT / inertia


def stopping_point(
    joint_pos: np.ndarray, joint_vel: np.ndarray, slowing: np.ndarray | None = None
) -> np.ndarray:
    """Where each joint comes to rest when it brakes from now on at `slowing` (default: :func:`deceleration` in the
    worst pose), [rad], shape (..., 29)."""
    slowing = deceleration() if slowing is None else slowing
    return joint_pos + joint_vel * np.abs(joint_vel) / (2.0 * slowing)


class SafetyMonitor:
    """Per joint the closest approach to its limits and the number of control steps beyond them.

    Quantities, all per joint and control step:

    - position: margin = distance to the nearer end of the range, [rad]; a violation when it is
      negative beyond :data:`TOLERANCE`, here and below.
    - velocity: margin = motor's velocity limit − |q̇|, [rad/s].
    - torque: margin = motor's effort − |commanded torque before clipping|, [N·m]; a violation means that
      more was asked for than the motor has, so the motion was not what the policy meant.
    - braking: margin = distance of the stopping point (module's text) from the nearer end, [rad], at least: in the
      worst pose, unless that is a violation; a violation means that the joint could not be stopped before its limit
      any more.

    A violation count is a number of control steps of one robot; totals are sums over joints. Values that are
    not finite are counted by joint and otherwise left out: they neither spread nor hide a margin.

    The cost of a step and the memory do not grow with time.

    Args:
        num_robots: N.
    """

    def __init__(self, num_robots: int = 1) -> None:
        self.num_robots = num_robots
        self._half_brake = 0.5 / deceleration()
        self._seen = np.zeros((3, num_robots, NUM_JOINTS))
        self._active = np.zeros(num_robots, dtype=bool)
        self.reset()
        self._take()  # Nobody is active: that only compiles.

    def reset(self) -> None:
        """Forget everything."""
        self.steps = 0
        """Control steps watched, over all robots."""
        self._joints = np.zeros(NUM_JOINTS, dtype=_JOINT)
        self._joints["closest"] = np.inf

    def update(
        self,
        joint_pos: np.ndarray,
        joint_vel: np.ndarray,
        torque: np.ndarray,
        active: np.ndarray | None = None,
    ) -> None:
        """Take one control step into account.

        Args:
            joint_pos: measured, [rad], shape (N, 29).
            joint_vel: measured, [rad/s], shape (N, 29).
            torque: commanded, before clipping (:func:`pd_torque`), [N·m], shape (N, 29).
            active: robots that count, bool, shape (N,); all by default.

        Raises:
            ValueError: an array has another shape; the message names it.
        """
        self._put("joint_pos", self._seen[0], joint_pos)
        self._put("joint_vel", self._seen[1], joint_vel)
        self._put("torque", self._seen[2], torque)
        if active is None:
            self._active[:] = True
        else:
            self._put("active", self._active, active)
        self._take()

    def _put(self, name: str, table: np.ndarray, given: np.ndarray) -> None:
        if given.shape != table.shape:
            raise ValueError(f"safety monitor: {name} has shape {given.shape}, expected {table.shape}")
        table[:] = given

    def _take(self) -> None:
        self.steps += _approach(self._seen, self._active, _links(), self._half_brake, self._joints)

    def report(self) -> dict[str, Any]:
        """What was seen, JSON-able.

        Returns:
            Totals ``position_violations``, ``velocity_violations``, ``torque_violations``,
            ``braking_violations``, ``non_finite`` and ``steps``; the closest margins over all joints
            ``closest_position_margin_rad``, ``closest_velocity_margin_rad_s``, ``closest_torque_margin_nm``,
            ``closest_braking_margin_rad`` (None before anything was seen) with ``closest_position_joint``;
            and ``by_joint``: the same by joint name.
        """
        closest, violations = self._joints["closest"], self._joints["violations"]
        by_joint = {}
        for index, name in enumerate(JOINT_NAMES):
            entry: dict[str, Any] = {}
            for row, (key, unit) in enumerate(_UNITS.items()):
                entry[f"{key}_violations"] = int(violations[index, row])
                entry[f"closest_{key}_margin{unit}"] = _number(closest[index, row])
            entry["non_finite"] = int(self._joints["non_finite"][index])
            by_joint[name] = entry
        result: dict[str, Any] = {}
        for row, (key, unit) in enumerate(_UNITS.items()):
            result[f"{key}_violations"] = int(violations[:, row].sum())
            result[f"closest_{key}_margin{unit}"] = _number(closest[:, row].min())
        result["non_finite"] = int(self._joints["non_finite"].sum())
        result["steps"] = self.steps
        seen = np.isfinite(closest[:, 0]).any()
        nearest = int(closest[:, 0].argmin())
        result["closest_position_joint"] = JOINT_NAMES[nearest] if seen else None
        result["by_joint"] = by_joint
        return result


_JOINT = record([("closest", "f8", (4,)), ("violations", "i8", (4,)), ("non_finite", "i8")])
"""What a monitor knows of a joint: by quantity, in the order of `_UNITS`."""


@compiled
def _approach(seen, active, links, half_brake, joints):
    """Take a control step into the tally `joints`, see `SafetyMonitor`; how many robots it was.

    Args:
        seen: positions, velocities and torques, (3, N, 29). active: (N,). half_brake: 0.5 / deceleration, (29,).
    """
    margin, angles, about = np.empty((len(links), 4)), np.empty(len(links)), np.empty(len(links))
    steps = 0
    for robot in range(len(active)):
        if not active[robot]:
            continue
        steps += 1
        late = False
        for j in range(len(links)):
            link, q, v, torque = links[j], seen[0, robot, j], seen[1, robot, j], seen[2, robot, j]
            if not (np.isfinite(q) and np.isfinite(v) and np.isfinite(torque)):
                joints[j].non_finite += 1
                q = q if np.isfinite(q) else np.nan
                v = v if np.isfinite(v) else np.nan
                torque = torque if np.isfinite(torque) else np.nan
            angles[j] = q
            stop = q + v * abs(v) * half_brake[j]
            margin[j, 0] = min(q - link.lower, link.upper - q)
            margin[j, 1] = link.velocity - abs(v)
            margin[j, 2] = link.effort - abs(torque)
            margin[j, 3] = min(stop - link.lower, link.upper - stop)
            late |= margin[j, 3] < -TOLERANCE
        if late:
            # So it would be in the worst pose; the present one decides.
            _pose_inertia(angles, links, about)
            for j in range(len(links)):
                link, q, v = links[j], angles[j], seen[1, robot, j]
                v = v if np.isfinite(v) else np.nan
                stop = q + v * abs(v) * about[j] / (2.0 * BRAKE_SHARE * link.effort)
                margin[j, 3] = min(stop - link.lower, link.upper - stop)
        for j in range(len(links)):
            for k in range(4):
                # NaN is neither.
                if margin[j, k] < joints[j].closest[k]:
                    joints[j].closest[k] = margin[j, k]
                if margin[j, k] < -TOLERANCE:
                    joints[j].violations[k] += 1
    return steps


class SelfCollisionMonitor:
    """How near the parts of robots and their rackets come to each other (:mod:`humanoid.bodies`), and for how many
    control steps they overlap: there a real robot would have hit itself.

    Physics without self-collision lets parts pass through each other; here it shows.
    """

    WITHIN = 0.05
    """Gaps wider than this are not looked at, [m]."""

    def __init__(self) -> None:
        self._bodies = Bodies()
        self.reset()
        self.update(np.empty((0, NUM_JOINTS)))  # That only compiles.

    def reset(self) -> None:
        """Forget everything."""
        self._steps = self._overlaps = 0
        self._closest = np.full(len(self._bodies.parts), np.inf)
        self._count = np.zeros(len(self._bodies.parts), dtype=np.int64)

    def update(self, joint_pos: np.ndarray) -> None:
        """Take one control step of some robots into account; poses that are not finite are left out.

        Args:
            joint_pos: measured, [rad], shape (N, 29).
        """
        steps, overlaps = self._bodies.tally(joint_pos, self.WITHIN, self._closest, self._count)
        self._steps += steps
        self._overlaps += overlaps

    def report(self) -> dict[str, Any]:
        """What was seen, JSON-able.

        Returns:
            ``steps`` watched and ``overlap_steps`` in which some pair overlapped, over all robots;
            ``closest_gap_m`` (None if no pair came within :attr:`WITHIN`) and its ``closest_pair``; and ``by_pair``
            for every pair that overlapped: ``overlap_steps``, ``closest_gap_m``.
        """
        nearest = int(self._closest.argmin())
        seen = bool(np.isfinite(self._closest[nearest]))
        return {
            "steps": self._steps,
            "overlap_steps": self._overlaps,
            "closest_gap_m": _number(self._closest[nearest]),
            "closest_pair": self._bodies.parts[nearest] if seen else None,
            "by_pair": {
                self._bodies.parts[k]: {
                    "overlap_steps": int(self._count[k]),
                    "closest_gap_m": float(self._closest[k]),
                }
                for k in np.flatnonzero(self._count)
            },
        }


@dataclass
class ShieldLimits:
    """What the shield allows.

    Attributes:
        target_rate: fastest change of a joint target, as a multiple of the motor's velocity limit. A target
            that outruns the motor is no position any more; 2 leaves room for targets that lead the joint.
        position_margin: targets stay this far inside the joint's range, [rad].
        brake_margin: braking aims at so much before the limit, as a share of the joint's range: what a joint
            may gain within the control period in which it begins to race. Found with the worst commands.
    """

    target_rate: float = 2.0
    position_margin: float = 0.0
    brake_margin: float = 0.02


@dataclass(frozen=True)
class Intervention:
    """One change that the shield made.

    Attributes:
        kind: "non_finite", "rate", "position", "braking" or "torque".
        joint: name of the joint.
        robot: index of the robot.
        change: new target minus the commanded one, [rad]; NaN where the command was not finite.
    """

    kind: str
    joint: str
    robot: int
    change: float


@dataclass(frozen=True)
class Shielded:
    """A safe command.

    Attributes:
        target: joint position targets, [rad], shape (N, 29), finite.
        changed: kind of intervention to where it changed the target, bool, (N, 29); only kinds that did.
        commanded: what was asked for, [rad], shape (N, 29).
        robots: whose command was changed, bool, shape (N,).
    """

    target: np.ndarray
    changed: Mapping[str, np.ndarray]
    commanded: np.ndarray
    robots: np.ndarray

    @property
    def interventions(self) -> list[Intervention]:
        """One entry a kind, robot and joint."""
        return [
            Intervention(
                kind,
                JOINT_NAMES[joint],
                int(robot),
                float(self.target[robot, joint] - self.commanded[robot, joint]),
            )
            for kind, mask in self.changed.items()
            for robot, joint in np.argwhere(mask)
        ]


class Shield:
    """Makes a commanded joint target safe. Whatever comes in, what goes out is finite, and the torque that it asks for
    is within the motors' effort in the measured state or, as the joint goes on at its speed, at the period's end.

    In this order, the later winning over the earlier:

    1. A target that is not finite is replaced by the last safe one.
    2. Rate: the target moves no faster than ``target_rate`` times the motor's velocity limit.
    3. Position: the target lies within the joint's range, less ``position_margin``.
    4. Braking: a joint that, if it went on for one more control step as in the last one, could not be stopped
       before its limit is given the target that brakes it with the torque :func:`deceleration` counts on, or
       with all the motor has when that would come too late.
    5. Torque: the target is brought so near that kp (target − q) − kd q̇ comes within the effort before the period ends,
       if the joint goes on at its speed. A target that suits a fast joint's whole period asks for too much at its
       beginning, which the motor's own limit takes off; held to the effort there, it would ask for too little in the
       rest.

    A target leaves the joint's range only for one of these two: to brake, because a weak spring needs a long
    pull, or because the joint is beyond its range or so fast that its damping alone exceeds the effort.

    This is the exact solution of a quadratic programme with priorities: the target u nearest to the commanded one w,

        minimise |u − w|²  subject to  low_k ≤ A_k u ≤ high_k,  k = torque, braking, position, rate,

    where a bound that cannot be met together with those before it is missed by as little as possible. In the measured
    state the torque kp (u − q) − kd q̇ is linear in u, and each bound concerns one joint, so that every A_k is diagonal
    and the programme falls apart into one for each joint: the nearest point of intervals. That is clipping to them one
    after the other, the most important last. A test holds it against a solver.

    Args:
        kp: position gains the targets are tracked with, [N·m/rad], shape (29,).
        kd: velocity gains, [N·m·s/rad], shape (29,).
        num_robots: N.
        dt: control period, [s].
        limits: see :class:`ShieldLimits`.
    """

    def __init__(
        self,
        kp: np.ndarray = KP,
        kd: np.ndarray = KD,
        *,
        num_robots: int = 1,
        dt: float = 0.02,
        limits: ShieldLimits | None = None,
    ) -> None:
        limits = limits or ShieldLimits()
        self.num_robots = num_robots
        self.limits = limits
        self._dt = float(dt)
        joints = np.zeros(NUM_JOINTS, dtype=_BOUNDS)
        joints["kp"], joints["kd"] = kp, kd
        joints["lower"], joints["upper"] = LOWER + limits.position_margin, UPPER - limits.position_margin
        joints["brake_low"] = joints["lower"] + limits.brake_margin * (UPPER - LOWER)
        joints["brake_high"] = joints["upper"] - limits.brake_margin * (UPPER - LOWER)
        joints["step"] = limits.target_rate * VELOCITY_LIMIT * dt
        joints["half_brake"] = 0.5 / deceleration()
        self._joints = joints
        self._robots = np.zeros(num_robots, dtype=_ROBOT)
        self.reset()
        _bound(self._robots[:0], joints, _links(), self._dt)  # That only compiles.

    @property
    def last(self) -> np.ndarray | None:
        """Last safe target, [rad], shape (N, 29); None at the start."""
        return self._robots["last"].copy() if self._started else None

    def reset(self, target: np.ndarray | None = None, robots: np.ndarray | None = None) -> None:
        """Start anew.

        Args:
            target: last target, [rad], shape (N, 29); None: the next measured pose.
            robots: those that do, bool, shape (N,), from their next measured pose; None: all.
        """
        if robots is not None:
            self._robots["new_last"] |= robots
            self._robots["new_vel"] |= robots
            return
        self._started = target is not None
        self._robots["new_last"], self._robots["new_vel"] = not self._started, True
        self._robots["last"] = np.clip(0.0, LOWER, UPPER) if target is None else target

    def filter(self, target: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray) -> Shielded:
        """The safe command nearest to the commanded one, joint by joint.

        Args:
            target: commanded joint positions, [rad], shape (N, 29).
            joint_pos: measured, [rad], shape (N, 29).
            joint_vel: measured, [rad/s], shape (N, 29).

        Raises:
            ValueError: an array has another shape; the message names it.
        """
        robots, shape = self._robots, (self.num_robots, NUM_JOINTS)
        for name, value in (("target", target), ("joint_pos", joint_pos), ("joint_vel", joint_vel)):
            if value.shape != shape:
                raise ValueError(f"shield: {name} has shape {value.shape}, expected {shape}")
            robots[name] = value
        kinds = _bound(robots, self._joints, _links(), self._dt)
        self._started = True
        changed = {
            kind: robots["changed"][:, k].astype(bool) for k, kind in enumerate(_KINDS) if kinds & 1 << k
        }
        commanded = np.asarray(target, dtype=np.float64)
        return Shielded(robots["safe"].copy(), changed, commanded, robots["kinds"] != 0)


_KINDS = ("non_finite", "rate", "position", "braking", "torque")
"""Kinds of intervention, in their order."""
_NON_FINITE, _RATE, _POSITION, _BRAKING, _TORQUE = range(5)
_ROUNDING = 1e-9
"""Changes of a target that are none, [rad]."""
_BOUNDS = record(
    [(name, "f8") for name in ("kp", "kd", "lower", "upper", "brake_low", "brake_high", "step", "half_brake")]
)
"""What the shield knows of a joint: `step` is the farthest that a target moves in a control step, [rad]."""
_ROBOT = record(
    [(name, "f8", (NUM_JOINTS,)) for name in ("target", "joint_pos", "joint_vel", "safe", "last", "last_vel")]
    + [("changed", "u1", (len(_KINDS), NUM_JOINTS)), ("kinds", "i8"), ("new_last", "i8"), ("new_vel", "i8")]
)
"""What the shield knows of a robot; `new_last`, `new_vel`: these are to be the next measured ones;
`kinds`: of intervention, a bit each."""


@compiled
def _bound(robots, joints, links, dt):
    """Make the targets of robots safe, see `Shield`; the kinds of intervention there were, a bit each."""
    half_brake, known = np.empty(len(joints)), np.empty(len(joints), dtype=np.bool_)
    kinds = 0
    for i in range(len(robots)):
        robot = robots[i]
        robot.kinds, robot.changed[:] = 0, 0
        for j in range(len(joints)):
            known[j] = _take_in(robot, j, joints[j])
        # In the worst pose; where that is too much, the present one decides.
        half_brake[:] = joints["half_brake"]
        if _any_races(robot, joints, known, half_brake, dt):
            _pose_inertia(robot.joint_pos, links, half_brake)
            for j in range(len(joints)):
                half_brake[j] *= 0.5 / (BRAKE_SHARE * links[j].effort)
        for j in range(len(joints)):
            joint, effort, q, v = joints[j], links[j].effort, robot.joint_pos[j], robot.joint_vel[j]
            safe, last = robot.safe[j], robot.last[j]
            safe = _clip(robot, j, safe, last - joint.step, last + joint.step, _RATE)
            safe = _clip(robot, j, safe, joint.lower, joint.upper, _POSITION)
            damping = joint.kd * v
            race = _races(robot, j, joint, known[j], half_brake[j], dt)
            if race != 0:
                stop = q + v * abs(v) * half_brake[j]
                brake = effort if stop > joint.upper or stop < joint.lower else BRAKE_SHARE * effort
                edge = q + (damping - race * brake) / joint.kp
                low, high = (-np.inf, edge) if race > 0 else (edge, np.inf)
                safe = _clip(robot, j, safe, low, high, _BRAKING)
            low = q + (damping - effort) / joint.kp + min(v * dt, 0.0)
            high = q + (damping + effort) / joint.kp + max(v * dt, 0.0)
            safe = _clip(robot, j, safe, low, high, _TORQUE)
            robot.safe[j] = safe
            robot.last[j] = min(max(safe, joint.lower), joint.upper)
            robot.last_vel[j] = v
        robot.new_last = robot.new_vel = 0
        kinds |= robot.kinds
    return kinds


@compiled
def _take_in(robot, j, joint):
    """Replace what is no number in what comes in, and what starts anew; whether the joint's state was known."""
    q, v = robot.joint_pos[j], robot.joint_vel[j]
    # An encoder that reads nonsense: hold that joint where it was last commanded to be.
    known = abs(q) < 1e3 and abs(v) < 1e4
    if not known:
        robot.joint_pos[j] = robot.target[j] = robot.last[j]
        robot.joint_vel[j] = 0.0
    if robot.new_last:
        robot.last[j] = min(max(robot.joint_pos[j], joint.lower), joint.upper)
    if robot.new_vel:
        robot.last_vel[j] = robot.joint_vel[j]
    finite = np.isfinite(robot.target[j])
    robot.safe[j] = robot.target[j] if finite else robot.last[j]
    if not (known and finite):
        _note(robot, j, _NON_FINITE)
    return known


@compiled
def _any_races(robot, joints, known, half_brake, dt):
    racing = False
    for j in range(len(joints)):
        racing |= _races(robot, j, joints[j], known[j], half_brake[j], dt) != 0
    return racing


@compiled
def _races(robot, j, joint, known, half_brake, dt):
    """Whether a joint that goes on for a control step, gaining speed as in the last one, would not stop before its
    upper (1) or lower (-1) limit; 0: it would."""
    q, v = robot.joint_pos[j], robot.joint_vel[j]
    gained = v - robot.last_vel[j] if known else 0.0
    later = v + (gained if gained * v > 0.0 else 0.0)
    ahead = q + 0.5 * (v + later) * dt + later * abs(later) * half_brake
    if v > 0.0 and ahead > joint.brake_high:
        return 1
    return -1 if v < 0.0 and ahead < joint.brake_low else 0


@compiled
def _clip(robot, j, value, low, high, kind):
    """Clip, and note where that changed anything beyond rounding."""
    clipped = min(max(value, low), high)
    if abs(clipped - value) > _ROUNDING:
        _note(robot, j, kind)
    return clipped


@compiled
def _note(robot, j, kind):
    robot.changed[kind, j] = 1
    robot.kinds |= 1 << kind


@dataclass(frozen=True)
class Fault:
    """Why a state may not be acted upon.

    Attributes:
        kind: "non_finite", "stale", "tilt", "position", "velocity" or "orientation".
        detail: one line for people, with the joint or quantity and its value.
    """

    kind: str
    detail: str


@dataclass
class GuardLimits:
    """When a measured state is a fault.

    Attributes:
        tilt_deg: angle of the pelvis from upright, [deg]. A G1 does not come back from 60°.
        stale_s: age of the data, [s]: three control periods.
        position_excess: joint position beyond its range that no intact robot reaches, [rad].
        velocity_factor: joint velocity as a multiple of the motor's limit that no intact robot reaches.
    """

    tilt_deg: float = 60.0
    stale_s: float = 0.06
    position_excess: float = 0.3
    velocity_factor: float = 1.5


class StateGuard:
    """Decides whether a measured state of one robot may be acted upon. Without memory and total: any
    array contents are judged, none raise."""

    _SHAPES = ((NUM_JOINTS,), (NUM_JOINTS,), (4,))

    def __init__(self, limits: GuardLimits | None = None) -> None:
        self.limits = limits or GuardLimits()
        self._upright = cos(radians(min(self.limits.tilt_deg, 180.0)))
        fastest = self.limits.velocity_factor * VELOCITY_LIMIT
        self._low = np.append(LOWER - self.limits.position_excess, -fastest)
        self._high = np.append(UPPER + self.limits.position_excess, fastest)
        _look(np.zeros(2 * NUM_JOINTS + 4), self._low, self._high)  # That only compiles.

    def check_state(
        self,
        joint_pos: np.ndarray,
        joint_vel: np.ndarray,
        root_quat: np.ndarray,
        base_ang_vel: np.ndarray,
        age: float = 0.0,
        signals: Mapping[str, np.ndarray] | None = None,
    ) -> list[Fault]:
        """Faults of a state, none if it is fit to act upon.

        Args:
            joint_pos: [rad], shape (29,).
            joint_vel: [rad/s], shape (29,).
            root_quat: pelvis orientation, w, x, y, z, shape (4,).
            base_ang_vel: pelvis gyro, [rad/s], shape (3,).
            age: time since the state was measured, [s].
            signals: further observations by name; only checked for being finite.

        Raises:
            ValueError: joints or orientation have another shape.
        """
        shapes = joint_pos.shape, joint_vel.shape, root_quat.shape
        if shapes != self._SHAPES:
            raise ValueError(
                f"guard: joint_pos, joint_vel, root_quat have shapes {shapes}, expected {self._SHAPES}"
            )
        faults = []
        if not age <= self.limits.stale_s:
            faults.append(
                Fault("stale", f"state is {1e3 * age:.0f} ms old, limit {1e3 * self.limits.stale_s:.0f} ms")
            )
        others = {"root_quat": root_quat, "base_ang_vel": base_ang_vel, **(signals or {})}
        state = np.concatenate((joint_pos, joint_vel, *others.values()), axis=None, dtype=np.float64)
        sound, norm, upright = _look(state, self._low, self._high)
        if not sound:
            joints = state[: 2 * NUM_JOINTS]
            faults += _non_finite({"joint_pos": joint_pos, "joint_vel": joint_vel}, others)
            faults += _beyond(joints, (joints < self._low) | (joints > self._high))
        if abs(norm - 1.0) > 0.05:
            faults.append(Fault("orientation", f"root_quat has length {norm:.2f}, expected 1"))
        elif upright < self._upright:
            faults.append(Fault("tilt", f"pelvis is tilted beyond {self.limits.tilt_deg:.0f}°"))
        return faults


@compiled
def _look(state, low, high):
    """Look at a state: whether it is finite and its beginning within bounds, the length of the quaternion that comes
    next, and the cosine of its tilt; NaN if it is not finite."""
    sound = True
    for k in range(len(state)):
        sound &= np.isfinite(state[k])
    for k in range(len(low)):
        sound &= low[k] <= state[k] <= high[k]
    w, x, y, z = state[len(low)], state[len(low) + 1], state[len(low) + 2], state[len(low) + 3]
    if not (np.isfinite(w) and np.isfinite(x) and np.isfinite(y) and np.isfinite(z)):
        return sound, np.nan, np.nan
    return sound, np.sqrt(min(w * w + x * x + y * y + z * z, 1e300)), 1.0 - 2.0 * (x * x + y * y)


def _beyond(joints: np.ndarray, beyond: np.ndarray) -> list[Fault]:
    """A fault for the first position and one for the first velocity that no intact robot reaches; both (58,)."""
    (q, v), (far, fast) = joints.reshape(2, NUM_JOINTS), beyond.reshape(2, NUM_JOINTS)
    faults = []
    if far.any():
        index = int(far.argmax())
        detail = f"{JOINT_NAMES[index]} reads {q[index]:.2f} rad, far beyond its range"
        faults.append(Fault("position", detail))
    if fast.any():
        index = int(fast.argmax())
        limit = f"its motor turns at most {VELOCITY_LIMIT[index]:.0f}"
        faults.append(Fault("velocity", f"{JOINT_NAMES[index]} reads {v[index]:.1f} rad/s, {limit}"))
    return faults


def _non_finite(joints: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> list[Fault]:
    """A fault for each quantity that is not finite."""
    faults = []
    for name, value in joints.items():
        bad = ~np.isfinite(value)
        if bad.any():
            named = ", ".join(JOINT_NAMES[index] for index in np.flatnonzero(bad)[:3])
            faults.append(Fault("non_finite", f"{name} is not finite for {named}"))
    for name, value in others.items():
        if not np.isfinite(value).all():
            faults.append(Fault("non_finite", f"{name} is not finite"))
    return faults


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
