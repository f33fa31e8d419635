"""The robot as the retargeter sees it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pinocchio as pin

from humanoid.bodies import FOOT_CORNERS
from humanoid.joints import EFFORT_LIMIT, READY_JOINT_POS
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.racket import SITE
from mocap.kinematics import Chain, Frame, Tree
from mocap.rotations import Array
from mocap.skeleton import SIDES

# Hip rotation of a person is about ±45°; a margin is left for poses that the robot's geometry turns further.
HIP_YAW_RAD = 1.3


@dataclass
class RobotModel:
    """The robot as the retargeter sees it: the kinematic tree, four limbs, soles and racket.

    Attributes:
        tree: kinematics. legs, arms: left and right chains. soles, racket: frames.
        hips: joints whose distance to the knees is the thigh. leg_m: hip to ankle [m].
        hip_height_m, hip_half_width_m: hips over and beside the root [m].
        waist: columns of yaw, roll, pitch. foot_half_m: half length and width of the sole [m].
        acceleration: (n,) limits [rad/s²], see `_accelerations`.
    """

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
    acceleration: Array

    @staticmethod
    def build(
        model: Any, *, sole_names: tuple[str, str], racket_name: str, foot_half_m: tuple[float, float]
    ) -> RobotModel:
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
            wrist = (
                tree.positions[tree.index(f"{side}_wrist_roll_joint")]
                + tree.positions[tree.index(f"{side}_wrist_pitch_joint")]
            )
            arms.append(Chain(tree, tuple(f"{side}_{p}_joint" for p in arm), Frame(elbow, wrist, np.eye(3))))
            # A hip that turns further than a person's is a solution gone astray.
            legs[-1].lower[2] = max(legs[-1].lower[2], -HIP_YAW_RAD)
            legs[-1].upper[2] = min(legs[-1].upper[2], HIP_YAW_RAD)
            hips.append(tree.index(f"{side}_hip_roll_joint"))
        zero = tree.forward(np.zeros((1, 3)), np.eye(3)[None], np.zeros((1, len(tree.joint_names))))[0][0]
        thigh = np.linalg.norm(zero[tree.index("left_knee_joint")] - zero[hips[0]])
        shank = np.linalg.norm(
            zero[tree.index("left_ankle_pitch_joint")] - zero[tree.index("left_knee_joint")]
        )
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
            acceleration=_accelerations(model),
        )

    @staticmethod
    def g1() -> RobotModel:
        """The G1 with its racket, from `humanoid.kinematics`; read the shared instance from
        `default_robot`.
        """
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


def _accelerations(model: Any) -> Array:
    """Acceleration limit (n,) [rad/s²] of each joint: what its motor's effort alone does to the robot in its ready
    pose with all other joints free to give way, τ (M⁻¹)ⱼⱼ, the rotors' inertia included.

    No source gives acceleration limits of this robot. Locked joints would halve to tenth it, motors that pull
    together go beyond it; the dynamics check looks at torques themselves.
    """
    pose = to_pinocchio(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]), READY_JOINT_POS)
    upper = np.triu(pin.crba(model, model.createData(), pose))
    inertia = upper + np.triu(upper, 1).T
    return EFFORT_LIMIT * np.diag(np.linalg.inv(inertia))[6:]


@cache
def default_robot() -> RobotModel:
    """The G1 with its racket, built once. Treat it as read-only."""
    return RobotModel.g1()
