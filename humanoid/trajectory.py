"""Trajectories of the whole body that a robot with its feet on the ground can really do.

A motion is a cubic spline in the pelvis's position and heading and the seventeen joints of waist and arms; the
legs follow by inverse kinematics from soles that stand still. Wanted is the spline nearest to a given motion
whose racket passes a given state at a given time and which the robot can do: torques of waist and arms, the
zero-moment point inside the soles, joint angles and velocities, and arms and racket clear of the body and the floor.
Everything enters as a residual of one nonlinear least-squares problem,

    r(c) = [goal / σ, max(0, |τ| - τ_max) / σ, max(0, zmp outside) / σ, …, style / σ],

whose Jacobian comes from Pinocchio's derivatives of inverse dynamics, and which Levenberg–Marquardt solves in
some twenty steps of a few tens of milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pinocchio as pin
from scipy.interpolate import BSpline

from humanoid.bodies import Bodies, placements
from humanoid.footing import Footing
from humanoid.joints import EFFORT_LIMIT, LOWER, NUM_JOINTS, UPPER, VELOCITY_LIMIT
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.motion import RobotMotion

LEGS = (np.arange(0, 6), np.arange(6, 12))
"""Joints of the left and right leg."""
KNEES = (3, 9)
UPPER_BODY = np.arange(12, NUM_JOINTS)
"""Joints of waist and arms."""
CHANNELS = 4 + len(UPPER_BODY)
"""What is optimised at each time: pelvis x, y, z, heading, and the upper body's joints."""
_UNIT = np.eye(CHANNELS)
_FLAT = (np.zeros((35, CHANNELS)),) * 3
_IS_KNEE = np.isin(np.arange(12), KNEES)


class TrajectoryError(ValueError):
    """A motion that cannot be optimised. The message says why."""


@dataclass(frozen=True)
class FrameState:
    """State of the racket frame at one time, in the stance frame.

    Attributes:
        pos: of its origin, (3,), m. vel: its velocity, (3,), m/s.
        normal: wanted direction of its z axis, times `sign`, (3,).
        sign: which side of the frame the normal stands on, +1 or -1.
    """

    pos: np.ndarray
    vel: np.ndarray
    normal: np.ndarray
    sign: float = 1.0


@dataclass(frozen=True)
class TrajectoryConfig:
    """What counts as one unit of each residual, and the limits. No source: tried on replays.

    Attributes:
        knots_s: between the spline's knots, s.
        goal_pos, goal_vel, goal_normal: m, m/s, rad.
        torque_share: share of the motors' torque that may be used. wrist_share: the same of the weak wrist (pitch
            and yaw), less, so that feedback has room. torque: one unit of excess, share of the limit.
        speed_share: the same for joint velocities. speed: one unit of excess, rad/s.
        stop_margin, leg_margin: distance kept to joint stops of waist and arms and of the legs, rad. knee: least
            bend of a knee, rad. stop, leg_stop: one unit beyond those, rad.
        gap: wanted between parts of the robot and its racket that are not joined, and between racket and floor, m.
            near: one unit of what is missing, m.
        zmp: distance of the zero-moment point outside its area that counts as one unit, m.
        friction: largest horizontal share of the ground's force; twist: largest moment about the vertical per
            weight, m; both with one unit of excess 0.02.
        style_joint: distance of a joint from the given motion, rad. style_pelvis: of the pelvis's x, y, z (m) and
            heading (rad).
        smooth_joint, smooth_pelvis: accelerations, rad/s², m/s².
        sole: distance of a sole out of its leg's reach, m or rad.
        iterations: of Levenberg–Marquardt at most.
    """

    knots_s: float = 0.08
    goal_pos: float = 0.002
    goal_vel: float = 0.03
    goal_normal: float = 0.004
    torque_share: float = 0.75
    wrist_share: float = 0.5
    torque: float = 0.05
    speed_share: float = 0.8
    speed: float = 0.5
    stop_margin: float = 0.1
    leg_margin: float = 0.08
    knee: float = 0.35
    stop: float = 0.02
    leg_stop: float = 0.005
    gap: float = 0.035
    near: float = 0.005
    zmp: float = 0.005
    friction: float = 0.3
    twist: float = 0.035
    style_joint: float = 1.5
    style_pelvis: tuple[float, float, float, float] = (0.3, 0.3, 0.06, 0.8)
    smooth_joint: float = 150.0
    smooth_pelvis: float = 15.0
    sole: float = 0.002
    iterations: int = 30


@dataclass(frozen=True)
class Solution:
    """An optimised motion, its spline coefficients (CHANNELS, C), and what is left: sum of squares, distance (m),
    velocity (m/s) and angle (rad) from the goal, largest torque as share of the limit, distance of the zero-moment
    point outside the support, m, and the least gap, as far as it is less than the wanted one, m, see
    `TrajectoryConfig`."""

    motion: RobotMotion
    coefficients: np.ndarray
    cost: float
    goal_error: tuple[float, float, float]
    torque_share: float
    zmp_outside: float
    gap: float


@dataclass(frozen=True)
class _Legs:
    """Leg angles (T, 12), how they follow the pelvis's x, y, z and heading (T, 12, 4), what the soles miss (T, 12),
    position, m, and rotation vector, rad, of left and right, and how that follows the pelvis (T, 12, 4)."""

    angles: np.ndarray
    follow: np.ndarray
    off: np.ndarray
    closing: np.ndarray


class _Rows:
    """Residuals as they come, each with its slopes by the channels at one frame, their velocities and accelerations."""

    def __init__(self, derive: bool) -> None:
        self.derive = derive
        self._values: list[float] = []
        self._frames: list[int] = []
        self._slopes: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, value: float, frame: int, by_q=None, by_v=None, by_a=None) -> None:
        """A residual; slopes (CHANNELS,) that are not given are zero."""
        self._values.append(value)
        if self.derive:
            self._frames.append(frame)
            self._slopes.append(
                tuple(np.zeros(CHANNELS) if slope is None else slope for slope in (by_q, by_v, by_a))  # type: ignore
            )

    def values(self) -> np.ndarray:
        """All residuals, (R,)."""
        return np.array(self._values)

    def jacobian(self, basis: list[np.ndarray]) -> np.ndarray:
        """Their Jacobian by the spline's free coefficients, (R, CHANNELS · coefficients)."""
        if not self._frames:
            return np.zeros((0, CHANNELS * basis[0].shape[1]))
        at = np.array(self._frames)
        slopes = np.array(self._slopes)
        parts = (slopes[:, k, :, None] * basis[k][at][:, None, :] for k in range(3))
        return sum(parts, np.zeros(())).reshape(len(at), -1)


class TrajectoryOptimizer:
    """Optimises variations of one motion.

    Args:
        motion: a motion with both feet planted, pelvis level, that starts and ends at rest.
        time: when the goal is to be met, s from the start; the nearest frame is taken.
        footing: where the soles are and what they carry, in the motion's frame.
        config: see `TrajectoryConfig`.
    """

    def __init__(
        self,
        motion: RobotMotion,
        time: float,
        footing: Footing,
        config: TrajectoryConfig | None = None,
    ) -> None:
        self.config = config = config or TrajectoryConfig()
        self.given, self.footing = motion, footing
        self.model = default_pinocchio()
        self.data = self.model.createData()
        self.racket = self.model.getFrameId("racket")
        self.bodies = Bodies()
        self._racket_parts = np.array([c.name.startswith("racket") for c in self.bodies.capsules])
        self._feet = [self.model.getFrameId(f"{side}_foot") for side in ("left", "right")]
        frames, fps = motion.num_frames, motion.fps
        self.frames, self.fps, self.strike = frames, fps, round(time * fps)
        self._step = np.sqrt(1.0 / fps)
        if not 0 < self.strike < frames - 1:
            raise TrajectoryError(f"{motion.name}: time {time:.2f} s lies outside the motion")
        duration = (frames - 1) / fps
        inner = np.linspace(0, duration, max(round(duration / config.knots_s), 8) + 1)
        knots = np.concatenate([[0.0] * 3, inner, [duration] * 3])
        count = len(knots) - 4
        t = np.minimum(np.arange(frames) / fps, duration - 1e-9)
        basis = [
            BSpline(knots, np.eye(count), 3).derivative(k)(t) if k else BSpline(knots, np.eye(count), 3)(t)
            for k in range(3)
        ]
        # At rest at both ends: the outer three coefficients are those of the end poses.
        self.free = slice(3, count - 3)
        self.count = count
        self.basis = [b[:, self.free] for b in basis]
        self._all = basis
        channels = self._channels(motion)
        self.ends = channels[0], channels[-1]
        self.style = self._fit(channels)
        self._legs = motion.joint_pos[:, :12].copy()
        self._build_linear(config.style_joint, config.style_pelvis)

    # Splines

    def _channels(self, motion: RobotMotion) -> np.ndarray:
        heading = np.unwrap(
            [np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)) for w, x, y, z in motion.root_quat]
        )
        return np.concatenate([motion.root_pos, heading[:, None], motion.joint_pos[:, UPPER_BODY]], axis=1)

    def _fit(self, channels: np.ndarray) -> np.ndarray:
        """Coefficients of the given motion, (CHANNELS, C) with the ends held."""
        c = np.empty((CHANNELS, self.count))
        c[:, :3], c[:, -3:] = channels[0][:, None], channels[-1][:, None]
        rest = channels - self._all[0][:, :3] @ c[:, :3].T - self._all[0][:, -3:] @ c[:, -3:].T
        c[:, self.free] = np.linalg.lstsq(self.basis[0], rest, rcond=None)[0].T
        return c

    def set_style(self, coefficients: np.ndarray, joint: float, pelvis: float = 1.0) -> None:
        """Stay near another motion than the given one.

        Args:
            coefficients: of that motion, (CHANNELS, C).
            joint: distance of a joint from it that counts as one unit, rad.
            pelvis: factor on the config's distances of the pelvis.
        """
        self.style = coefficients
        x, y, z, heading = (pelvis * unit for unit in self.config.style_pelvis)
        self._build_linear(joint, (x, y, z, heading))

    def _build_linear(self, joint: float, pelvis: tuple[float, float, float, float]) -> None:
        """Normal matrix of style and smoothness, the same in every step; see `TrajectoryConfig` for the units."""
        config, step = self.config, self._step
        style = np.concatenate([1 / np.array(pelvis), np.full(17, 1 / joint)])
        smooth = np.concatenate([np.full(3, 1 / config.smooth_pelvis), np.full(18, 1 / config.smooth_joint)])
        b, _, a = self.basis
        self._style_weight, self._smooth_weight = style * step, smooth * step
        n = b.shape[1]
        self._linear = np.zeros((CHANNELS * n, CHANNELS * n))
        for k in range(CHANNELS):
            rows = slice(k * n, (k + 1) * n)
            self._linear[rows, rows] = (
                self._style_weight[k] ** 2 * b.T @ b + self._smooth_weight[k] ** 2 * a.T @ a
            )

    # Evaluation

    def _states(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Channels and their two derivatives, (T, CHANNELS) each."""
        x, v, a = (basis @ c.T for basis in self._all)
        return x, v, a

    def _solve_legs(self, x: np.ndarray) -> _Legs:
        """Legs whose soles stand where the footing has them, from the pelvis."""
        legs, follow = self._legs.copy(), np.zeros((self.frames, 12, 4))
        off, closing = np.zeros((self.frames, 12)), np.zeros((self.frames, 12, 4))
        q = pin.neutral(self.model)
        for t in range(self.frames):
            half = 0.5 * x[t, 3]
            q[:7] = [*x[t, :3], 0, 0, np.sin(half), np.cos(half)]
            q[7:19] = legs[t]
            for attempt in range(12):
                pin.computeJointJacobians(self.model, self.data, q)
                for n, (leg, frame) in enumerate(zip(LEGS, self._feet, strict=True)):
                    six = slice(6 * n, 6 * n + 6)
                    place = pin.updateFramePlacement(self.model, self.data, frame)
                    off[t, six] = pin.log6(place.actInv(self.footing.soles[t][n])).vector
                    jacobian = pin.getFrameJacobian(self.model, self.data, frame, pin.LOCAL)
                    own = jacobian[:, 6 + leg]
                    damped = own.T @ np.linalg.inv(own @ own.T + 1e-8 * np.eye(6))
                    if attempt == 0 or np.abs(off[t]).max() > 1e-7:
                        # Beyond a stop if need be: the residuals bring it back, and can, since they see how far.
                        q[7 + leg] += np.clip(damped @ off[t, six], -0.3, 0.3)
                        q[10 + leg[0]] = max(q[10 + leg[0]], 0.02)
                    rotation = _heading(x[t, 3])
                    pelvis = np.concatenate([jacobian[:, :3] @ rotation.T, jacobian[:, 5:6]], axis=1)
                    follow[t, leg] = -damped @ pelvis
                    # What a stretched leg cannot make up for, the pelvis can.
                    closing[t, six] = (
                        own @ own.T @ np.linalg.inv(own @ own.T + 1e-4 * np.eye(6)) - np.eye(6)
                    ) @ pelvis
                if np.abs(off[t]).max() < 1e-7:
                    break
            legs[t] = q[7:19]
        missed = np.abs(off).max(axis=1)
        # Good warm starts only.
        self._legs = np.where((missed < 1e-6)[:, None], legs, self._legs)
        return _Legs(legs, follow, off, closing)

    def _dynamics(self, x, v, a, legs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Configuration, velocity and acceleration in Pinocchio's order."""
        half = 0.5 * x[:, 3]
        zero = np.zeros_like(half)
        quat = np.stack([np.cos(half), zero, zero, np.sin(half)], axis=1)
        q = to_pinocchio(x[:, :3], quat, np.concatenate([legs, x[:, 4:]], axis=1))
        rate = np.gradient(legs, 1 / self.fps, axis=0)
        growth = np.zeros_like(legs)
        growth[1:-1] = (legs[2:] - 2 * legs[1:-1] + legs[:-2]) * self.fps**2
        cos, sin = np.cos(x[:, 3]), np.sin(x[:, 3])

        def local(w):
            return np.stack([cos * w[:, 0] + sin * w[:, 1], cos * w[:, 1] - sin * w[:, 0], w[:, 2]], axis=1)

        linear = local(v[:, :3])
        spin, growing = v[:, 3:4], a[:, 3:4]
        # d/dt of the velocity's components in a frame that turns.
        change = local(a[:, :3]) + spin * np.stack([linear[:, 1], -linear[:, 0], zero], axis=1)
        flat = np.zeros((self.frames, 2))
        vel = np.concatenate([linear, flat, spin, rate, v[:, 4:]], axis=1)
        acc = np.concatenate([change, flat, growing, growth, a[:, 4:]], axis=1)
        return q, vel, acc

    def _residual(self, c: np.ndarray, goal: FrameState | None, derive: bool):
        """Nonlinear residuals (R,), their Jacobian (R, variables) if wanted, and figures of merit."""
        x, v, a = self._states(c)
        feet = self._solve_legs(x)
        legs, follow = feet.angles, feet.follow
        q, vel, acc = self._dynamics(x, v, a, legs)
        rows, config = _Rows(derive), self.config
        torque, outside = 0.0, 0.0
        for t in range(self.frames):
            tau, slopes = self._inverse_dynamics(q[t], vel[t], acc[t], _embedding(x[t, 3], follow[t]), derive)
            torque = max(torque, self._motor_rows(rows, t, tau, slopes))
            outside = max(outside, self._ground_rows(rows, t, x[t], tau, slopes))
            self._joint_rows(rows, t, x[t], v[t], legs[t], follow[t])
            if np.abs(feet.off[t]).max() > 1e-4:
                outside = max(outside, 1.0)
                for value, slope in zip(feet.off[t], feet.closing[t], strict=True):
                    by_q = np.append(slope, np.zeros(CHANNELS - 4))
                    rows.add(self._step / config.sole * value, t, self._step / config.sole * by_q)
        gap = self._gap_rows(rows, q, x, follow)
        t = self.strike
        miss = (0.0, 0.0, 0.0)
        if goal is not None:
            miss = self._goal_rows(rows, goal, q[t], vel[t], _embedding(x[t, 3], follow[t]))
        return (
            rows.values(),
            rows.jacobian(self.basis) if derive else None,
            (miss, torque, outside, gap),
            (q, x),
        )

    def _inverse_dynamics(self, q, v, a, embed: np.ndarray, derive: bool):
        """Generalised forces (35,), and how they follow the channels, their velocities and accelerations."""
        model, data = self.model, self.data
        if not derive:
            return pin.rnea(model, data, q, v, a), _FLAT
        pin.computeRNEADerivatives(model, data, q, v, a)
        # Pinocchio's mass matrix comes with its upper triangle.
        mass = np.triu(data.M) + np.triu(data.M, 1).T
        return data.tau, (data.dtau_dq @ embed, data.dtau_dv @ embed, mass @ embed)

    def _motor_rows(self, rows: _Rows, t: int, tau: np.ndarray, slopes) -> float:
        """Torques of waist and arms beyond what may be used; the largest share of a motor's torque."""
        config = self.config
        limit = EFFORT_LIMIT[UPPER_BODY]
        usable = np.where(limit < 10, config.wrist_share, config.torque_share)
        share = tau[18:] / limit
        for j in np.nonzero(np.abs(share) > usable)[0]:
            scale = np.sign(share[j]) * self._step / config.torque
            rows.add(
                scale * (share[j] - np.sign(share[j]) * usable[j]),
                t, *(scale / limit[j] * slope[18 + j] for slope in slopes),
            )  # fmt: skip
        return float(np.abs(share).max())

    def _ground_rows(self, rows: _Rows, t: int, x: np.ndarray, tau: np.ndarray, slopes) -> float:
        """Zero-moment point, friction and twist; how far the zero-moment point lies outside its area, m."""
        config, step = self.config, self._step
        # Ground reaction about the pelvis, world frame.
        turn = _heading(x[3])
        force, moment = turn @ tau[:3], turn @ tau[3:6]
        wrench = [np.vstack([turn @ slope[:3], turn @ slope[3:6]]) for slope in slopes]
        if rows.derive:
            wrench[0][:, 3] += np.concatenate([[-force[1], force[0], 0], [-moment[1], moment[0], 0]])
        up, height = max(force[2], 50.0), x[2]
        shift = np.array([-(moment[1] + height * force[0]) / up, (moment[0] - height * force[1]) / up])
        arm = [
            np.array([-height / up, 0, -shift[0] / up, 0, -1 / up, 0]),
            np.array([0, -height / up, -shift[1] / up, 1 / up, 0, 0]),
        ]
        # How the zero-moment point moves relative to the pelvis.
        moves = [[arm[axis] @ part for part in wrench] for axis in (0, 1)]
        for axis in (0, 1):
            moves[axis][0] = moves[axis][0] - force[axis] / up * _UNIT[2]
        planes = self.footing.support[t]
        beyond = planes[:, :2] @ (x[:2] + shift) - planes[:, 2]
        for plane in np.nonzero(beyond > 0)[0]:
            n = step / config.zmp * planes[plane, :2]
            by_q, by_v, by_a = (n[0] * mx + n[1] * my for mx, my in zip(*moves, strict=True))
            by_q = by_q + n[0] * _UNIT[0] + n[1] * _UNIT[1]
            rows.add(step / config.zmp * beyond[plane], t, by_q, by_v, by_a)
        for axis in (0, 1):
            share = force[axis] / up
            if abs(share) > config.friction:
                scale = np.sign(share) * step / 0.02 / up
                slope = (scale * (part[axis] - share * part[2]) for part in wrench)
                rows.add(step / 0.02 * (abs(share) - config.friction), t, *slope)
        about = moment[2] - shift[0] * force[1] + shift[1] * force[0]
        if abs(about) / up > config.twist:
            scale = np.sign(about) * step / 0.02 / up
            turns = [
                part[5] - shift[0] * part[1] + shift[1] * part[0] - force[1] * dx + force[0] * dy
                for part, dx, dy in zip(wrench, *moves, strict=True)
            ]
            slope = (scale * (g - about / up * part[2]) for g, part in zip(turns, wrench, strict=True))
            rows.add(step / 0.02 * (abs(about) / up - config.twist), t, *slope)
        return float(beyond.max())

    def _gap_rows(self, rows: _Rows, q: np.ndarray, x: np.ndarray, follow: np.ndarray) -> float:
        """Parts that are too near each other, and the racket to the floor; the least gap up to the wanted one, m."""
        config, model, data, bodies = self.config, self.model, self.data, self.bodies
        pos, rot = placements(q[:, 7:])
        turn = np.stack([_heading(angle) for angle in x[:, 3]])[:, None]
        pos, rot = x[:, None, :3] + (turn @ pos[..., None])[..., 0], turn @ rot
        near = bodies.near(pos, rot, config.gap)
        away = near.p - near.q
        # Axes that cross have no direction apart.
        normal = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
        pairs = bodies.joint[bodies.pairs[near.pair]]
        found: list[tuple[Any, ...]] = [
            (t, gap, n, ((p, joint[0], 1.0), (q, joint[1], -1.0)))
            for t, gap, n, p, q, joint in zip(
                near.frame, near.gap, normal, near.p, near.q, pairs, strict=True
            )
        ]
        # The racket's lowest point.
        tips = bodies.axes(pos, rot)[:, self._racket_parts].reshape(self.frames, -1, 3)
        radius = np.repeat(bodies.radius[self._racket_parts], 2)
        height = tips[..., 2] - radius
        lowest = height.argmin(axis=1)
        hand = int(bodies.joint[self._racket_parts][0])
        for t in np.flatnonzero(height.min(axis=1) < config.gap):
            found.append((t, height[t, lowest[t]], np.array([0.0, 0, 1]), ((tips[t, lowest[t]], hand, 1.0),)))
        at = -1
        embed = np.zeros((35, CHANNELS))
        for t, gap, n, points in sorted(found, key=lambda row: row[0]):
            slope = None
            if rows.derive:
                if t != at:
                    pin.computeJointJacobians(model, data, q[t])
                    at, embed = t, _embedding(x[t, 3], follow[t])
                slope = np.zeros(CHANNELS)
                for point, joint, sign in points:
                    moves = pin.getJointJacobian(model, data, int(joint) + 1, pin.LOCAL_WORLD_ALIGNED)
                    turns = np.cross(point - pos[t, joint], n)
                    slope += sign * (n @ moves[:3] + turns @ moves[3:]) @ embed
                slope *= -self._step / config.near
            rows.add(self._step / config.near * (config.gap - gap), t, slope)
        return float(min((gap for _, gap, _, _ in found), default=config.gap))

    def _joint_rows(self, rows: _Rows, t: int, x, v, legs, follow) -> None:
        """Stops of all joints and speeds of waist and arms."""
        config, step = self.config, self._step
        # A leg near a stop cannot follow the pelvis any farther.
        low = np.where(_IS_KNEE, config.knee, LOWER[:12] + config.leg_margin)
        beyond = np.maximum(legs - UPPER[:12] + config.leg_margin, low - legs)
        for joint in np.nonzero(beyond > 0)[0]:
            side = np.sign(legs[joint] - 0.5 * (LOWER[joint] + UPPER[joint]))
            slope = np.zeros(CHANNELS)
            slope[:4] = side * step / config.leg_stop * follow[joint]
            rows.add(step / config.leg_stop * beyond[joint], t, slope)
        joints, low, high = x[4:], LOWER[UPPER_BODY], UPPER[UPPER_BODY]
        beyond = np.maximum(joints - high, low - joints) + config.stop_margin
        for joint in np.nonzero(beyond > 0)[0]:
            side = np.sign(joints[joint] - 0.5 * (low[joint] + high[joint]))
            rows.add(step / config.stop * beyond[joint], t, side * step / config.stop * _UNIT[4 + joint])
        beyond = np.abs(v[4:]) - config.speed_share * VELOCITY_LIMIT[UPPER_BODY]
        for joint in np.nonzero(beyond > 0)[0]:
            slope = np.sign(v[4 + joint]) * step / config.speed * _UNIT[4 + joint]
            rows.add(step / config.speed * beyond[joint], t, None, slope)

    def _goal_rows(
        self, rows: _Rows, goal: FrameState, q: np.ndarray, vel: np.ndarray, embed: np.ndarray
    ) -> tuple[float, float, float]:
        """What the racket misses of its goal; the same as distance, m, velocity, m/s, and angle, rad."""
        config, model, data, t = self.config, self.model, self.data, self.strike
        pin.computeJointJacobians(model, data, q)
        pin.forwardKinematics(model, data, q, vel)
        place = pin.updateFramePlacement(model, data, self.racket)
        moving = pin.getFrameVelocity(model, data, self.racket, pin.LOCAL_WORLD_ALIGNED)
        z = goal.sign * place.rotation[:, 2]
        off, slow = place.translation - goal.pos, moving.linear - goal.vel
        face = np.cross(goal.normal, z)
        full, by_pose, turning = np.zeros((6, CHANNELS)), np.zeros((3, CHANNELS)), np.zeros((3, CHANNELS))
        if rows.derive:
            jacobian = pin.getFrameJacobian(model, data, self.racket, pin.LOCAL_WORLD_ALIGNED)
            full = jacobian @ embed
            pin.computeForwardKinematicsDerivatives(model, data, q, vel, np.zeros(35))
            derivatives = pin.getFrameVelocityDerivatives(model, data, self.racket, pin.LOCAL_WORLD_ALIGNED)
            # They are given for a frame that does not turn.
            by_pose = (derivatives[0][:3] + np.cross(moving.angular, jacobian[:3].T).T) @ embed
            # z turns with the frame: d(n × z) = n × (w × z).
            turning = np.cross(goal.normal, np.cross(full[3:].T, z)).T
        for k in range(3):
            rows.add(off[k] / config.goal_pos, t, full[k] / config.goal_pos)
            rows.add(slow[k] / config.goal_vel, t, by_pose[k] / config.goal_vel, full[k] / config.goal_vel)
            rows.add(face[k] / config.goal_normal, t, turning[k] / config.goal_normal)
        angle = float(np.arctan2(np.linalg.norm(face), goal.normal @ z))
        return float(np.linalg.norm(off)), float(np.linalg.norm(slow)), angle

    def _linear_terms(self, c: np.ndarray) -> tuple[float, np.ndarray]:
        """Sum of squares of style and smoothness, and its half gradient."""
        b, _, a = self.basis
        off = self._all[0] @ (c - self.style).T * self._style_weight
        acc = self._all[2] @ c.T * self._smooth_weight
        gradient = (b.T @ (off * self._style_weight) + a.T @ (acc * self._smooth_weight)).T.reshape(-1)
        return float((off**2).sum() + (acc**2).sum()), gradient

    def start_legs(self, joint_pos: np.ndarray) -> None:
        """Let the legs' inverse kinematics start from those of another motion, joint angles (T, 29)."""
        self._legs = joint_pos[:, :12].copy()

    def solve(
        self, goal: FrameState | None, start: np.ndarray | None = None, iterations: int | None = None
    ) -> Solution:
        """Optimise.

        Args:
            goal: of the racket at the strike; None: the motion only has to be possible.
            start: coefficients to start from, (CHANNELS, C), of a solution for a nearby goal. Default: the given
                motion, from whose own racket state the goal is moved to the wanted one in stages.
            iterations: at most; default: the config's.
        """
        if start is None and goal is not None:
            return self.approach(goal, self.style, 4, iterations)
        start = self.style if start is None else start
        c, cost, figures, q = self._descend(start.copy(), goal, iterations or self.config.iterations)
        motion = replace(
            self.given,
            root_pos=q[:, :3].copy(),
            root_quat=q[:, [6, 3, 4, 5]].copy(),
            joint_pos=q[:, 7:].copy(),
            contacts=self.footing.contact.copy(),
        )
        return Solution(motion, c, cost, *figures)

    def approach(
        self, goal: FrameState, start: np.ndarray, stages: int, iterations: int | None = None
    ) -> Solution:
        """Optimise from a motion that is far from the goal: its own racket state is moved to the goal in stages.

        Args:
            goal, start, iterations: see `solve`.
            stages: number of goals, the last of which is the wanted one.
        """
        own, c = self.state(start, goal.sign), start.copy()
        for stage in range(stages):
            c = self._descend(c, _between(own, goal, stage / stages), 6)[0]
        return self.solve(goal, c, iterations)

    def state(self, c: np.ndarray, sign: float = 1.0) -> FrameState:
        """State of the racket at the strike of the motion with coefficients `c`."""
        x, v, a = self._states(c)
        q, vel, _ = self._dynamics(x, v, a, self._solve_legs(x).angles)
        pin.forwardKinematics(self.model, self.data, q[self.strike], vel[self.strike])
        place = pin.updateFramePlacement(self.model, self.data, self.racket)
        moving = pin.getFrameVelocity(self.model, self.data, self.racket, pin.LOCAL_WORLD_ALIGNED).linear
        return FrameState(place.translation.copy(), moving.copy(), sign * place.rotation[:, 2], sign)

    def _descend(self, c: np.ndarray, goal: FrameState | None, iterations: int):
        """Levenberg–Marquardt from `c`: coefficients, cost, figures of merit and configurations."""
        n = self.basis[0].shape[1]
        damping = 1e-3
        r, jac, figures, shape = self._residual(c, goal, True)
        quiet, gradient = self._linear_terms(c)
        cost = float(r @ r) + quiet
        for _ in range(iterations):
            assert jac is not None
            matrix = self._linear + jac.T @ jac
            slope = gradient + jac.T @ r
            gain = 0.0
            for _ in range(9):
                step = np.linalg.solve(matrix + damping * np.diag(np.diag(matrix)), -slope)
                # Shortened as a whole, so that its direction stays one of descent.
                step *= min(1.0, 0.5 / max(float(np.abs(step).max()), 1e-9))
                trial = c.copy()
                trial[:, self.free] += step.reshape(CHANNELS, n)
                new_r, _, new_figures, new_shape = self._residual(trial, goal, False)
                new_cost = float(new_r @ new_r) + self._linear_terms(trial)[0]
                if new_cost < cost:
                    gain = cost - new_cost
                    c, cost, figures, shape = trial, new_cost, new_figures, new_shape
                    damping = max(damping / 4, 1e-6)
                    break
                damping *= 6
            if gain < 1e-3 * cost:
                break
            r, jac, _, _ = self._residual(c, goal, True)
            gradient = self._linear_terms(c)[1]
        return c, cost, figures, shape[0]


def _between(a: FrameState, b: FrameState, share: float) -> FrameState:
    normal = (1 - share) * a.normal + share * b.normal
    return FrameState(
        (1 - share) * a.pos + share * b.pos,
        (1 - share) * a.vel + share * b.vel,
        normal / max(float(np.linalg.norm(normal)), 1e-9),
        b.sign,
    )


def _embedding(heading: float, follow: np.ndarray) -> np.ndarray:
    """How Pinocchio's velocities (35,) follow the channels' where the legs follow the pelvis, (35, CHANNELS)."""
    embed = np.zeros((35, CHANNELS))
    embed[:3, :3] = _heading(heading).T
    embed[5, 3] = 1.0
    embed[6:18, :4] = follow
    embed[18:, 4:] = np.eye(CHANNELS - 4)
    return embed


def _heading(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
