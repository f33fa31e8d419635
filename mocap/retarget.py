"""From a human body to the robot: inverse kinematics for whole clips at once.

The way of a clip, each step over all frames as array operations:

1. the human's points are resampled and smoothed; contacts are found; everything is scaled by the ratio of leg lengths;
2. pelvis and torso orientation give root and waist; what the waist cannot do, the pelvis does;
3. feet are locked in stance (`mocap.contacts`), the root is lowered where a leg would not reach, stances are moved where
   an ankle could not stay flat, and the legs are solved by damped Gauss-Newton with an active set for joint limits;
4. arms follow the directions of upper arm and forearm: closed form for a start, then Gauss-Newton;
5. the racket wrist is aimed (`mocap.racket`);
6. the root is shifted so that the zero-moment point of the moving robot stays near its feet, and the legs are solved again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from humanoid.joints import JOINT_NAMES
from humanoid.kinematics import default_pinocchio
from humanoid.model import FOOT_CORNERS
from humanoid.motion import RobotMotion, Stroke
from humanoid.racket import SITE
from mocap.contacts import Footing, find_footing, lock_feet, split_drifting, support_offset
from mocap.filters import close_gaps, low_pass, resample_cubic, runs, velocity
from mocap.kinematics import Chain, Frame, Tree, solve_damped
from mocap.racket import aim_racket, refine_strikes
from mocap.rotations import (
    Array,
    axis_angle_from_matrix,
    axis_matrix,
    continuous,
    frame_from,
    normalize,
    quat_from_matrix,
    wrap,
)
from mocap.skeleton import SIDES, Body
from mocap.strokes import HumanStroke, find_strokes

GRAVITY = 9.81
# Hip rotation of a person is about ±45°; a margin is left for poses that the robot's geometry turns further.
HIP_YAW_RAD = 1.3
# How far the root may leave the human's scaled path to keep feet flat, horizontally and down [m].
ROOT_SHIFT_M = 0.08
ROOT_DROP_M = 0.15
# A foot that cannot reach its place gives up the horizontal before the height.
PLACE_WEIGHT = np.array([1.0, 1.0, 4.0])


@dataclass(frozen=True)
class RetargetConfig:
    """What a retargeting run may be told. Lengths in metres, times in seconds.

    Attributes:
        fps: output rate [Hz]; the policies' control rate.
        cutoff_hz: bandwidth of the human motion that is kept, trunk and legs; arm_cutoff_hz: arms.
        leg_stretch: longest hip–ankle distance as a fraction of the straight leg; below 1 the knees stay bent.
        clearance_m: least height of a swing foot at mid-swing.
        balance: 0 leaves the root where the human had it; 1 moves it so that the zero-moment point is over the feet.
        support_margin_m: how far inside the foot's edge the zero-moment point is brought.
        aim_racket: whether the racket wrist is turned toward the stroke.
        aim_window_s: time before and after a strike in which the racket face is aimed.
        shot_yaw: direction in the clip's frame in which balls are hit [rad]; estimated from the strokes if not given.
    """

    fps: float = 50.0
    cutoff_hz: float = 6.0
    arm_cutoff_hz: float = 8.0
    leg_stretch: float = 0.975
    clearance_m: float = 0.03
    balance: float = 1.0
    support_margin_m: float = 0.01
    aim_racket: bool = True
    aim_window_s: float = 0.15
    shot_yaw: float | None = None


@dataclass
class RobotModel:
    """The robot as the retargeter sees it: the kinematic tree, four limbs, soles and racket."""

    tree: Tree
    legs: tuple[Chain, Chain]
    arms: tuple[Chain, Chain]
    soles: tuple[Frame, Frame]
    racket: Frame
    hips: tuple[int, int]
    leg_m: float
    hip_height_m: float
    hip_half_width_m: float
    waist: tuple[int, int, int]
    foot_half_m: tuple[float, float]

    @staticmethod
    def build(model: Any, *, sole_names: tuple[str, str], racket_name: str, foot_half_m: tuple[float, float]) -> RobotModel:
        """From a Pinocchio model of a G1-like robot.

        Args:
            model: Pinocchio model with a free-flyer base and the joints of the joint table.
            sole_names: frames at the centre of the left and right sole, z up when the foot is flat.
            racket_name: frame at the string-bed centre, x toward the tip, z normal to the strings.
            foot_half_m: half length and half width of the sole [m].
        """
        tree = Tree(model)
        leg = ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
        arm = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow")
        soles = tuple(tree.frame(n) for n in sole_names)
        legs, arms, hips = [], [], []
        for side, sole in zip(SIDES, soles, strict=True):
            legs.append(Chain(tree, tuple(f"{side}_{p}_joint" for p in leg), sole))
            elbow = tree.index(f"{side}_elbow_joint")
            wrist = tree.positions[tree.index(f"{side}_wrist_roll_joint")] + tree.positions[
                tree.index(f"{side}_wrist_pitch_joint")
            ]
            arms.append(Chain(tree, tuple(f"{side}_{p}_joint" for p in arm), Frame(elbow, wrist, np.eye(3))))
            # A hip that turns further than a person's is a solution gone astray.
            legs[-1].lower[2] = max(legs[-1].lower[2], -HIP_YAW_RAD)
            legs[-1].upper[2] = min(legs[-1].upper[2], HIP_YAW_RAD)
            hips.append(tree.index(f"{side}_hip_roll_joint"))
        zero = tree.forward(np.zeros((1, 3)), np.eye(3)[None], np.zeros((1, len(tree.joint_names))))[0][0]
        thigh = np.linalg.norm(zero[tree.index("left_knee_joint")] - zero[hips[0]])
        shank = np.linalg.norm(zero[tree.index("left_ankle_pitch_joint")] - zero[tree.index("left_knee_joint")])
        return RobotModel(
            tree=tree,
            legs=(legs[0], legs[1]),
            arms=(arms[0], arms[1]),
            soles=(soles[0], soles[1]),
            racket=tree.frame(racket_name),
            hips=(hips[0], hips[1]),
            leg_m=float(thigh + shank),
            hip_height_m=float(zero[hips[0], 2]),
            hip_half_width_m=float(abs(zero[hips[0], 1])),
            waist=(
                tree.index("waist_yaw_joint") - 1,
                tree.index("waist_roll_joint") - 1,
                tree.index("waist_pitch_joint") - 1,
            ),
            foot_half_m=foot_half_m,
        )

    @staticmethod
    def g1() -> RobotModel:
        """The G1 with its racket, from `humanoid.kinematics`; read the shared instance from `default_robot`."""
        corners = np.array(FOOT_CORNERS)
        half = 0.5 * np.ptp(corners, axis=0)
        return RobotModel.build(
            default_pinocchio(),
            sole_names=("left_foot", "right_foot"),
            racket_name=SITE,
            foot_half_m=(float(half[0]), float(half[1])),
        )

    def sole_to_ankle(self, n: int) -> float:
        """Height of the ankle pitch axis above the sole of foot `n`, foot flat [m]."""
        roll = self.tree.index(f"{SIDES[n]}_ankle_roll_joint")
        return float(-(self.tree.positions[roll] + self.soles[n].position)[2])


@dataclass
class Retargeted:
    """A robot motion with what is needed to judge it.

    Attributes:
        fps: frames a second.
        root_pos: (T, 3), root_rot: (T, 3, 3), q: (T, n) joint angles [rad].
        contact: (T, 2) bool, left and right foot.
        joint_pos, joint_rot: (T, n+1, 3), (T, n+1, 3, 3) world frames of all joints.
        strokes: strokes in output frames; the strike is the robot racket's.
        body: the human as it was retargeted (output rate, smoothed, floor at zero).
        clipped: (T,) number of joints that stopped at a limit.
        scale: robot metres per human metre.
    """

    fps: float
    root_pos: Array
    root_rot: Array
    q: Array
    contact: np.ndarray
    joint_pos: Array
    joint_rot: Array
    strokes: list[HumanStroke]
    body: Body
    clipped: np.ndarray
    scale: float
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def root_quat(self) -> Array:
        """(T, 4) root orientation, w x y z, continuous."""
        return continuous(quat_from_matrix(self.root_rot))

    def motion(self, name: str, provenance: dict[str, Any]) -> RobotMotion:
        """The motion as it is written to a file."""
        strokes = tuple(
            Stroke(s.kind, s.hand, s.start / self.fps, s.strike / self.fps, s.end / self.fps) for s in self.strokes
        )
        return RobotMotion(
            name,
            self.fps,
            JOINT_NAMES,
            self.root_pos,
            self.root_quat,
            self.q,
            self.contact,
            strokes,
            {**provenance, **self.notes},
        )


@cache
def default_robot() -> RobotModel:
    """The G1 with its racket, built once. Treat it as read-only."""
    return RobotModel.g1()


def retarget(body: Body, robot: RobotModel, config: RetargetConfig | None = None, hand: str | None = None) -> Retargeted:
    """Retarget a clean human body to the robot.

    Args:
        body: the human in metres, z up, any rate; glitches already repaired.
        robot: the robot.
        config: rates, bandwidths and switches.
        hand: the racket hand for stroke finding; found when not given.

    Returns:
        The motion at `config.fps`, floor at z = 0, in the human's horizontal frame scaled by the leg ratio.
    """
    config = config or RetargetConfig()
    body = prepare(body, config)
    footing = find_footing(body)
    body = replace(body, points=body.points - np.array([0.0, 0.0, footing.floor]))
    scale = robot.leg_m / body.leg_m
    tree = robot.tree
    frames = body.frames
    q = np.zeros((frames, len(tree.joint_names)))

    root_rot, q[:, robot.waist] = _trunk(body, robot, config)
    root_pos = _root_path(body, robot, root_rot, scale)
    legs = _Legs(robot, config, footing, body, scale)
    root_pos = legs.solve(root_pos, root_rot, q)

    torso = _torso_rotation(robot, root_rot, q)
    for n, side in enumerate(SIDES):
        q[:, robot.arms[n].columns] = _arm(body, side, robot.arms[n], torso, config.fps)

    strokes = find_strokes(body, hand)
    if config.aim_racket:
        aim_racket(robot, config, q, root_pos, root_rot, strokes)
        pos, rot = tree.forward(root_pos, root_rot, q)
        strokes = refine_strikes(robot, pos, rot, strokes, config.fps, config.shot_yaw)
        aim_racket(robot, config, q, root_pos, root_rot, strokes)
    if config.balance > 0.0:
        shift = _balance_shift(robot, config, legs, root_pos, root_rot, q)
        root_pos = legs.solve(root_pos + shift, root_rot, q)
    pos, rot = tree.forward(root_pos, root_rot, q)
    contact = _held(robot, legs, pos, rot)
    at_limit = (q <= tree.lower + 1e-6) | (q >= tree.upper - 1e-6)
    return Retargeted(
        config.fps, root_pos, root_rot, q, contact, pos, rot, strokes, body, at_limit.sum(axis=1), scale
    )


def _held(robot: RobotModel, legs: _Legs, pos: Array, rot: Array) -> np.ndarray:
    """Contacts (T, 2) that a foot of the robot really keeps: in place within 5 mm, flat within 0.03 rad, at rest.

    Feet are held one frame longer than they are said to stand, so that a foot never moves while it is said to stand.
    """
    assert legs.sole is not None
    contact = legs.footing.contact.copy()
    for n in range(2):
        place, attitude = robot.tree.place(robot.soles[n], pos, rot)
        tilted = attitude[:, 2, 2] < np.cos(0.03)
        step = np.linalg.norm(np.diff(place, axis=0, prepend=place[:1]), axis=1)
        moving = np.maximum(step, np.append(step[1:], 0.0)) > 0.002
        off = (np.abs(place[:, 2]) > 0.005) | tilted | moving
        contact[:, n] &= ~off
        contact[:, n] = close_gaps(contact[:, n], gap=1, shortest=3)
    return contact


def prepare(body: Body, config: RetargetConfig) -> Body:
    """Smooth and resample to the output rate: arms at their own, wider bandwidth."""
    points = body.points
    arm = [i for i, n in enumerate(body.names) if n.split("_")[-1] in ("elbow", "wrist", "hand")]
    rest = [i for i in range(len(body.names)) if i not in arm]
    out = np.empty_like(points)
    out[:, arm] = low_pass(points[:, arm], body.fps, config.arm_cutoff_hz)
    out[:, rest] = low_pass(points[:, rest], body.fps, config.cutoff_hz)
    return replace(body, points=resample_cubic(out, body.fps, config.fps), fps=config.fps)


def _soft_clip(x: Array, limit: float) -> Array:
    """Identity up to 0.7 of the limit, then bending smoothly toward it."""
    knee = 0.7 * limit
    over = np.abs(x) - knee
    return np.where(over > 0.0, np.sign(x) * (knee + (limit - knee) * np.tanh(over / (limit - knee))), x)


def _trunk(body: Body, robot: RobotModel, config: RetargetConfig) -> tuple[Array, Array]:
    """Root rotation (T, 3, 3) and waist yaw, roll, pitch (T, 3)."""
    hips = 0.5 * (body["left_hip"] + body["right_hip"])
    pelvis = frame_from(body["spine"] - hips, body["left_hip"] - body["right_hip"], "zy")
    torso = frame_from(body["neck"] - body["chest"], body["left_shoulder"] - body["right_shoulder"], "zy")
    rel = np.swapaxes(pelvis, 1, 2) @ torso
    roll = np.arcsin(np.clip(rel[:, 2, 1], -1.0, 1.0))
    pitch = np.arctan2(-rel[:, 2, 0], rel[:, 2, 2])
    yaw = np.arctan2(-rel[:, 0, 1], rel[:, 1, 1])
    tree = robot.tree
    limit = [min(-tree.lower[i], tree.upper[i]) * 0.97 for i in robot.waist]
    angles = np.stack([_soft_clip(a, m) for a, m in zip((yaw, roll, pitch), limit, strict=True)], axis=1)
    waist = axis_matrix("Z", angles[:, 0]) @ axis_matrix("X", angles[:, 1]) @ axis_matrix("Y", angles[:, 2])
    # The chest carries the arms: its orientation is kept, and the pelvis takes what the waist cannot.
    return torso @ np.swapaxes(waist, 1, 2), angles


def _root_path(body: Body, robot: RobotModel, root_rot: Array, scale: float) -> Array:
    """Root position (T, 3): the middle between the hips follows the human's, scaled."""
    hips = 0.5 * (body["left_hip"] + body["right_hip"])
    ankles = min(float(np.percentile(body[f"{s}_ankle"][:, 2], 10)) for s in SIDES)
    middle = hips * scale
    middle[:, 2] = (hips[:, 2] - ankles) * scale + robot.sole_to_ankle(0)
    return middle - root_rot @ np.array([0.0, 0.0, robot.hip_height_m])


def _torso_rotation(robot: RobotModel, root_rot: Array, q: Array) -> Array:
    r = root_rot
    for i in robot.waist:
        j = i + 1
        r, _ = robot.tree.step(j, r, np.zeros(3), q[:, i])
    return r


class _Legs:
    """Foot targets of one clip, and the legs' solution for a given root."""

    def __init__(
        self, robot: RobotModel, config: RetargetConfig, footing: Footing, body: Body, scale: float
    ) -> None:
        self.robot, self.config, self.footing, self.body, self.scale = robot, config, footing, body, scale
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
            if attempt == attempts - 1 or np.abs(error[contact]).max(initial=0.0) < 1e-3:
                break
            # What both standing feet miss alike, the root makes up for; it takes the root nearer to the feet.
            share = np.where(contact[..., None], error, 0.0).sum(axis=1) / np.maximum(contact.sum(axis=1), 1)[:, None]
            wished = root_pos - low_pass(np.clip(share, -0.04, 0.04), self.config.fps, 3.0)
            wished = start + np.clip(wished - start, -ROOT_SHIFT_M, ROOT_SHIFT_M)
            wished[:, 2] = start[:, 2]
            shift, root_pos = wished - root_pos, wished
            if refine:
                # Where a standing foot still could not be reached flat, its place and heading are moved by what is left.
                self._move_stances(error + shift[:, None], turned)
        self.lift = np.zeros((len(q), 2))
        for _ in range(3):
            self._inverse(lowered, root_rot, q, settle=True)
            sunk = self._sunk(lowered, root_rot, q)
            if sunk.max() < 0.003:
                break
            # A swinging foot that is tilted more than wished dips its edge: it is raised by as much.
            for n in range(2):
                self.lift[:, n] += 1.2 * _envelope(sunk[:, n], self.config.fps, 0.04)
            self.lift[contact] = 0.0
        return lowered

    def _sunk(self, root_pos: Array, root_rot: Array, q: Array) -> Array:
        """How deep the lowest edge of each swinging sole is under the ground (T, 2) [m]."""
        a, b = self.robot.foot_half_m
        corners = np.array([[x, y, 0.0] for x in (-a, a) for y in (-b, b)])
        out = np.zeros((len(q), 2))
        for n in range(2):
            chain = self.robot.legs[n]
            _, _, place, attitude = chain.forward(root_rot, root_pos, q[:, chain.columns])
            low = place[:, 2] + (attitude[:, 2] @ corners.T).min(axis=1)
            out[:, n] = np.where(self.footing.contact[:, n], 0.0, np.maximum(-low, 0.0))
        return out

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
        return lock_feet(raw, heading, self.footing.contact, self.config.fps, clearance_m=self.config.clearance_m)

    def _move_stances(self, error: Array, turned: Array) -> None:
        """Move each stance by its largest leftover, and the swings beside it with it."""
        assert self.sole is not None and self.heading is not None
        moved, heading = self.sole.copy(), self.heading.copy()
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
            hip = root_pos + root_rot @ np.array([0.0, robot.hip_half_width_m * (1 - 2 * n), robot.hip_height_m])
            ankle = self.sole[:, n] + np.array([0.0, 0.0, robot.sole_to_ankle(n)])
            flat = np.linalg.norm(hip[:, :2] - ankle[:, :2], axis=1)
            highest = ankle[:, 2] + np.sqrt(np.maximum(reach**2 - flat**2, (0.3 * reach) ** 2))
            drop = np.maximum(drop, np.where(self.footing.contact[:, n], hip[:, 2] - highest, 0.0))
        drop = _envelope(np.minimum(drop, ROOT_DROP_M), self.config.fps)
        out = root_pos.copy()
        out[:, 2] -= drop
        return out

    def _inverse(
        self, root_pos: Array, root_rot: Array, q: Array, settle: bool = False
    ) -> tuple[Array, Array]:
        """Solve both legs; returns the soles' position error (T, 2, 3) [m] and heading error (T, 2) [rad]."""
        robot = self.robot
        assert self.sole is not None and self.heading is not None
        error = np.zeros((len(q), 2, 3))
        turned = np.zeros((len(q), 2))
        for n in range(2):
            chain = robot.legs[n]
            target_rot = axis_matrix("Z", self.heading[:, n])
            stance = self.footing.contact[:, n]
            pitch = np.where(stance, 0.0, np.clip(self.footing.pitch[:, n], -0.2, 0.7))
            lift = self.sole[:, n, 2]
            # Tilted feet only where the sole is high enough for its tip to stay off the ground.
            room = np.arcsin(np.clip(lift / 0.13, 0.0, 0.9))
            pitch = np.clip(pitch, -room, room)
            pitch = np.where(stance, 0.0, low_pass(pitch, self.config.fps, 6.0))
            target_rot = target_rot @ axis_matrix("Y", pitch)
            ankle_height = robot.sole_to_ankle(n)
            ankle = self.sole[:, n] + np.array([0.0, 0.0, ankle_height])
            # A swinging foot that is out of reach is drawn in; a standing one draws the root down.
            hip = root_pos + root_rot @ np.array([0.0, robot.hip_half_width_m * (1 - 2 * n), robot.hip_height_m])
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
            # Flat comes first in stance, place second, heading last: a knee that leans out turns the toes out.
            weight = np.where(stance[:, None], [3.0, 3.0, 0.15], [0.1, 0.1, 0.05])
            calm = np.zeros((len(q), 6))
            calm[~stance, 2] = 0.05
            solution = _solve_pose(chain, root_rot, root_pos, guess, target, target_rot, weight, calm, np.zeros(6))
            if settle:
                # Where a swinging leg is pressed against its limits the solution jumps: there it keeps to its smooth path.
                speed = np.abs(velocity(solution, self.config.fps)).max(axis=1)
                fast = low_pass(_spread(np.clip(speed / 10.0 - 0.8, 0.0, 1.0), 4), self.config.fps, 6.0).clip(0.0, 1.0)
                fast[stance] = 0.0
                if fast.any():
                    prior = np.clip(low_pass(solution, self.config.fps, 3.0), chain.lower, chain.upper)
                    some = np.flatnonzero(fast > 0.0)
                    solution[some] = _solve_pose(
                        chain,
                        root_rot[some],
                        root_pos[some],
                        prior[some],
                        target[some],
                        target_rot[some],
                        weight[some],
                        np.repeat(0.5 * fast[some, None], 6, axis=1),
                        prior[some],
                    )
            self.guess[n] = solution
            q[:, chain.columns] = solution
            _, _, reached, reached_rot = chain.forward(root_rot, root_pos, solution)
            error[:, n] = reached - target
            turned[:, n] = wrap(np.arctan2(reached_rot[:, 1, 0], reached_rot[:, 0, 0]) - self.heading[:, n])
        return error, turned


def leg_start(robot: RobotModel, n: int, root_pos: Array, root_rot: Array, ankle: Array, foot_rot: Array) -> Array:
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
        [lean - 0.5 * knee * np.cos(yaw), side + 0.5 * knee * np.sin(yaw), yaw, knee, -lean - 0.5 * knee, -side],
        axis=1,
    )
    chain = robot.legs[n]
    return np.clip(start, chain.lower + 0.02, chain.upper - 0.02)


def solve_legs(
    robot: RobotModel, root_pos: Array, root_rot: Array, soles: Array, heading: Array, q: Array
) -> Array:
    """Write into `q` (T, n) the leg angles that put flat soles where they are wished; returns the error (T, 2) [m].

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
        q[:, chain.columns] = _solve_pose(
            chain, root_rot, root_pos, start, soles[:, n], target_rot, weight, still, np.zeros(6), 20
        )
        reached = chain.forward(root_rot, root_pos, q[:, chain.columns])[2]
        error[:, n] = np.linalg.norm(reached - soles[:, n], axis=1)
    return error


def _envelope(drop: Array, fps: float, half_s: float = 0.12) -> Array:
    """A smooth curve above `drop` (T,): running maximum, then running mean over the same window of ±`half_s`."""
    half = max(1, round(half_s * fps))
    padded = np.pad(drop, half, mode="edge")
    top = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).max(axis=1)
    kernel = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(top, half, mode="edge"), kernel / kernel.sum(), mode="valid")


def _solve_pose(
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
    """Gauss-Newton to a tip pose with joint limits as an active set; frames that have converged are left alone.

    Args:
        chain: six joints.
        base_rot, base_pos: (T, 3, 3), (T, 3) pose of the chain's base.
        q: (T, 6) start.
        target, target_rot: (T, 3), (T, 3, 3) wished tip pose.
        rotation_weight: (T, 3) metres per radian about the world axes: how much of the position is given up for orientation
            at a limit.
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
        stuck = ((now <= chain.lower + 1e-9) & (gradient > 0.0)) | ((now >= chain.upper - 1e-9) & (gradient < 0.0))
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


def _arm(body: Body, side: str, chain: Chain, torso: Array, fps: float) -> Array:
    """Shoulder pitch, roll, yaw and elbow (T, 4) that point upper arm and forearm as the human's."""
    upper = normalize(body[f"{side}_elbow"] - body[f"{side}_shoulder"], (0.0, 0.0, -1.0))
    fore = normalize(body[f"{side}_wrist"] - body[f"{side}_elbow"])
    u = (np.swapaxes(torso, 1, 2) @ upper[..., None])[..., 0]
    f = (np.swapaxes(torso, 1, 2) @ fore[..., None])[..., 0]
    start = _arm_start(u, f, chain, fps)
    # The start is the prior too: it holds the angles that the directions leave open (a straight or a sideways arm).
    q = _point_arm(chain, u, f, start, start, np.full((len(u), 1), 0.05), 4)
    top = 0.5 * np.minimum(chain.tree.velocity[chain.columns], 30.0)
    for strength in (0.3, 0.6):
        # Near those poses shoulder pitch and yaw turn against each other fast; there the path through the joints counts for
        # more than the directions.
        speed = np.abs(velocity(q, fps) / top).max(axis=1)
        fast = np.clip(_spread(speed, round(0.16 * fps)) - 0.8, 0.0, 1.0)
        if not fast.any():
            break
        weight = 0.05 + strength * low_pass(fast, fps, 5.0).clip(0.0, 1.0)[:, None]
        calm = np.clip(low_pass(q, fps, 2.5), chain.lower, chain.upper)
        q = _point_arm(chain, u, f, q, calm, weight, 3)
    # Limits leave corners in time; they are rounded, inside the limits.
    return np.clip(low_pass(q, fps, 8.0), chain.lower, chain.upper)


def _spread(x: Array, half: int) -> Array:
    """Running maximum over 2·half+1 frames (T,)."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(x, half, mode="edge"), 2 * half + 1).max(axis=1)


def _point_arm(chain: Chain, u: Array, f: Array, q: Array, prior: Array, weight: Array, iterations: int) -> Array:
    """Gauss-Newton on the directions of upper arm `u` and forearm `f` (T, 3), held to `prior` (T, 4) by `weight` (T, 1)."""
    base = np.eye(3)[None]
    for _ in range(iterations):
        positions, rotations, wrist, _ = chain.forward(base, np.zeros((len(q), 3)), q)
        shoulder, elbow = positions[1], positions[3]
        arm, forearm = elbow - shoulder, wrist - elbow
        la, lf = np.linalg.norm(arm[0]), np.linalg.norm(forearm[0])
        residual = np.concatenate([arm / la - u, forearm / lf - f, weight * (q - prior)], axis=1)
        jacobian = np.zeros((len(q), 10, 4))
        for k, (axis, p) in enumerate(zip(chain.axes(rotations), positions, strict=True)):
            if k < 3:
                jacobian[:, 0:3, k] = np.cross(axis, elbow - (p if k == 2 else shoulder)) / la
            jacobian[:, 3:6, k] = np.cross(axis, forearm) / lf
            jacobian[:, 6 + k, k] = weight[:, 0]
        gradient = (np.swapaxes(jacobian, 1, 2) @ residual[..., None])[..., 0]
        stuck = ((q <= chain.lower) & (gradient > 0.0)) | ((q >= chain.upper) & (gradient < 0.0))
        jacobian *= ~stuck[:, None, :]
        step = np.clip(solve_damped(jacobian, residual, 1e-6), -0.5, 0.5)
        q = np.clip(q + step, chain.lower, chain.upper)
    return q


def _arm_start(u: Array, f: Array, chain: Chain, fps: float) -> Array:
    """Closed form for an upper arm hanging along -z and a forearm along +x at zero angles, branches joined in time."""
    roll = np.arcsin(np.clip(u[:, 1], -1.0, 1.0))
    pitch = np.arctan2(-u[:, 0], -u[:, 2])
    # Pitch means nothing for an arm that points sideways: there it is carried over from its neighbours.
    sure = np.clip(np.cos(roll) ** 2 * 1.5, 1e-3, 1.0)
    pitch = _carry(_into(np.unwrap(pitch), chain.lower[0], chain.upper[0], sure), sure, fps)
    r = axis_matrix("Y", pitch) @ axis_matrix("X", roll)
    local = (np.swapaxes(r, 1, 2) @ f[..., None])[..., 0]
    elbow = np.arcsin(np.clip(-local[:, 2], -1.0, 1.0))
    yaw = np.unwrap(np.arctan2(local[:, 1], local[:, 0]))
    sure = np.clip(np.cos(elbow) ** 2 * 3.0, 1e-3, 1.0)
    yaw = _carry(_into(yaw, chain.lower[2], chain.upper[2], sure), sure, fps)
    return np.clip(np.stack([pitch, roll, yaw, elbow], axis=1), chain.lower + 1e-3, chain.upper - 1e-3)


def _into(angle: Array, lower: float, upper: float, weight: Array) -> Array:
    """An unwrapped angle, shifted by whole turns so that most of its weight is inside the limits."""
    best, cost = angle, np.inf
    for turns in range(-2, 3):
        moved = angle + 2.0 * np.pi * turns
        outside = np.maximum(lower - moved, 0.0) + np.maximum(moved - upper, 0.0)
        total = float((weight * outside).sum() + 1e-6 * np.abs(moved).sum())
        if total < cost:
            best, cost = moved, total
    # An arm that circles would leave the range for good: there, frame by frame.
    outside = (best < lower - 0.3) | (best > upper + 0.3)
    middle = 0.5 * (lower + upper)
    return np.where(outside, middle + np.arctan2(np.sin(best - middle), np.cos(best - middle)), best)


def _carry(angle: Array, weight: Array, fps: float) -> Array:
    """Weighted running mean where the weight is small, the angle itself where it is 1."""
    half = max(1, round(0.12 * fps))
    kernel = np.hanning(2 * half + 3)[1:-1]

    def smooth(x: Array) -> Array:
        return np.convolve(np.pad(x, half, mode="edge"), kernel, mode="valid")

    mean = smooth(angle * weight) / np.maximum(smooth(weight), 1e-9)
    return weight * angle + (1.0 - weight) * mean


def _balance_shift(
    robot: RobotModel, config: RetargetConfig, legs: _Legs, root_pos: Array, root_rot: Array, q: Array
) -> Array:
    """Horizontal root shift (T, 3) that brings the zero-moment point over the feet, smooth in time.

    The zero-moment point of a mass at the centre of mass: p = c - c̈ z / (g + z̈). Legs are light compared with what they carry,
    so that shifting the root shifts the centre of mass by nearly as much.
    """
    tree = robot.tree
    pos, rot = tree.forward(root_pos, root_rot, q)
    com = low_pass(tree.com(pos, rot), config.fps, 2.0)
    acc = velocity(velocity(com, config.fps), config.fps)
    zmp = com[:, :2] - acc[:, :2] * (com[:, 2] / np.maximum(GRAVITY + acc[:, 2], 0.3 * GRAVITY))[:, None]
    feet = np.stack([tree.place(s, pos, rot)[0][:, :2] for s in robot.soles], axis=1)
    assert legs.heading is not None
    half = tuple(max(h - config.support_margin_m, 0.005) for h in robot.foot_half_m)
    shift = support_offset(zmp, feet, legs.heading, legs.footing.contact, (half[0], half[1]))
    shift = np.clip(shift, -0.08, 0.08)
    out = np.zeros_like(root_pos)
    out[:, :2] = config.balance * low_pass(shift, config.fps, 1.2)
    return out
