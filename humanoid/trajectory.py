"""Trajectories of the whole body that a robot with its feet on the ground can really do.

A motion is a cubic spline in the pelvis's position and heading and the seventeen joints of waist and arms; the
legs follow by inverse kinematics from soles that stand still. Wanted is the spline nearest to a given motion
whose racket passes a given state at a given time and which the robot can do: torques of waist and arms, the
zero-moment point inside the soles, joint angles and velocities. Everything enters as a residual of one nonlinear
least-squares problem,

    r(c) = [goal / σ, max(0, |τ| - τ_max) / σ, max(0, zmp outside) / σ, …, style / σ],

whose Jacobian comes from Pinocchio's derivatives of inverse dynamics, and which Levenberg–Marquardt solves in
some twenty steps of a few tens of milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pinocchio as pin
from scipy.interpolate import BSpline

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
        support: half length and half width of the area for the zero-moment point around the middle of the soles,
            m; zmp: one unit outside, m.
        friction: largest horizontal share of the ground's force; twist: largest moment about the vertical per
            weight, m; both with one unit of excess 0.02.
        style_joint: distance of a joint from the given motion, rad. style_pelvis: of the pelvis's x, y, z (m) and
            heading (rad).
        smooth_joint, smooth_pelvis: accelerations, rad/s², m/s².
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
    stop_margin: float = 0.06
    leg_margin: float = 0.06
    knee: float = 0.35
    stop: float = 0.02
    leg_stop: float = 0.005
    support: tuple[float, float] = (0.04, 0.12)
    zmp: float = 0.005
    friction: float = 0.3
    twist: float = 0.035
    style_joint: float = 1.5
    style_pelvis: tuple[float, float, float, float] = (0.3, 0.3, 0.06, 0.8)
    smooth_joint: float = 150.0
    smooth_pelvis: float = 15.0
    iterations: int = 30


@dataclass(frozen=True)
class Solution:
    """An optimised motion, its spline coefficients (CHANNELS, C), and what is left: sum of squares, distance (m),
    velocity (m/s) and angle (rad) from the goal, largest torque as share of the limit, distance of the zero-moment
    point outside the support, m."""

    motion: RobotMotion
    coefficients: np.ndarray
    cost: float
    goal_error: tuple[float, float, float]
    torque_share: float
    zmp_outside: float


class TrajectoryOptimizer:
    """Optimises variations of one motion.

    Args:
        motion: a motion with both feet planted, pelvis level, that starts and ends at rest.
        time: when the goal is to be met, s from the start; the nearest frame is taken.
        soles: poses of left and right sole, in the motion's frame.
        config: see `TrajectoryConfig`.
    """

    def __init__(
        self,
        motion: RobotMotion,
        time: float,
        soles: list[pin.SE3],
        config: TrajectoryConfig | None = None,
    ) -> None:
        self.config = config = config or TrajectoryConfig()
        self.given, self.soles = motion, soles
        self.model = default_pinocchio()
        self.data = self.model.createData()
        self.racket = self.model.getFrameId("racket")
        self._feet = [self.model.getFrameId(f"{side}_foot") for side in ("left", "right")]
        frames, fps = motion.num_frames, motion.fps
        self.frames, self.fps, self.strike = frames, fps, round(time * fps)
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
        self._build_linear()

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
        own = self.config.style_pelvis
        scaled = (own[0] * pelvis, own[1] * pelvis, own[2] * pelvis, own[3] * pelvis)
        self.config = replace(self.config, style_joint=joint, style_pelvis=scaled)
        self._build_linear()
        self.config = replace(self.config, style_pelvis=own)

    def _build_linear(self) -> None:
        """Normal matrix of style and smoothness, the same in every step."""
        config = self.config
        step = np.sqrt(1.0 / self.fps)
        style = np.concatenate([1 / np.array(config.style_pelvis), np.full(17, 1 / config.style_joint)])
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

    def _solve_legs(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Leg angles (T, 12) from the pelvis, how they follow it, (T, 12, 4), and what the soles miss, (T,)."""
        legs, follow, missed = self._legs.copy(), np.zeros((self.frames, 12, 4)), np.zeros(self.frames)
        q = pin.neutral(self.model)
        for t in range(self.frames):
            half = 0.5 * x[t, 3]
            q[:7] = [*x[t, :3], 0, 0, np.sin(half), np.cos(half)]
            q[7:19] = legs[t]
            for attempt in range(12):
                pin.computeJointJacobians(self.model, self.data, q)
                worst = 0.0
                for leg, frame, sole in zip(LEGS, self._feet, self.soles, strict=True):
                    place = pin.updateFramePlacement(self.model, self.data, frame)
                    off = pin.log6(place.actInv(sole)).vector
                    worst = max(worst, float(np.abs(off).max()))
                    jacobian = pin.getFrameJacobian(self.model, self.data, frame, pin.LOCAL)
                    own = jacobian[:, 6 + leg]
                    damped = own.T @ np.linalg.inv(own @ own.T + 1e-8 * np.eye(6))
                    if attempt == 0 or worst > 1e-7:
                        step = damped @ off
                        # Beyond a stop if need be: the residuals bring it back, and can, since they see how far.
                        q[7 + leg] += np.clip(step, -0.3, 0.3)
                        q[10 + leg[0]] = max(q[10 + leg[0]], 0.02)
                    rotation = _heading(x[t, 3])
                    pelvis = np.concatenate([jacobian[:, :3] @ rotation.T, jacobian[:, 5:6]], axis=1)
                    follow[t, leg] = -damped @ pelvis
                if worst < 1e-7:
                    break
            legs[t], missed[t] = q[7:19], worst
        # Good warm starts only.
        self._legs = np.where((missed < 1e-6)[:, None], legs, self._legs)
        return legs, follow, missed

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

    def _residual(self, c: np.ndarray, goal: FrameState, derive: bool):
        """Nonlinear residuals (R,), their Jacobian (R, variables) if wanted, and figures of merit."""
        config, model, data = self.config, self.model, self.data
        x, v, a = self._states(c)
        legs, follow, legs_off = self._solve_legs(x)
        q, vel, acc = self._dynamics(x, v, a, legs)
        n = self.basis[0].shape[1]
        step = np.sqrt(1.0 / self.fps)
        middle = np.mean([sole.translation[:2] for sole in self.soles], axis=0)
        limit = EFFORT_LIMIT[UPPER_BODY]
        usable = np.where(limit < 10, config.wrist_share, config.torque_share)
        rows: list[float] = []
        slopes: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        most_torque, most_outside = 0.0, 0.0

        def add(value: float, t: int, gq, gv, ga) -> None:
            rows.append(value)
            if derive:
                slopes.append((t, gq, gv, ga))

        nothing, unit = np.zeros(CHANNELS), np.eye(CHANNELS)
        for t in range(self.frames):
            if derive:
                pin.computeRNEADerivatives(model, data, q[t], vel[t], acc[t])
                tau = data.tau
                embed = np.zeros((35, CHANNELS))
                embed[:3, :3] = _heading(x[t, 3]).T
                embed[5, 3] = 1.0
                embed[6:18, :4] = follow[t]
                embed[18:, 4:] = np.eye(17)
                # Pinocchio's mass matrix comes with its upper triangle.
                mass = np.triu(data.M) + np.triu(data.M, 1).T
                by_q, by_v, by_a = data.dtau_dq @ embed, data.dtau_dv @ embed, mass @ embed
            else:
                tau = pin.rnea(model, data, q[t], vel[t], acc[t])
                by_q = by_v = by_a = np.zeros((35, CHANNELS))
            share = tau[18:] / limit
            most_torque = max(most_torque, float(np.abs(share).max()))
            for j in np.nonzero(np.abs(share) > usable)[0]:
                scale = np.sign(share[j]) * step / config.torque
                add(
                    scale * (share[j] - np.sign(share[j]) * usable[j]),
                    t, *(scale / limit[j] * g[18 + j] for g in (by_q, by_v, by_a)),
                )  # fmt: skip
            # Ground reaction about the pelvis, world frame.
            turn = _heading(x[t, 3])
            force, moment = turn @ tau[:3], turn @ tau[3:6]
            by_f = [np.vstack([turn @ g[:3], turn @ g[3:6]]) for g in (by_q, by_v, by_a)]
            if derive:
                by_f[0][:, 3] += np.concatenate([[-force[1], force[0], 0], [-moment[1], moment[0], 0]])
            up = max(force[2], 50.0)
            height = x[t, 2]
            zmp = x[t, :2] + np.array(
                [-(moment[1] + height * force[0]) / up, (moment[0] - height * force[1]) / up]
            )
            arm = [
                np.array([-height / up, 0, -(zmp[0] - x[t, 0]) / up, 0, -1 / up, 0]),
                np.array([0, -height / up, -(zmp[1] - x[t, 1]) / up, 1 / up, 0, 0]),
            ]
            moves = []
            for axis in (0, 1):
                parts = [arm[axis] @ g for g in by_f]
                parts[0] = parts[0] - force[axis] / up * unit[2]
                moves.append(parts)
                off = zmp[axis] - middle[axis]
                beyond = abs(off) - config.support[axis]
                most_outside = max(most_outside, beyond)
                if beyond > 0:
                    scale = np.sign(off) * step / config.zmp
                    rise = [scale * part for part in parts]
                    add(step / config.zmp * beyond, t, rise[0] + scale * unit[axis], *rise[1:])
            for axis in (0, 1):
                beyond = abs(force[axis]) / up - config.friction
                if beyond > 0:
                    scale = np.sign(force[axis]) * step / 0.02 / up
                    share = force[axis] / up
                    add(step / 0.02 * beyond, t, *(scale * (g[axis] - share * g[2]) for g in by_f))
            shift = zmp - x[t, :2]
            about = moment[2] - shift[0] * force[1] + shift[1] * force[0]
            beyond = abs(about) / up - config.twist
            if beyond > 0:
                scale = np.sign(about) * step / 0.02 / up
                turns = [
                    g[5] - shift[0] * g[1] + shift[1] * g[0] - force[1] * ds0 + force[0] * ds1
                    for g, ds0, ds1 in zip(by_f, *moves, strict=True)
                ]
                add(
                    step / 0.02 * beyond,
                    t,
                    *(scale * (g - about / up * f[2]) for g, f in zip(turns, by_f, strict=True)),
                )
            # A leg near a stop cannot follow the pelvis any farther.
            for joint in range(12):
                low = config.knee if joint in KNEES else LOWER[joint] + config.leg_margin
                beyond = max(legs[t, joint] - UPPER[joint] + config.leg_margin, low - legs[t, joint])
                if beyond > 0:
                    side = np.sign(legs[t, joint] - 0.5 * (LOWER[joint] + UPPER[joint]))
                    one = nothing.copy()
                    one[:4] = side * step / config.leg_stop * follow[t, joint]
                    add(step / config.leg_stop * beyond, t, one, nothing, nothing)
            if legs_off[t] > 1e-4:
                most_outside = max(most_outside, 1.0)
                add(1e3 * step * legs_off[t], t, nothing, nothing, nothing)
            # Stops and speeds of the joints.
            for channel, (low, high, fast) in enumerate(
                zip(LOWER[UPPER_BODY], UPPER[UPPER_BODY], VELOCITY_LIMIT[UPPER_BODY], strict=True), 4
            ):
                beyond = max(
                    x[t, channel] - high + config.stop_margin, low + config.stop_margin - x[t, channel]
                )
                if beyond > 0:
                    side = np.sign(x[t, channel] - 0.5 * (low + high))
                    one = nothing.copy()
                    one[channel] = side * step / config.stop
                    add(step / config.stop * beyond, t, one, nothing, nothing)
                beyond = abs(v[t, channel]) - config.speed_share * fast
                if beyond > 0:
                    one = nothing.copy()
                    one[channel] = np.sign(v[t, channel]) * step / config.speed
                    add(step / config.speed * beyond, t, nothing, one, nothing)
        # The goal.
        t = self.strike
        pin.computeJointJacobians(model, data, q[t])
        pin.forwardKinematics(model, data, q[t], vel[t])
        place = pin.updateFramePlacement(model, data, self.racket)
        moving = pin.getFrameVelocity(model, data, self.racket, pin.LOCAL_WORLD_ALIGNED).linear
        z = goal.sign * place.rotation[:, 2]
        off, slow = place.translation - goal.pos, moving - goal.vel
        face = np.cross(goal.normal, z)
        angle = float(np.arctan2(np.linalg.norm(face), goal.normal @ z))
        if derive:
            jacobian = pin.getFrameJacobian(model, data, self.racket, pin.LOCAL_WORLD_ALIGNED)
            embed = np.zeros((35, CHANNELS))
            embed[:3, :3] = _heading(x[t, 3]).T
            embed[5, 3] = 1.0
            embed[6:18, :4] = follow[t]
            embed[18:, 4:] = np.eye(17)
            full = jacobian @ embed
            pin.computeForwardKinematicsDerivatives(model, data, q[t], vel[t], np.zeros(35))
            by_pose = pin.getFrameVelocityDerivatives(model, data, self.racket, pin.LOCAL_WORLD_ALIGNED)[0][
                :3
            ]
            # It is given for a frame that does not turn.
            spin = pin.getFrameVelocity(model, data, self.racket, pin.LOCAL_WORLD_ALIGNED).angular
            by_pose = (by_pose + np.cross(spin, jacobian[:3].T).T) @ embed
            # z turns with the frame: d(n × z) = n × (w × z).
            turning = np.stack(
                [np.cross(goal.normal, np.cross(full[3:, k], z)) for k in range(CHANNELS)], axis=1
            )
        else:
            full, by_pose, turning = np.zeros((6, CHANNELS)), np.zeros((3, CHANNELS)), np.zeros((3, CHANNELS))
        for k in range(3):
            add(off[k] / config.goal_pos, t, full[k] / config.goal_pos, nothing, nothing)
            add(
                slow[k] / config.goal_vel, t, by_pose[k] / config.goal_vel, full[k] / config.goal_vel, nothing
            )
            add(face[k] / config.goal_normal, t, turning[k] / config.goal_normal, nothing, nothing)
        figures = (
            (float(np.linalg.norm(off)), float(np.linalg.norm(slow)), angle),
            most_torque,
            most_outside,
        )
        r = np.array(rows)
        if not derive:
            return r, None, figures, (q, x)
        at = np.array([s[0] for s in slopes])
        parts = [np.array([s[k] for s in slopes]) for k in (1, 2, 3)]
        jac = sum(
            part[:, :, None] * basis[at][:, None, :] for part, basis in zip(parts, self.basis, strict=True)
        )
        return r, np.asarray(jac).reshape(len(r), CHANNELS * n), figures, (q, x)

    def _linear_terms(self, c: np.ndarray) -> tuple[float, np.ndarray]:
        """Sum of squares of style and smoothness, and its half gradient."""
        b, _, a = self.basis
        off = self._all[0] @ (c - self.style).T * self._style_weight
        acc = self._all[2] @ c.T * self._smooth_weight
        gradient = (b.T @ (off * self._style_weight) + a.T @ (acc * self._smooth_weight)).T.reshape(-1)
        return float((off**2).sum() + (acc**2).sum()), gradient

    def solve(
        self, goal: FrameState, start: np.ndarray | None = None, iterations: int | None = None
    ) -> Solution:
        """Optimise.

        Args:
            goal: of the racket at the strike.
            start: coefficients to start from, (CHANNELS, C), of a solution for a nearby goal. Default: the given
                motion, from whose own racket state the goal is moved to the wanted one in stages.
            iterations: at most; default: the config's.
        """
        if start is None:
            return self.approach(goal, self.style, 4, iterations)
        c, cost, figures, q = self._descend(start.copy(), goal, iterations or self.config.iterations)
        motion = replace(
            self.given,
            root_pos=q[:, :3].copy(),
            root_quat=q[:, [6, 3, 4, 5]].copy(),
            joint_pos=q[:, 7:].copy(),
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
        legs, _, _ = self._solve_legs(x)
        q, vel, _ = self._dynamics(x, v, a, legs)
        pin.forwardKinematics(self.model, self.data, q[self.strike], vel[self.strike])
        place = pin.updateFramePlacement(self.model, self.data, self.racket)
        moving = pin.getFrameVelocity(self.model, self.data, self.racket, pin.LOCAL_WORLD_ALIGNED).linear
        return FrameState(place.translation.copy(), moving.copy(), sign * place.rotation[:, 2], sign)

    def _descend(self, c: np.ndarray, goal: FrameState, iterations: int):
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


def _heading(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
