"""Read npz files of the G1's motion: arrays of joint angles with names, a root pose, a rate.

Known keys: joint_pos, dof_positions, dof_pos … with joint_names or dof_names; root_pos and root_quat (or
root_rot), or body_pos_w and body_quat_w with the pelvis among them; MuJoCo's qpos; fps or dt. This project's
own motions are read too. Pickles (.pkl, object arrays) are not: they can run code.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from humanoid.motion import FORMAT
from mocap.clip import Clip, ClipFormatError, clip_name, read_bytes
from mocap.g1_files import RawMotion, to_clip, whole_rate
from mocap.npz import array_names, load_arrays, scalar, text
from mocap.overrides import Overrides
from mocap.rotations import Array

_ANGLES = ("joint_pos", "dof_pos", "dof_positions", "joint_positions", "joint_angles", "dof", "dofs", "q")
_NAMES = ("joint_names", "dof_names", "joints", "joint_order")
_ROOT_POS = ("root_pos", "root_position", "root_trans", "root_trans_offset", "root_translation", "base_pos")
_ROOT_QUAT = ("root_quat", "root_rot", "root_rotation", "root_orientation", "base_quat", "base_rot")
_BODY_POS = ("body_pos_w", "body_positions")
_BODY_QUAT = ("body_quat_w", "body_rotations")
_FPS = ("fps", "frequency", "frame_rate", "framerate", "mocap_framerate", "mocap_frame_rate")
_WANTED = (
    *_ANGLES,
    *_NAMES,
    *_ROOT_POS,
    *_ROOT_QUAT,
    *_BODY_POS,
    *_BODY_QUAT,
    *_FPS,
    "qpos",
    "body_names",
    "dt",
)


def read_g1_npz(path: str | Path, overrides: Overrides | None = None) -> Clip:
    """Read an npz of the robot's root pose and joints; see `parse_g1_npz`."""
    path = Path(path)
    return parse_g1_npz(read_bytes(path), str(path), overrides or Overrides(), clip_name(path))


def looks_like_npz(names: tuple[str, ...]) -> bool:
    """Whether arrays of these names are a motion of the robot."""
    has = set(names)
    angles = has & {*_ANGLES, "qpos"}
    root = has & {*_ROOT_POS, *_BODY_POS, "qpos"}
    return bool(angles and root)


def parse_g1_npz(
    data: bytes, source: str, overrides: Overrides | None = None, name: str | None = None
) -> Clip:
    """Parse the bytes of an npz file of the robot's motion. Arguments and errors as in `mocap.g1_csv.parse_g1_csv`."""
    overrides = overrides or Overrides()
    names = array_names(data, source)
    if "header" in names and "joint_pos" in names:
        raw = _own_motion(data, source)
        return to_clip(raw, source, overrides, name, FORMAT)
    arrays = load_arrays(data, source, _WANTED)

    def first(keys: tuple[str, ...]) -> tuple[str, np.ndarray] | tuple[str, None]:
        return next(((k, arrays[k]) for k in keys if k in arrays), ("", None))

    labels = text(first(_NAMES)[1])
    angles, place, quat = (_table(arrays, first(k)[0], source) for k in (_ANGLES, _ROOT_POS, _ROOT_QUAT))
    qpos = _table(arrays, "qpos", source)
    order = ""
    if angles is None and qpos is not None:
        # MuJoCo's qpos: position, quaternion w x y z, joints.
        if qpos.shape[1] < 8:
            raise ClipFormatError(
                f"{source}: qpos has {qpos.shape[1]} columns, too few for a root and joints"
            )
        place, quat, angles, order = qpos[:, :3], qpos[:, 3:7], qpos[:, 7:], "wxyz"
        labels = labels[-angles.shape[1] :] if len(labels) > angles.shape[1] else labels
    bodies = _bodies(arrays, _BODY_POS, 3)
    if bodies is not None:
        links = text(arrays.get("body_names"))
        pelvis = links.index("pelvis") if "pelvis" in links[: bodies.shape[1]] else 0
        turns = _bodies(arrays, _BODY_QUAT, 4)
        place = bodies[:, pelvis] if place is None else place
        if quat is None and turns is not None and turns.shape[1] > pelvis:
            quat = turns[:, pelvis]
    frames = -1 if angles is None else len(angles)
    parts = {"joint angles": (angles, 1), "root position": (place, 3), "root quaternion": (quat, 4)}
    for what, (value, width) in parts.items():
        if value is None or value.shape[1] < width or len(value) != frames:
            shape = "is missing" if value is None else f"has shape {value.shape}"
            raise ClipFormatError(
                f"{source}: {what} {shape}; arrays there are {', '.join(names[:12])}. "
                f"Save it with joint_pos (T, n), joint_names, root_pos (T, 3), root_quat (T, 4), fps"
            )
    assert angles is not None
    assert place is not None
    assert quat is not None
    if labels and len(labels) != angles.shape[1]:
        raise ClipFormatError(f"{source}: {len(labels)} joint names for {angles.shape[1]} columns of angles")
    rate, step = scalar(first(_FPS)[1]), scalar(arrays.get("dt"))
    if rate is None and step and step > 0.0:
        rate = whole_rate(1.0 / step)
    raw = RawMotion(angles, place[:, :3], labels, quat[:, :4], None, order, rate, bodies)
    return to_clip(raw, source, overrides, name, "g1-npz")


def _bodies(arrays: dict[str, np.ndarray], keys: tuple[str, ...], width: int) -> Array | None:
    """An array (T, bodies, width) of numbers, or None."""
    value = next((arrays[k] for k in keys if k in arrays), None)
    if value is None or value.dtype.kind not in "fiu" or value.ndim != 3 or 0 in value.shape:
        return None
    return value.astype(float) if value.shape[2] == width else None


def _table(arrays: dict[str, np.ndarray], key: str, source: str) -> Array | None:
    """A (T, n) array of numbers, or None if it is not there."""
    value = arrays.get(key)
    if value is None:
        return None
    if value.dtype.kind not in "fiu" or value.ndim < 1:
        raise ClipFormatError(f"{source}: array {key} holds {value.dtype}, not a table of numbers")
    if value.ndim != 2:
        # (T, n, 1) as some savers have it; an empty array says that there are no frames.
        value = value.reshape(len(value), -1) if value.size else np.zeros((0, 8))
    return value.astype(float)


def _own_motion(data: bytes, source: str) -> RawMotion:
    """This project's own motion files."""
    arrays = load_arrays(data, source, ("header", "root_pos", "root_quat", "joint_pos"))
    try:
        header = json.loads(bytes(arrays["header"]).decode())
        names = tuple(map(str, header["joint_names"]))
        fps = float(header["fps"])
        tables = [arrays[k].astype(float) for k in ("joint_pos", "root_pos", "root_quat")]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as e:
        raise ClipFormatError(
            f"{source}: damaged motion file ({type(e).__name__}: {str(e)[:100]}); get it again"
        ) from None
    joints, place, quat = tables
    frames = len(joints)
    if (joints.shape, place.shape, quat.shape) != ((frames, len(names)), (frames, 3), (frames, 4)):
        raise ClipFormatError(f"{source}: the shapes of its arrays do not fit; get it again")
    return RawMotion(joints, place, names, quat, None, "wxyz", fps)
