"""Safety: how close a policy comes to the robot's limits, and what stands between it and the motors.

Four parts, all plain numpy:

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
from dataclasses import dataclass, field
from functools import cache
from math import cos, isfinite, radians, sqrt
from typing import Any

import numpy as np

from humanoid.bodies import Bodies, placements
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
from humanoid.rotations import axis_turn, quat_matrix

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


@dataclass(frozen=True)
class _Link:
    """A joint's link: its parent's number or None, the joint's place in the parent, and the link's mass, first moment
    and inertia about the joint, what it holds included."""

    parent: int | None
    turn: np.ndarray
    place: np.ndarray
    mass: float
    moment: np.ndarray
    inertia: np.ndarray


@cache
def _links() -> tuple[_Link, ...]:
    index = {joint.link: number for number, joint in enumerate(JOINTS)}
    links = []
    for joint in JOINTS:
        bodies: list[tuple[float, Any, Any, Any]] = [
            (joint.mass, joint.com, joint.inertia_quat, joint.inertia)
        ]
        if joint.link == LINK:
            centre = RACKET.position + quat_matrix(QUAT) @ RACKET.com
            bodies.append((RACKET.mass, centre, QUAT, RACKET.inertia))
        moment, inertia = np.zeros(3), np.zeros((3, 3))
        for mass, com, quat, moments in bodies:
            moment += mass * np.asarray(com, dtype=float)
            principal = quat_matrix(quat)
            inertia += principal @ np.diag(moments) @ principal.T
            inertia += _steiner(mass, np.asarray(com, dtype=float))
        place = np.asarray(joint.pos, dtype=float)
        mass = sum(body[0] for body in bodies)
        links.append(_Link(index.get(joint.parent), quat_matrix(joint.quat), place, mass, moment, inertia))
    return tuple(links)


def pose_inertia(joint_pos: np.ndarray) -> np.ndarray:
    """Inertia about each joint's axis of what hangs beyond it, held as it is, armature included, [kg m²].

    The diagonal of the joints' mass matrix by the composite-rigid-body algorithm (Featherstone, Rigid Body Dynamics
    Algorithms, 2008, section 6.2).

    Args:
        joint_pos: [rad], shape (N, 29).

    Returns:
        Shape (N, 29).
    """
    links, count = _links(), len(joint_pos)
    mass = [link.mass for link in links]
    moment = [np.broadcast_to(link.moment, (count, 3)) for link in links]
    inertia = [np.broadcast_to(link.inertia, (count, 3, 3)) for link in links]
    about = np.empty((count, NUM_JOINTS))
    for number in reversed(range(NUM_JOINTS)):
        link, axis = links[number], "xyz".index(JOINTS[number].axis)
        about[:, number] = inertia[number][:, axis, axis]
        parent = link.parent
        if parent is None:
            continue
        turn = link.turn @ axis_turn(JOINTS[number].axis, joint_pos[:, number])
        turned = (turn @ moment[number][:, :, None])[:, :, 0]
        cross = turned[:, :, None] * link.place
        shift = 2.0 * np.trace(cross, axis1=1, axis2=2)[:, None, None] * np.eye(3)
        shift = shift - cross - cross.transpose(0, 2, 1) + _steiner(mass[number], link.place)
        inertia[parent] = inertia[parent] + turn @ inertia[number] @ turn.transpose(0, 2, 1) + shift
        moment[parent] = moment[parent] + turned + mass[number] * link.place
        mass[parent] += mass[number]
    return about + ARMATURE


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
        self._margin = np.empty((len(_UNITS), num_robots, NUM_JOINTS))
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.steps = 0
        """Control steps watched, over all robots."""
        self._closest = np.full((len(_UNITS), NUM_JOINTS), np.inf)
        self._violations = np.zeros((len(_UNITS), NUM_JOINTS), dtype=np.int64)
        self._non_finite = np.zeros(NUM_JOINTS, dtype=np.int64)

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
        shape = (self.num_robots, NUM_JOINTS)
        q, v, t = (np.asarray(value, dtype=np.float64) for value in (joint_pos, joint_vel, torque))
        for name, value in (("joint_pos", q), ("joint_vel", v), ("torque", t)):
            if value.shape != shape:
                raise ValueError(f"safety monitor: {name} has shape {value.shape}, expected {shape}")
        if active is not None:
            active = np.asarray(active, dtype=bool)
            if active.shape != shape[:1]:
                raise ValueError(f"safety monitor: active has shape {active.shape}, expected {shape[:1]}")
            if not active.any():
                return
            q, v, t = q[active], v[active], t[active]
        self.steps += len(q)
        margin = self._margin[:, : len(q)]
        with np.errstate(over="ignore", invalid="ignore"):
            # A sum is finite only if every part is; overflow merely takes the slow path.
            clean = isfinite(q.sum() + v.sum() + t.sum())
            if not clean:
                bad = ~(np.isfinite(q) & np.isfinite(v) & np.isfinite(t))
                self._non_finite += bad.sum(axis=0)
                q, v, t = (np.where(np.isfinite(value), value, np.nan) for value in (q, v, t))
            speed = np.abs(v)
            stop = v * speed
            stop *= self._half_brake
            stop += q
            np.minimum(q - LOWER, UPPER - q, out=margin[0])
            np.subtract(VELOCITY_LIMIT, speed, out=margin[1])
            np.subtract(EFFORT_LIMIT, np.abs(t), out=margin[2])
            np.minimum(stop - LOWER, UPPER - stop, out=margin[3])
            late = (margin[3] < -TOLERANCE).any(axis=1)
            if late.any():
                # So it would be in the worst pose; the present one decides.
                stop = stopping_point(q[late], v[late], deceleration(q[late]))
                margin[3, late] = np.minimum(stop - LOWER, UPPER - stop)
            nearest = np.fmin.reduce(margin, axis=1)
            np.fmin(self._closest, nearest, out=self._closest)
            if not nearest.min() >= -TOLERANCE:
                self._violations += (margin < -TOLERANCE).sum(axis=1)

    def report(self) -> dict[str, Any]:
        """What was seen, JSON-able.

        Returns:
            Totals ``position_violations``, ``velocity_violations``, ``torque_violations``,
            ``braking_violations``, ``non_finite`` and ``steps``; the closest margins over all joints
            ``closest_position_margin_rad``, ``closest_velocity_margin_rad_s``, ``closest_torque_margin_nm``,
            ``closest_braking_margin_rad`` (None before anything was seen) with ``closest_position_joint``;
            and ``by_joint``: the same by joint name.
        """
        by_joint = {}
        for index, name in enumerate(JOINT_NAMES):
            entry: dict[str, Any] = {}
            for row, (key, unit) in enumerate(_UNITS.items()):
                entry[f"{key}_violations"] = int(self._violations[row, index])
                entry[f"closest_{key}_margin{unit}"] = _number(self._closest[row, index])
            entry["non_finite"] = int(self._non_finite[index])
            by_joint[name] = entry
        result: dict[str, Any] = {}
        for row, (key, unit) in enumerate(_UNITS.items()):
            result[f"{key}_violations"] = int(self._violations[row].sum())
            result[f"closest_{key}_margin{unit}"] = _number(self._closest[row].min())
        result["non_finite"] = int(self._non_finite.sum())
        result["steps"] = self.steps
        seen = np.isfinite(self._closest[0]).any()
        nearest = int(self._closest[0].argmin())
        result["closest_position_joint"] = JOINT_NAMES[nearest] if seen else None
        result["by_joint"] = by_joint
        return result


class SelfCollisionMonitor:
    """How near the parts of robots and their rackets come to each other (:mod:`humanoid.bodies`), and for how many
    control steps they overlap: there a real robot would have hit itself.

    Physics without self-collision lets parts pass through each other; here it shows.
    """

    WITHIN = 0.05
    """Gaps wider than this are not looked at, [m]."""

    def __init__(self) -> None:
        self._bodies = Bodies()
        self._pairs, self._pair = np.unique(self._bodies.labels, return_inverse=True)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._steps = self._overlaps = 0
        self._closest = np.full(len(self._pairs), np.inf)
        self._count = np.zeros(len(self._pairs), dtype=np.int64)

    def update(self, joint_pos: np.ndarray) -> None:
        """Take one control step of some robots into account; poses that are not finite are left out.

        Args:
            joint_pos: measured, [rad], shape (N, 29).
        """
        joint_pos = joint_pos[np.isfinite(joint_pos).all(axis=1)]
        self._steps += len(joint_pos)
        near = self._bodies.near(*placements(joint_pos), self.WITHIN)
        pair = self._pair[near.pair]
        np.minimum.at(self._closest, pair, near.gap)
        hit = near.gap < 0.0
        self._overlaps += len(np.unique(near.frame[hit]))
        # A racket has many pieces: a pair counts once a step and robot.
        both = np.unique(near.frame[hit] * len(self._pairs) + pair[hit]) % len(self._pairs)
        self._count += np.bincount(both, minlength=len(self._pairs))

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
            "closest_pair": str(self._pairs[nearest]) if seen else None,
            "by_pair": {
                str(self._pairs[k]): {
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
    """

    target: np.ndarray
    changed: Mapping[str, np.ndarray] = field(default_factory=dict)
    commanded: np.ndarray = field(default_factory=lambda: np.empty((0, NUM_JOINTS)))

    @property
    def robots(self) -> np.ndarray:
        """Whose command was changed, bool, shape (N,)."""
        out = np.zeros(len(self.target), dtype=bool)
        for mask in self.changed.values():
            out |= mask.any(axis=1)
        return out

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
        self._kp = np.asarray(kp, dtype=np.float64)
        self._kd = np.asarray(kd, dtype=np.float64)
        self._dt = dt
        self._lower = LOWER + limits.position_margin
        self._upper = UPPER - limits.position_margin
        self._brake_low = self._lower + limits.brake_margin * (UPPER - LOWER)
        self._brake_high = self._upper - limits.brake_margin * (UPPER - LOWER)
        self._step = limits.target_rate * VELOCITY_LIMIT * dt
        self._half_brake = 0.5 / deceleration()
        self.last: np.ndarray | None = None
        """Last safe target, [rad], shape (N, 29); None at the start."""
        self._last_vel: np.ndarray | None = None
        self._fresh = np.zeros(num_robots, dtype=bool)

    def reset(self, target: np.ndarray | None = None, robots: np.ndarray | None = None) -> None:
        """Start anew.

        Args:
            target: last target, [rad], shape (N, 29); None: the next measured pose.
            robots: those that do, bool, shape (N,), from their next measured pose; None: all.
        """
        if robots is not None:
            self._fresh |= robots
            return
        self.last = None if target is None else np.array(target, dtype=np.float64)
        self._last_vel = None
        self._fresh[:] = False

    def filter(self, target: np.ndarray, joint_pos: np.ndarray, joint_vel: np.ndarray) -> Shielded:
        """The safe command nearest to the commanded one, joint by joint.

        Args:
            target: commanded joint positions, [rad], shape (N, 29).
            joint_pos: measured, [rad], shape (N, 29).
            joint_vel: measured, [rad/s], shape (N, 29).

        Raises:
            ValueError: an array has another shape; the message names it.
        """
        shape = (self.num_robots, NUM_JOINTS)
        wanted, q, v = (np.asarray(value, dtype=np.float64) for value in (target, joint_pos, joint_vel))
        for name, value in (("target", wanted), ("joint_pos", q), ("joint_vel", v)):
            if value.shape != shape:
                raise ValueError(f"shield: {name} has shape {value.shape}, expected {shape}")
        changed: dict[str, np.ndarray] = {}
        known = np.isfinite(q) & np.isfinite(v) & (np.abs(q) < 1e3) & (np.abs(v) < 1e4)
        if not known.all():
            # An encoder that reads nonsense: hold that joint where it was last commanded to be.
            changed["non_finite"] = ~known
            q = np.where(known, q, np.clip(0.0, LOWER, UPPER) if self.last is None else self.last)
            v = np.where(known, v, 0.0)
            wanted = np.where(known, wanted, q)
        if self.last is None:
            self.last = np.clip(q, self._lower, self._upper)
        if self._fresh.any():
            self.last = np.where(self._fresh[:, None], np.clip(q, self._lower, self._upper), self.last)
            self._last_vel = (
                None if self._last_vel is None else np.where(self._fresh[:, None], v, self._last_vel)
            )
            self._fresh[:] = False
        safe = wanted
        finite = np.isfinite(safe)
        if not finite.all():
            changed["non_finite"] = changed.get("non_finite", False) | ~finite
            safe = np.where(finite, safe, self.last)
        safe = _clip(safe, self.last - self._step, self.last + self._step, "rate", changed)
        safe = _clip(safe, self._lower, self._upper, "position", changed)

        # The command acts for a whole period: look at the joint after it, gaining speed as it did before.
        gained = np.where(known, v - (v if self._last_vel is None else self._last_vel), 0.0)
        later = v + np.where(gained * v > 0.0, gained, 0.0)
        self._last_vel = v
        end = q + 0.5 * (v + later) * self._dt
        half_brake = self._half_brake
        rising, falling = self._races(end, later, v, half_brake)
        if rising.any() or falling.any():
            # So it would be in the worst pose; the present one decides.
            half_brake = 0.5 / deceleration(q)
            rising, falling = self._races(end, later, v, half_brake)
        damping = self._kd * v
        if rising.any() or falling.any():
            stop = q + v * np.abs(v) * half_brake
            late = (stop > self._upper) | (stop < self._lower)
            brake = np.where(late, EFFORT_LIMIT, BRAKE_SHARE * EFFORT_LIMIT)
            low = np.where(falling, q + (damping + brake) / self._kp, -np.inf)
            high = np.where(rising, q + (damping - brake) / self._kp, np.inf)
            safe = _clip(safe, low, high, "braking", changed)
        travel = v * self._dt
        low = q + (damping - EFFORT_LIMIT) / self._kp + np.minimum(travel, 0.0)
        high = q + (damping + EFFORT_LIMIT) / self._kp + np.maximum(travel, 0.0)
        safe = _clip(safe, low, high, "torque", changed)
        self.last = np.clip(safe, self._lower, self._upper)
        return Shielded(safe, changed, wanted if wanted is target else np.asarray(target, dtype=np.float64))

    def _races(
        self, end: np.ndarray, later: np.ndarray, v: np.ndarray, half_brake: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joints that would not stop before their upper and lower limit from position `end` and velocity `later`."""
        ahead = end + later * np.abs(later) * half_brake
        return (v > 0.0) & (ahead > self._brake_high), (v < 0.0) & (ahead < self._brake_low)


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

    def __init__(self, limits: GuardLimits | None = None) -> None:
        self.limits = limits or GuardLimits()
        self._upright = cos(radians(min(self.limits.tilt_deg, 180.0)))
        self._lower = LOWER - self.limits.position_excess
        self._upper = UPPER + self.limits.position_excess
        self._fastest = self.limits.velocity_factor * VELOCITY_LIMIT

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
        """
        faults = []
        if not age <= self.limits.stale_s:
            faults.append(
                Fault("stale", f"state is {1e3 * age:.0f} ms old, limit {1e3 * self.limits.stale_s:.0f} ms")
            )
        for name, value in (("joint_pos", joint_pos), ("joint_vel", joint_vel)):
            bad = ~np.isfinite(value)
            if bad.any():
                joints = ", ".join(JOINT_NAMES[index] for index in np.flatnonzero(bad)[:3])
                faults.append(Fault("non_finite", f"{name} is not finite for {joints}"))
        others = {"root_quat": root_quat, "base_ang_vel": base_ang_vel, **(signals or {})}
        for name, value in others.items():
            if not np.isfinite(value).all():
                faults.append(Fault("non_finite", f"{name} is not finite"))
        beyond = (joint_pos < self._lower) | (joint_pos > self._upper)
        if beyond.any():
            index = int(np.flatnonzero(beyond)[0])
            faults.append(
                Fault(
                    "position", f"{JOINT_NAMES[index]} reads {joint_pos[index]:.2f} rad, far beyond its range"
                )
            )
        fast = np.abs(joint_vel) > self._fastest
        if fast.any():
            index = int(np.flatnonzero(fast)[0])
            faults.append(
                Fault(
                    "velocity",
                    f"{JOINT_NAMES[index]} reads {joint_vel[index]:.1f} rad/s, "
                    f"its motor turns at most {VELOCITY_LIMIT[index]:.0f}",
                )
            )
        if np.isfinite(root_quat).all():
            w, x, y, z = (float(value) for value in root_quat)
            norm = sqrt(min(w * w + x * x + y * y + z * z, 1e300))
            if abs(norm - 1.0) > 0.05:
                faults.append(Fault("orientation", f"root_quat has length {norm:.2f}, expected 1"))
            elif 1.0 - 2.0 * (x * x + y * y) < self._upright:
                faults.append(Fault("tilt", f"pelvis is tilted beyond {self.limits.tilt_deg:.0f}°"))
        return faults


def _clip(
    value: np.ndarray, low: np.ndarray, high: np.ndarray, kind: str, changed: dict[str, np.ndarray]
) -> np.ndarray:
    """Clip, and note in ``changed`` where that changed anything beyond rounding."""
    clipped = np.minimum(np.maximum(value, low), high)
    mask = np.abs(clipped - value) > 1e-9
    if mask.any():
        changed[kind] = mask
    return clipped


def _steiner(mass: float, place: np.ndarray) -> np.ndarray:
    """Inertia of a point mass at `place` (3,) about the origin, (3, 3)."""
    return mass * (place @ place * np.eye(3) - np.outer(place, place))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
