"""Inverse kinematics of the legs: feet where they should be, flat in stance, the root within reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from humanoid.bodies import Bodies
from mocap.config import RetargetConfig
from mocap.contacts import Footing, lock_feet, split_drifting
from mocap.filters import low_pass, runs, spread
from mocap.kinematics import Chain
from mocap.robot import RobotModel
from mocap.rotations import Array, axis_angle_from_matrix, axis_matrix, wrap
from mocap.self_collision import push_feet
from mocap.skeleton import SIDES, Body
from mocap.smoothness import KEEP, smooth, stiffness

# How far the root may leave the human's scaled path to keep feet flat, horizontally and down [m].
ROOT_SHIFT_M = 0.08
ROOT_DROP_M = 0.15
# How far the tip of a tilted swinging foot stays off the ground [m]: a toe that drags trips the robot.
TIP_CLEAR_M = 0.015
# A standing foot's edge may be so deep before the foot is raised to stand on it [m].
EDGE_M = 0.005
# A foot that cannot reach its place gives up the horizontal before the height.
PLACE_WEIGHT = np.array([1.0, 1.0, 4.0])


class Legs:
    """Foot targets of one clip, and the legs' solution for a given root."""

    def __init__(
        self, robot: RobotModel, config: RetargetConfig, footing: Footing, body: Body, scale: float
    ) -> None:
        self.robot, self.config, self.footing, self.body, self.scale = robot, config, footing, body, scale
        self.bodies = Bodies(("thigh", "shin", "foot")) if config.self_collision else None
        self.guess: list[Array | None] = [None, None]
        self.sole: Array | None = None
        self.heading: Array | None = None
        self.lift = np.zeros((body.frames, 2))

    def solve(self, root_pos: Array, root_rot: Array, q: Array, refine: bool = True) -> Array:
        """Write the legs' angles into `q`; returns the root position, lowered where the legs do not reach.

        Args:
            root_pos: (T, 3), root_rot: (T, 3, 3) wished root pose.
            q: (T, n) angles; leg columns are overwritten.
            refine: whether stances may be moved to where the ankles can stay flat; only the first time.
        """
        if self.sole is None:
            self.sole, self.heading = self._targets(root_pos, root_rot)
        attempts = 5 if refine else 2
        contact = self.footing.contact
        start = lowered = root_pos
        for attempt in range(attempts):
            lowered = self._lower(root_pos, root_rot)
            error, turned = self._inverse(lowered, root_rot, q)
            if attempt == attempts - 1:
                break
            push = np.zeros_like(error)
            if refine and self.bodies is not None:
                push = push_feet(self.bodies, *self.robot.tree.forward(lowered, root_rot, q), self.config.fps)
            if np.abs(error[contact]).max(initial=0.0) < 1e-3 and not push.any():
                break
            # What both standing feet miss alike, the root makes up for; it takes the root nearer to the feet.
            share = (
                np.where(contact[..., None], error, 0.0).sum(axis=1)
                / np.maximum(contact.sum(axis=1), 1)[:, None]
            )
            wished = root_pos - low_pass(np.clip(share, -0.04, 0.04), self.config.fps, 3.0)
            wished = start + np.clip(wished - start, -ROOT_SHIFT_M, ROOT_SHIFT_M)
            wished[:, 2] = start[:, 2]
            shift, root_pos = wished - root_pos, wished
            if refine:
                # Where a standing foot still could not be reached flat, its place and heading are moved by
                # what is left; legs that touch are moved apart.
                self._move_stances(error + shift[:, None] + push, turned, push)
        self.lift = np.zeros((len(q), 2))
        for _ in range(3):
            self._inverse(lowered, root_rot, q)
            smooth_swings(self.robot, q, contact, self.config.fps, self.config.cutoff_hz)
            sunk = sunk_depth(self.robot, lowered, root_rot, q, contact)
            if sunk.max() < 0.003:
                break
            # A foot that is tilted more than wished dips its edge: it is raised by as much.
            self.lift += raised(sunk, contact, self.config.fps)
        return lowered

    def _targets(self, root_pos: Array, root_rot: Array) -> tuple[Array, Array]:
        """Ankle targets (T, 2, 3), z = lift over the standing height, and headings (T, 2)."""
        raw = np.empty((self.body.frames, 2, 3))
        for n, side in enumerate(SIDES):
            hip = root_pos + root_rot @ np.array(
                [0.0, self.robot.hip_half_width_m * (1 - 2 * n), self.robot.hip_height_m]
            )
            foot = self.footing.position[:, n, :2]
            raw[:, n, :2] = hip[:, :2] + self.scale * (foot - self.body[f"{side}_hip"][:, :2])
            raw[:, n, 2] = self.scale * self.footing.position[:, n, 2]
        heading = self.footing.heading.copy()
        contact = split_drifting(self.footing.contact, raw, heading, self.config.fps)
        self.footing = replace(self.footing, contact=contact)
        return lock_feet(
            raw, heading, self.footing.contact, self.config.fps, clearance_m=self.config.clearance_m
        )

    def _move_stances(self, error: Array, turned: Array, push: Array) -> None:
        """Move each stance by its largest leftover, and the swings beside it with it; swings by `push`."""
        assert self.sole is not None
        assert self.heading is not None
        moved, heading = self.sole + push * ~self.footing.contact[..., None], self.heading.copy()
        for n in range(2):
            for a, b in runs(self.footing.contact[:, n]):
                size = np.linalg.norm(error[a:b, n, :2], axis=1)
                weight = (size + 1e-9) / (size.sum() + 1e-9 * len(size))
                moved[a:b, n, :2] += np.clip(weight @ error[a:b, n, :2], -0.05, 0.05)
                size = np.abs(turned[a:b, n]) + 1e-9
                heading[a:b, n] += np.clip((size / size.sum()) @ turned[a:b, n], -0.2, 0.2)
        self.sole, self.heading = lock_feet(
            moved, heading, self.footing.contact, self.config.fps, clearance_m=self.config.clearance_m
        )

    def _lower(self, root_pos: Array, root_rot: Array) -> Array:
        """Root position, lowered smoothly where a leg would be stretched beyond `leg_stretch`."""
        robot = self.robot
        assert self.sole is not None
        reach = self.config.leg_stretch * robot.leg_m
        drop = np.zeros(len(root_pos))
        for n in range(2):
            hip = root_pos + root_rot @ np.array(
                [0.0, robot.hip_half_width_m * (1 - 2 * n), robot.hip_height_m]
            )
            ankle = self.sole[:, n] + np.array([0.0, 0.0, robot.sole_to_ankle(n)])
            flat = np.linalg.norm(hip[:, :2] - ankle[:, :2], axis=1)
            highest = ankle[:, 2] + np.sqrt(np.maximum(reach**2 - flat**2, (0.3 * reach) ** 2))
            drop = np.maximum(drop, np.where(self.footing.contact[:, n], hip[:, 2] - highest, 0.0))
        drop = envelope(np.minimum(drop, ROOT_DROP_M), self.config.fps)
        out = root_pos.copy()
        out[:, 2] -= drop
        return out

    def _inverse(self, root_pos: Array, root_rot: Array, q: Array) -> tuple[Array, Array]:
        """Solve both legs; returns the soles' position error (T, 2, 3) [m] and heading error (T, 2) [rad]."""
        robot = self.robot
        assert self.sole is not None
        assert self.heading is not None
        error = np.zeros((len(q), 2, 3))
        turned = np.zeros((len(q), 2))
        for n in range(2):
            chain = robot.legs[n]
            target_rot = axis_matrix("Z", self.heading[:, n])
            stance = self.footing.contact[:, n]
            pitch = np.where(stance, 0.0, np.clip(self.footing.pitch[:, n], -0.2, 0.7))
            lift = self.sole[:, n, 2]
            # Tilted feet only where the sole is high enough for its tip to stay clear of the ground.
            room = np.arcsin(np.clip((lift - TIP_CLEAR_M) / 0.13, 0.0, 0.9))
            pitch = np.clip(pitch, -room, room)
            pitch = np.where(stance, 0.0, low_pass(pitch, self.config.fps, 6.0))
            target_rot = target_rot @ axis_matrix("Y", pitch)
            ankle_height = robot.sole_to_ankle(n)
            ankle = self.sole[:, n] + np.array([0.0, 0.0, ankle_height])
            # A swinging foot that is out of reach is drawn in; a standing one draws the root down.
            hip = root_pos + root_rot @ np.array(
                [0.0, robot.hip_half_width_m * (1 - 2 * n), robot.hip_height_m]
            )
            away = np.linalg.norm(ankle - hip, axis=1)
            near = np.minimum(1.0, 0.99 * robot.leg_m / np.maximum(away, 1e-6))
            ankle = np.where(stance[:, None], ankle, hip + (ankle - hip) * near[:, None])
            ankle[:, 2] += self.lift[:, n]
            # The tip is the sole's centre; it hangs below the ankle along the foot.
            roll = robot.tree.index(f"{SIDES[n]}_ankle_roll_joint")
            tip = robot.tree.positions[roll] + robot.soles[n].position
            target = ankle + target_rot @ tip
            guess = self.guess[n]
            if guess is None:
                guess = leg_start(robot, n, root_pos, root_rot, ankle, target_rot)
            # Flat comes first in stance, place second, heading last: a knee that leans out turns the toes
            # out.
            weight = np.where(stance[:, None], [3.0, 3.0, 0.15], [0.1, 0.1, 0.05])
            calm = np.zeros((len(q), 6))
            calm[~stance, 2] = 0.05
            solution = solve_pose(
                chain, root_rot, root_pos, guess, target, target_rot, weight, calm, np.zeros(6)
            )
            self.guess[n] = solution
            q[:, chain.columns] = solution
            _, _, reached, reached_rot = chain.forward(root_rot, root_pos, solution)
            error[:, n] = reached - target
            turned[:, n] = wrap(np.arctan2(reached_rot[:, 1, 0], reached_rot[:, 0, 0]) - self.heading[:, n])
        return error, turned


def smooth_swings(
    robot: RobotModel, q: Array, contact: np.ndarray, fps: float, cutoff_hz: float = 6.0
) -> None:
    """Smooth the legs' angles in `q` (T, n) while their feet are in the air; standing legs are left alone.

    Where a swinging leg is pressed against limits, the frame-by-frame solution jumps from corner to corner; of a
    foot in the air a path is wanted, not a place to the millimetre.

    Args:
        robot: the robot.
        q: (T, n) joint angles, changed in place.
        contact: (T, 2) bool, which feet stand.
        fps: frames a second.
        cutoff_hz: bandwidth that is left.
    """
    stiff = np.full(len(q), stiffness(cutoff_hz, fps))
    for n, chain in enumerate(robot.legs):
        path = smooth(q[:, chain.columns], np.where(contact[:, n], KEEP, 1.0), stiff)
        free = ~contact[:, n]
        q[np.ix_(free, chain.columns)] = np.clip(path[free], chain.lower, chain.upper)


def leg_start(
    robot: RobotModel, n: int, root_pos: Array, root_rot: Array, ankle: Array, foot_rot: Array
) -> Array:
    """A starting guess (T, 6) from the hip–ankle vector: knee by the law of cosines, the rest by angles."""
    hip = root_pos + root_rot @ np.array([0.0, robot.hip_half_width_m * (1 - 2 * n), robot.hip_height_m])
    d = (np.swapaxes(root_rot, 1, 2) @ (ankle - hip)[..., None])[..., 0]
    length = np.clip(np.linalg.norm(d, axis=1), 0.2 * robot.leg_m, 0.999 * robot.leg_m)
    knee = 2.0 * np.arccos(length / robot.leg_m)
    rel = np.swapaxes(root_rot, 1, 2) @ foot_rot
    yaw = np.arctan2(rel[:, 1, 0], rel[:, 0, 0])
    lean = np.arctan2(-d[:, 0], -d[:, 2])
    side = np.arcsin(np.clip(d[:, 1] / length, -1.0, 1.0))
    start = np.stack(
        [
            lean - 0.5 * knee * np.cos(yaw),
            side + 0.5 * knee * np.sin(yaw),
            yaw,
            knee,
            -lean - 0.5 * knee,
            -side,
        ],
        axis=1,
    )
    chain = robot.legs[n]
    return np.clip(start, chain.lower + 0.02, chain.upper - 0.02)


def solve_legs(
    robot: RobotModel, root_pos: Array, root_rot: Array, soles: Array, heading: Array, q: Array
) -> Array:
    """Write into `q` (T, n) the leg angles that put flat soles where they are wished; returns the error (T,
    2) [m].

    Args:
        robot: the robot.
        root_pos: (T, 3), root_rot: (T, 3, 3).
        soles: (T, 2, 3) sole centres [m]; heading: (T, 2) [rad].
        q: (T, n); the leg columns are overwritten.
    """
    error = np.zeros((len(q), 2))
    for n in range(2):
        chain = robot.legs[n]
        target_rot = axis_matrix("Z", heading[:, n])
        roll = robot.tree.index(f"{SIDES[n]}_ankle_roll_joint")
        tip = robot.tree.positions[roll] + robot.soles[n].position
        start = leg_start(robot, n, root_pos, root_rot, soles[:, n] - target_rot @ tip, target_rot)
        weight = np.tile([3.0, 3.0, 0.15], (len(q), 1))
        still = np.zeros((len(q), 6))
        q[:, chain.columns] = solve_pose(
            chain, root_rot, root_pos, start, soles[:, n], target_rot, weight, still, np.zeros(6), 20
        )
        reached = chain.forward(root_rot, root_pos, q[:, chain.columns])[2]
        error[:, n] = np.linalg.norm(reached - soles[:, n], axis=1)
    return error


def track_feet(
    robot: RobotModel,
    root_pos: Array,
    root_rot: Array,
    q: Array,
    soles: list[tuple[Array, Array]],
    contact: np.ndarray,
    fps: float = 50.0,
    stretch: float = 0.985,
) -> tuple[Array, Array]:
    """Solve the legs again for another root path with the soles where they were: root (T, 3), lowered if
    need be, and q (T, n).

    Args:
        robot: the robot.
        root_pos: (T, 3), root_rot: (T, 3, 3) the new root path.
        q: (T, n) the motion before; a copy is changed.
        soles: for each foot, positions (T, 3) and rotations (T, 3, 3).
        contact: (T, 2) bool; a foot in the air may give way.
        fps: frames a second.
        stretch: longest hip–ankle distance as a fraction of the straight leg.
    """
    q = q.copy()
    drop = np.zeros(len(q))
    ankles = []
    for n in range(2):
        place, attitude = soles[n]
        roll = robot.tree.index(f"{SIDES[n]}_ankle_roll_joint")
        ankle = place - attitude @ (robot.tree.positions[roll] + robot.soles[n].position)
        ankles.append(ankle)
        hip = root_pos + root_rot @ np.array([0.0, robot.hip_half_width_m * (1 - 2 * n), robot.hip_height_m])
        flat = np.linalg.norm(hip[:, :2] - ankle[:, :2], axis=1)
        reach = stretch * robot.leg_m
        highest = ankle[:, 2] + np.sqrt(np.maximum(reach**2 - flat**2, (0.3 * reach) ** 2))
        drop = np.maximum(drop, np.where(contact[:, n], hip[:, 2] - highest, 0.0))
    root_pos = root_pos.copy()
    root_pos[:, 2] -= envelope(np.clip(drop, 0.0, ROOT_DROP_M), fps)
    lift = np.zeros((len(q), 2))
    for _ in range(3):
        for n in range(2):
            chain = robot.legs[n]
            place, attitude = soles[n]
            place = place + lift[:, n, None] * [0.0, 0.0, 1.0]
            weight = np.where(contact[:, n, None], [3.0, 3.0, 3.0], [0.3, 0.3, 0.3])
            still = np.where(contact[:, n, None], 0.0, np.array([0.0, 0.0, 0.03, 0.0, 0.0, 0.0]))
            before = q[:, chain.columns]
            q[:, chain.columns] = solve_pose(
                chain, root_rot, root_pos, before, place, attitude, weight, still, before, 20
            )
        smooth_swings(robot, q, contact, fps)
        sunk = sunk_depth(robot, root_pos, root_rot, q, contact)
        if sunk.max(initial=0.0) < 0.004:
            break
        lift += raised(sunk, contact, fps)
    return root_pos, q


def raised(sunk: Array, contact: np.ndarray, fps: float) -> Array:
    """By how much to raise feet (T, 2) [m] that are `sunk` (T, 2): smoothly in time, but standing feet that are
    not sunk stay.
    """
    lift = np.stack([1.2 * envelope(sunk[:, n], fps, 0.04) for n in range(2)], axis=1)
    for n in range(2):
        # All of a stance's neighbourhood of a dip moves, or none of it.
        stays = contact[:, n] & (spread(sunk[:, n], round(0.1 * fps)) == 0.0)
        lift[stays, n] = 0.0
    return lift


def sunk_depth(robot: RobotModel, root_pos: Array, root_rot: Array, q: Array, contact: np.ndarray) -> Array:
    """How deep the lowest edge of each sole is under the ground (T, 2) [m].

    For standing feet zero up to `EDGE_M`; one that cannot be flat, as in a lunge at the ankle's limit, stands on
    its edge.
    """
    a, b = robot.foot_half_m
    corners = np.array([[x, y, 0.0] for x in (-a, a) for y in (-b, b)])
    out = np.zeros((len(q), 2))
    for n, chain in enumerate(robot.legs):
        _, _, place, attitude = chain.forward(root_rot, root_pos, q[:, chain.columns])
        low = place[:, 2] + (attitude[:, 2] @ corners.T).min(axis=1)
        out[:, n] = np.where(-low > EDGE_M * contact[:, n], np.maximum(-low, 0.0), 0.0)
    return out


def envelope(drop: Array, fps: float, half_s: float = 0.12) -> Array:
    """A smooth curve above `drop` (T,): running maximum, then running mean over the same window of
    ±`half_s`.
    """
    half = max(1, round(half_s * fps))
    padded = np.pad(drop, half, mode="edge")
    top = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).max(axis=1)
    kernel = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(top, half, mode="edge"), kernel / kernel.sum(), mode="valid")


def solve_pose(
    chain: Chain,
    base_rot: Array,
    base_pos: Array,
    q: Array,
    target: Array,
    target_rot: Array,
    rotation_weight: Array,
    calm: Array,
    prior: Array,
    iterations: int = 12,
    tolerance: float = 1e-5,
) -> Array:
    """Gauss-Newton to a tip pose with joint limits as an active set; frames that have converged are left
    alone.

    Args:
        chain: six joints.
        base_rot, base_pos: (T, 3, 3), (T, 3) pose of the chain's base.
        q: (T, 6) start.
        target, target_rot: (T, 3), (T, 3, 3) wished tip pose.
        rotation_weight: (T, 3) metres per radian about the world axes: how much of the position is given up
            for orientation at a limit.
        calm: (T, 6) weights that draw the joints to `prior` (6,) or (T, 6) [m/rad].
    """
    q = np.clip(q, chain.lower, chain.upper)
    todo = np.arange(len(q))
    for _ in range(iterations):
        positions, rotations, tip, tip_rot = chain.forward(base_rot[todo], base_pos[todo], q[todo])
        w = rotation_weight[todo]
        turn_error = axis_angle_from_matrix(tip_rot @ np.swapaxes(target_rot[todo], 1, 2))
        residual = np.concatenate([PLACE_WEIGHT * (tip - target[todo]), w * turn_error], axis=1)
        jacobian = np.empty((len(todo), 6, len(chain.joints)))
        for k, (axis, p) in enumerate(zip(chain.axes(rotations), positions, strict=True)):
            jacobian[:, :3, k] = PLACE_WEIGHT * np.cross(axis, tip - p)
            jacobian[:, 3:, k] = w * axis
        # A joint at its limit that is pushed outward is taken out of the step.
        now = q[todo]
        pull = calm[todo] ** 2
        wished = prior if prior.ndim == 1 else prior[todo]
        gradient = (np.swapaxes(jacobian, 1, 2) @ residual[..., None])[..., 0] + pull * (now - wished)
        stuck = ((now <= chain.lower + 1e-9) & (gradient > 0.0)) | (
            (now >= chain.upper - 1e-9) & (gradient < 0.0)
        )
        jacobian *= ~stuck[:, None, :]
        a = np.swapaxes(jacobian, 1, 2) @ jacobian
        k = np.arange(a.shape[1])
        a[:, k, k] += 1e-6 + pull
        step = -np.linalg.solve(a, np.where(stuck, 0.0, gradient)[..., None])[..., 0]
        size = np.abs(step).max(axis=1, keepdims=True)
        step *= np.minimum(1.0, 0.5 / np.maximum(size, 1e-9))
        new = np.clip(now + step, chain.lower, chain.upper)
        q[todo] = new
        todo = todo[np.abs(new - now).max(axis=1) > tolerance]
        if not len(todo):
            break
    return q
