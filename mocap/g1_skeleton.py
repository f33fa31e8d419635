"""The G1 as a clip: its 29 one-axis joints as a skeleton, so that files of joint angles are clips like others.

A joint of the clip sits at the origin of the link that the robot's joint moves and carries that joint's
rotation; points ending in "_end" are fixed to a link and stand for body points that are no joints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from humanoid.bodies import FOOT_CORNERS, SOLE_HEIGHT
from humanoid.joints import JOINT_NAMES, JOINTS, NUM_JOINTS, PELVIS
from humanoid.motion import RobotMotion
from mocap.clip import Clip, SkeletonError, check_size, make_clip
from mocap.contacts import find_footing
from mocap.rotations import Array, quat_product
from mocap.skeleton import to_body

_LINKS = {PELVIS.link: 0} | {joint.link: n + 1 for n, joint in enumerate(JOINTS)}

# Points on links [m]. Toes: the foot's front contact points. The others have no source: chosen on the torso's
# axis at shoulder height (chest), where the head begins (neck), and at its middle; the fist before the wrist.
_POINTS: tuple[tuple[str, str, tuple[float, float, float]], ...] = (
    ("chest_end", "torso_link", (0.0, 0.0, 0.20)),
    ("neck_end", "torso_link", (0.0, 0.0, 0.29)),
    ("head_end", "torso_link", (0.0, 0.0, 0.42)),
    ("left_hand_end", "left_wrist_yaw_link", (0.10, 0.0, 0.0)),
    ("right_hand_end", "right_wrist_yaw_link", (0.10, 0.0, 0.0)),
    ("left_toe_end", "left_ankle_roll_link", (FOOT_CORNERS[0][0], 0.0, -SOLE_HEIGHT)),
    ("right_toe_end", "right_ankle_roll_link", (FOOT_CORNERS[0][0], 0.0, -SOLE_HEIGHT)),
)

NAMES: tuple[str, ...] = (PELVIS.link, *JOINT_NAMES, *(name for name, _, _ in _POINTS))
"""Joint names of a clip on the G1's skeleton."""

_PARENTS = np.array([-1, *(_LINKS[j.parent] for j in JOINTS), *(_LINKS[link] for _, link, _ in _POINTS)])
_OFFSETS = np.array([(0.0, 0.0, 0.0), *(j.pos for j in JOINTS), *(at for _, _, at in _POINTS)], dtype=float)
_FIXED = np.array([j.quat for j in JOINTS]) / np.linalg.norm([j.quat for j in JOINTS], axis=1, keepdims=True)
_AXIS = np.array(["xyz".index(j.axis) for j in JOINTS])


def breadth_first() -> tuple[str, ...]:
    """The joint names level by level from the pelvis, siblings in the table's order: the order of simulators
    that number joints breadth first (Isaac Lab).
    """
    level, order = [PELVIS.link], []
    while level:
        children = [j for link in level for j in JOINTS if j.parent == link]
        order += [j.name for j in children]
        level = [j.link for j in children]
    return tuple(order)


def robot_clip(
    name: str,
    root_pos: Array,
    root_quat: Array,
    joint_pos: Array,
    fps: float,
    provenance: dict,
) -> Clip:
    """A clip on the G1's own skeleton.

    Args:
        name: the clip's name.
        root_pos: (T, 3) pelvis position [m], world z up.
        root_quat: (T, 4) pelvis orientation, w x y z.
        joint_pos: (T, 29) joint angles in the table's order [rad].
        fps: frames a second.
        provenance: where it came from.

    Raises:
        ClipDataError: not finite, no frames, no usable rate.
    """
    frames = len(root_pos)
    check_size(frames, len(NAMES), str(provenance.get("file", name)))
    rotations = np.zeros((frames, len(NAMES), 4))
    rotations[..., 0] = 1.0
    rotations[:, 0] = root_quat
    half = 0.5 * joint_pos
    turn = np.zeros((frames, NUM_JOINTS, 4))
    turn[..., 0] = np.cos(half)
    np.put_along_axis(
        turn, np.broadcast_to(_AXIS[:, None] + 1, (frames, NUM_JOINTS, 1)), np.sin(half)[..., None], 2
    )
    rotations[:, 1 : NUM_JOINTS + 1] = quat_product(_FIXED, turn)
    translations = np.tile(_OFFSETS, (frames, 1, 1))
    translations[:, 0] = root_pos
    clip = make_clip(name, NAMES, _PARENTS, _OFFSETS, rotations, translations, fps, provenance)
    return replace(clip, unit_m=1.0, up="z", forward="x", skeleton="g1")


def is_robot(clip: Clip) -> bool:
    """Whether a clip is on the G1's own skeleton, so that its joint angles can be taken as they are."""
    return clip.joint_names == NAMES


def joint_angles(clip: Clip) -> tuple[Array, Array, Array]:
    """The parts that `robot_clip` was made of: root position (T, 3) [m], root orientation (T, 4) w x y z, and
    joint angles (T, 29) [rad], continuous in time.

    Raises:
        SkeletonError: the clip is a person's.
    """
    if not is_robot(clip):
        raise SkeletonError(
            f"{clip.provenance.get('file', clip.name)}: not a clip of the robot's joints; retarget it"
        )
    inverse = _FIXED * np.array([1.0, -1.0, -1.0, -1.0])
    turn = quat_product(inverse, clip.rotations[:, 1 : NUM_JOINTS + 1])
    sine = np.take_along_axis(turn, np.broadcast_to(_AXIS[:, None] + 1, (*turn.shape[:2], 1)), 2)[..., 0]
    angles = 2.0 * np.arctan2(sine, turn[..., 0])
    first = np.arctan2(np.sin(angles[:1]), np.cos(angles[:1]))
    angles = np.unwrap(np.concatenate([first, angles[1:]]), axis=0)
    return clip.translations[:, 0].copy(), clip.rotations[:, 0].copy(), angles


def robot_motion(clip: Clip, fps: float | None = None) -> RobotMotion:
    """The motion of a clip that is the robot's already: nothing is retargeted, the angles are the file's.

    Args:
        clip: a clip on the G1's skeleton.
        fps: rate of the motion; the clip's own when not given.

    Raises:
        ClipError: the clip is a person's, or too short.
    """
    if fps is not None:
        clip = clip.resampled(fps)
    root_pos, root_quat, joint_pos = joint_angles(clip)
    contacts = find_footing(to_body(clip)).contact
    return RobotMotion(
        clip.name, clip.fps, JOINT_NAMES, root_pos, root_quat, joint_pos, contacts, (), dict(clip.provenance)
    )


def table_order(names: Iterable[str]) -> list[int | None]:
    """For each joint of the table, the index of the name that means it, or None.

    Names match without case, punctuation, a path before a dot, and a "joint", "dof" or "link" around them:
    "LeftHipPitch", "state.dof_pos.left_hip_pitch_joint" and "left_hip_pitch_joint_dof" are the same joint.
    """
    found: dict[str, int] = {}
    for n, name in enumerate(names):
        found.setdefault(_key(name), n)
    return [found.get(_key(joint)) for joint in JOINT_NAMES]


def _key(name: str) -> str:
    words = name.split(".")[-1].split("/")[-1].lower()
    plain = "".join(c for c in words if c.isalnum())
    for around in ("joint", "dof", "link", "pos"):
        plain = plain.removesuffix(around)
    for around in ("joint", "dof"):
        plain = plain.removeprefix(around)
    plain = plain.removesuffix("joint")
    return plain.removeprefix("k") if plain.startswith(("kleft", "kright", "kwaist")) else plain
