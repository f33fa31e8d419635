"""From the tables of a robot file to a clip: order of joints and quaternions, units and rate.

Joints with names go by their names. Joints without go by a known order only if the angles fit the robot's
limits (or the bodies' positions) in that order alone, or if their format has only one. The order of quaternions
is found by which of the two keeps the robot upright. What was found and what was assumed is noted in the clip.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from humanoid.joints import JOINT_NAMES, LOWER, NUM_JOINTS, UPPER
from mocap.clip import Clip, ClipDataError, ClipFormatError
from mocap.g1_skeleton import breadth_first, robot_clip, table_order
from mocap.overrides import Overrides
from mocap.rate import check_fps
from mocap.rotations import Array, axis_matrix, quat_from_matrix
from mocap.table import MAX_ABS

# Joints that the 23-joint G1 has locked.
_LOCKED = ("waist_roll", "waist_pitch", "wrist_pitch", "wrist_yaw")
# An angle outside the joint's range by more than this does not fit the robot [rad].
_OUTSIDE_RAD = 0.1


@dataclass
class RawMotion:
    """What a file holds before it is put in order.

    Attributes:
        joints: (T, n) as in the file; names: their names, () if it has none.
        root_pos: (T, 3); root_quat: (T, 4) in `quat_order`, "" if it is to be found; rpy: (T, 3) instead of it.
        bodies: (T, b, 3) world positions of bodies, to check the order of joints with.
        usual_fps, usual_quat, usual_joints: what is assumed where nothing tells; "" or None where nothing is.
        notes: what was found and assumed, for people.
    """

    joints: Array
    root_pos: Array
    names: tuple[str, ...] = ()
    root_quat: Array | None = None
    rpy: Array | None = None
    quat_order: str = ""
    fps: float | None = None
    bodies: Array | None = None
    usual_fps: float | None = None
    usual_quat: str = "wxyz"
    usual_joints: str = ""
    notes: list[str] = field(default_factory=list)


def to_clip(raw: RawMotion, source: str, overrides: Overrides, name: str | None, kind: str) -> Clip:
    """Put in order, check and turn into a clip."""
    notes = raw.notes
    if not len(raw.joints):
        raise ClipDataError(f"{source}: the clip has no frames; nothing to read")
    parts = [("joints", raw.joints), ("root position", raw.root_pos)]
    parts += [("root orientation", v) for v in (raw.root_quat, raw.rpy) if v is not None]
    for what, values in parts:
        with np.errstate(invalid="ignore"):
            bad = ~(np.abs(values) <= MAX_ABS)
        if bad.any():
            frame, column = np.argwhere(bad)[0]
            raise ClipDataError(
                f"{source}: {what}, frame {frame}, column {column} holds {values[frame, column]}; cut it out"
            )
    joints = _in_table_order(raw, source, overrides)
    joints, degrees = _radians(joints, overrides)
    place, unit = _metres(raw.root_pos, overrides)
    if degrees:
        notes.append("angles in degrees")
    if unit != 1.0:
        notes.append(f"root position in units of {unit:g} m")
    if raw.rpy is not None:
        turn = np.deg2rad(raw.rpy) if degrees else raw.rpy
        matrix = axis_matrix("Z", turn[:, 2]) @ axis_matrix("Y", turn[:, 1]) @ axis_matrix("X", turn[:, 0])
        quat = quat_from_matrix(matrix)
    else:
        assert raw.root_quat is not None
        told = overrides.quat_order or raw.quat_order
        order, sure = (told, True) if told else infer_quat_order(raw.root_quat, raw.usual_quat)
        notes.append(f"quaternion {order}" if sure else f"quaternion {order} assumed")
        quat = unit_quaternions(raw.root_quat, order, source)
    outside = _outside(joints)
    if outside > 0.02:
        notes.append(f"{100 * outside:.0f} % of joint angles outside the limits")
    fps = overrides.fps if overrides.fps is not None else raw.fps
    if fps is None and raw.usual_fps is None:
        raise ClipDataError(f"{source}: says no rate; add fps to the file, or set fps=…")
    if fps is None:
        fps = raw.usual_fps or 0.0
        notes.append(f"{fps:g} Hz assumed")
    provenance = {"file": Path(source).name, "format": kind, "fps_in": fps, "note": ", ".join(notes)}
    return robot_clip(name or Path(source).stem, place, quat, joints, check_fps(fps, source), provenance)


def whole_rate(fps: float) -> float:
    """A rate measured from rounded times: the whole number that it is within 0.1 % of, else itself."""
    return float(round(fps)) if np.isfinite(fps) and abs(fps - round(fps)) < 1e-3 * fps else fps


def _in_table_order(raw: RawMotion, source: str, overrides: Overrides) -> Array:
    """Joint angles (T, 29) in the table's order; the 23-joint robot's locked joints are zero."""
    told = overrides.joint_order
    if isinstance(told, tuple):
        names: tuple[str, ...] = told
    elif told is not None:
        if told not in ("table", "breadth_first"):
            raise ClipFormatError(
                f"{source}: joint_order={told}: choose table, breadth_first or give a list of names"
            )
        names = JOINT_NAMES if told == "table" else breadth_first()
    else:
        names = raw.names
    if not names:
        names = _find_order(raw, source, overrides)
    if len(names) != raw.joints.shape[1]:
        raise ClipFormatError(
            f"{source}: {len(names)} joint names for {raw.joints.shape[1]} columns of angles"
        )
    index = table_order(names)
    missing = [n for n, i in zip(JOINT_NAMES, index, strict=True) if i is None]
    real = [n for n in missing if not any(part in n for part in _LOCKED)]
    if real:
        raise ClipFormatError(
            f"{source}: no column for {', '.join(real[:4])}{' …' if len(real) > 4 else ''} "
            f"(columns {', '.join(names[:4])} …); name the joints as the robot's joint table does"
        )
    out = np.zeros((len(raw.joints), NUM_JOINTS))
    for n, i in enumerate(index):
        if i is not None:
            out[:, n] = raw.joints[:, i]
    if missing:
        raw.notes.append(f"{len(missing)} joints not in the file, zero")
    return out


def _find_order(raw: RawMotion, source: str, overrides: Overrides) -> tuple[str, ...]:
    """The joint order of columns without names: the table's or breadth first, whichever the robot can do."""
    if raw.joints.shape[1] != NUM_JOINTS:
        raise ClipFormatError(
            f"{source}: {raw.joints.shape[1]} joint columns without names, where the robot has {NUM_JOINTS}; "
            f"add joint_names to the file, or joint_order: [names] in clips.yaml"
        )
    orders = {"table": JOINT_NAMES, "breadth_first": breadth_first()}
    misfit = {}
    for key, names in orders.items():
        joints = raw.joints[:, [i for i in table_order(names) if i is not None]]
        joints, _ = _radians(joints, overrides)
        misfit[key] = _outside(joints)
        if (
            raw.bodies is not None
            and raw.bodies.shape[1] == NUM_JOINTS + 1
            and len(raw.bodies) == len(joints)
        ):
            misfit[key] = _body_error(raw.bodies, joints, names)
    best, other = sorted(misfit, key=lambda k: misfit[k])
    if misfit[best] < 0.02 and misfit[other] > max(0.01, 5.0 * misfit[best]):
        raw.notes.append(f"joint order {best}")
    elif raw.usual_joints and misfit[raw.usual_joints] < 0.02:
        best = raw.usual_joints
        raw.notes.append(f"joint order {best} assumed")
    else:
        raise ClipFormatError(
            f"{source}: its joints have no names, and the angles do not tell their order; "
            f"add joint_names to the file, or joint_order: table or breadth_first in clips.yaml"
        )
    return orders[best]


def _body_error(bodies: Array, joints: Array, names: tuple[str, ...]) -> float:
    """Median error [m] of the distances between bodies and pelvis, bodies and joints in the order given."""
    some = np.unique(np.linspace(0, len(joints) - 1, 20).astype(int))
    still = np.tile([1.0, 0.0, 0.0, 0.0], (len(some), 1))
    clip = robot_clip("check", np.zeros((len(some), 3)), still, joints[some], 30.0, {})
    links = clip.positions()[:, [0, *(clip.joint_names.index(n) for n in names)]]
    ours = np.linalg.norm(links - links[:, :1], axis=2)
    theirs = np.linalg.norm(bodies[some] - bodies[some][:, :1], axis=2)
    return float(np.median(np.abs(ours - theirs).max(axis=1)))


def _outside(joints: Array) -> float:
    """Share of samples outside the joints' ranges."""
    return float(np.mean((joints < LOWER - _OUTSIDE_RAD) | (joints > UPPER + _OUTSIDE_RAD)))


def _radians(joints: Array, overrides: Overrides) -> tuple[Array, bool]:
    """Angles in radians, and whether they were degrees: no joint turns further than 3.1 rad."""
    if overrides.angles is not None:
        degrees = overrides.angles == "deg"
    else:
        degrees = bool(np.percentile(np.abs(joints).max(axis=1), 95) > 2.0 * np.pi)
    return (np.deg2rad(joints) if degrees else joints), degrees


def _metres(place: Array, overrides: Overrides) -> tuple[Array, float]:
    """Root position in metres and its unit: a pelvis is 0.8 m above the ground when it stands."""
    if overrides.unit_m is not None:
        return place * overrides.unit_m, overrides.unit_m
    height = float(np.median(np.abs(place[:, 2])))
    unit = 1.0 if height < 5.0 else 0.01 if height < 200.0 else 0.001
    return place * unit, unit


def infer_quat_order(quat: Array, usual: str) -> tuple[str, bool]:
    """Whether root quaternions (T, 4) are "wxyz" or "xyzw": a robot is upright in the right order.

    Args:
        quat: quaternions as in the file.
        usual: the order taken when both keep the robot upright (it does not turn).

    Returns:
        The order, and whether it was found rather than assumed.
    """
    norm2 = np.maximum(np.sum(quat**2, axis=1), 1e-12)
    # How far up the pelvis' z axis points: R_zz = 1 - 2 (x² + y²).
    up = {
        "wxyz": float(np.mean(1.0 - 2.0 * (quat[:, 1] ** 2 + quat[:, 2] ** 2) / norm2)),
        "xyzw": float(np.mean(1.0 - 2.0 * (quat[:, 0] ** 2 + quat[:, 1] ** 2) / norm2)),
    }
    best = max(up, key=lambda k: up[k])
    if up[best] > 0.5 and abs(up["wxyz"] - up["xyzw"]) > 0.2:
        return best, True
    return usual, False


def unit_quaternions(quat: Array, order: str, source: str) -> Array:
    """Unit quaternions (T, 4) w x y z from those of a file in the order given.

    Raises:
        ClipDataError: their length is not one, so these columns are not a quaternion.
    """
    norm = np.linalg.norm(quat, axis=1)
    off = np.abs(norm - 1.0) > 0.05
    if off.any():
        frame = int(np.argmax(off))
        raise ClipDataError(
            f"{source}: the root quaternion of frame {frame} has length {norm[frame]:.3g}, not 1 "
            f"({int(off.sum())} such frames); check which columns hold it, or cut these frames out"
        )
    quat = quat / norm[:, None]
    return quat if order == "wxyz" else quat[:, [3, 0, 1, 2]]
