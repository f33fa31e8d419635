"""The robot as a Pinocchio model, built from the same joint table as the MuJoCo model.

Configuration ``q`` has shape (36,): root position (3), root quaternion x, y, z, w (Pinocchio's order), then
29 joint angles in the joint table's order. Velocity ``v`` has shape (35,): root linear and angular velocity
in the root frame, then joint velocities.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pinocchio as pin

from humanoid import racket as racket_module
from humanoid.bodies import FEET, SOLE_HEIGHT
from humanoid.joints import JOINTS, LOWER, PELVIS, UPPER, VELOCITY_LIMIT
from humanoid.racket import RACKET, Racket

_JOINT_MODELS = {"x": pin.JointModelRX, "y": pin.JointModelRY, "z": pin.JointModelRZ}


def build_pinocchio(racket: Racket | None = RACKET) -> pin.Model:
    """Pinocchio model of the robot with a free-flyer root.

    Pinocchio keeps siblings in the order they are added, so joint ``i`` of the table is Pinocchio joint
    ``i + 2``; a test holds this. Operational frames: one a link, ``racket`` (see :mod:`humanoid.racket`),
    ``left_foot`` and ``right_foot`` at the centre of the sole.

    Args:
        racket: mass properties, or None for empty hands.
    """
    model = pin.Model()
    model.name = "g1_29dof"
    root = model.addJoint(0, pin.JointModelFreeFlyer(), pin.SE3.Identity(), "root")
    model.appendBodyToJoint(root, _inertia(PELVIS), pin.SE3.Identity())
    _add_frame(model, PELVIS.link, root, pin.SE3.Identity())
    ids = {PELVIS.link: root}
    for joint in JOINTS:
        index = model.addJoint(
            ids[joint.parent], _JOINT_MODELS[joint.axis](), _se3(joint.pos, joint.quat), joint.name
        )
        model.appendBodyToJoint(index, _inertia(joint), pin.SE3.Identity())
        _add_frame(model, joint.link, index, pin.SE3.Identity())
        ids[joint.link] = index
    if racket is not None:
        placement = _se3(racket.position, racket_module.QUAT)
        inertia = pin.Inertia(racket.mass, racket.com, np.diag(racket.inertia))
        model.appendBodyToJoint(ids[racket_module.LINK], inertia, placement)
        _add_frame(model, racket_module.SITE, ids[racket_module.LINK], placement)
    for side, link in zip(("left", "right"), FEET, strict=True):
        sole = pin.SE3(np.eye(3), np.array([0.0375, 0.0, -SOLE_HEIGHT]))
        _add_frame(model, f"{side}_foot", ids[link], sole)
    model.lowerPositionLimit = np.concatenate([np.full(7, -np.inf), LOWER])
    model.upperPositionLimit = np.concatenate([np.full(7, np.inf), UPPER])
    model.velocityLimit = np.concatenate([np.full(6, np.inf), VELOCITY_LIMIT])
    model.armature = np.concatenate([np.zeros(6), [joint.armature for joint in JOINTS]])
    return model


@cache
def default_pinocchio() -> pin.Model:
    """The model with the standard racket, built once. Treat it as read-only."""
    return build_pinocchio()


def to_pinocchio(root_pos: np.ndarray, root_quat: np.ndarray, joint_pos: np.ndarray) -> np.ndarray:
    """Configuration from this project's parts (quaternion w, x, y, z); any leading shape, last (36,)."""
    return np.concatenate([root_pos, root_quat[..., [1, 2, 3, 0]], joint_pos], axis=-1)


def from_pinocchio(q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inverse of :func:`to_pinocchio`."""
    return q[..., :3], q[..., [6, 3, 4, 5]], q[..., 7:]


def _add_frame(model: pin.Model, name: str, joint: int, placement: pin.SE3) -> None:
    model.addFrame(pin.Frame(name, joint, 0, placement, pin.FrameType.OP_FRAME))


def _se3(pos, quat) -> pin.SE3:
    w, x, y, z = np.asarray(quat) / np.linalg.norm(quat)
    return pin.SE3(pin.Quaternion(w, x, y, z).toRotationMatrix(), np.asarray(pos, dtype=float))


def _inertia(facts) -> pin.Inertia:
    rotation = _se3((0, 0, 0), facts.inertia_quat).rotation
    return pin.Inertia(facts.mass, np.asarray(facts.com), rotation @ np.diag(facts.inertia) @ rotation.T)
