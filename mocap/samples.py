"""Made-up files of every format, for the tests, the fuzzer and whoever wants to try a reader."""

from __future__ import annotations

import io
import json
import warnings

import c3d
import numpy as np

from humanoid.joints import JOINT_NAMES
from humanoid.motion import RobotMotion
from mocap.asf import fixed_axes
from mocap.clip import Clip
from mocap.g1_skeleton import joint_angles
from mocap.rotations import Array, axis_angle_from_matrix, matrix_from_quat, normalize
from mocap.skeleton import Body
from mocap.smpl import JOINTS

SMALL_BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Knee
  {
    OFFSET 0 -1 0
    CHANNELS 3 Yrotation Xrotation Zrotation
    End Site
    {
      OFFSET 0 -2 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.02
1 2 3 10 20 30 40 50 60
1 2 3 10 20 30 40 50 60
"""
"""A BVH file of two joints and two frames."""

SMALL_ASF = """:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name thigh
    direction 0 -1 0
    length 4
    axis 0 0 20 XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
    id 2
    name shank
    direction 0 -1 0
    length 3
    axis 0 0 20 XYZ
    dof rx
    limits (-10.0 170.0)
  end
:hierarchy
  begin
    root thigh
    thigh shank
  end
"""
"""An Acclaim skeleton of two bones."""

SMALL_AMC = """:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 90 0
thigh 0 0 0
shank 90
2
root 1 2 3 0 90 0
thigh 10 20 30
shank 120
"""
"""Its motion, two frames."""

NAMES = {
    "Hips": "root", "Chest": "thorax", "Neck": "lowerneck", "Head": "head", "LeftShoulder": "lhumerus",
    "LeftElbow": "lradius", "LeftWrist": "lwrist", "LeftWrist_end": "lfingers", "RightShoulder": "rhumerus",
    "RightElbow": "rradius", "RightWrist": "rwrist", "RightWrist_end": "rfingers", "LeftHip": "lfemur",
    "LeftKnee": "ltibia", "LeftAnkle": "lfoot", "LeftAnkle_end": "ltoes", "RightHip": "rfemur",
    "RightKnee": "rtibia", "RightAnkle": "rfoot", "RightAnkle_end": "rtoes",
}  # fmt: skip


def to_acclaim(clip: Clip, scale: float = 1.0) -> tuple[str, str]:
    """A clip as ASF and AMC text, in CMU's names where it has the made-up player's.

    Every joint is two bones, one that reaches it and one that turns; each has another axis.

    Args:
        clip: a clip with position channels at the root only; end sites do not turn.
        scale: factor on lengths.
    """
    names = [NAMES.get(n, n.lower()) for n in clip.joint_names]
    axes = {n: np.array([10.0 * i, -7.0 * i, 3.0 * i]) for i, n in enumerate(names) if i}
    out = [":version 1.10", ":units", "  length 0.45", "  angle deg", ":root", "  order TX TY TZ RX RY RZ",
           "  axis XYZ", "  position 0 0 0", "  orientation 0 0 0", ":bonedata"]  # fmt: skip
    links = []
    for j, name in enumerate(names[1:], 1):
        offset = clip.offsets[j] * scale
        length = float(np.linalg.norm(offset))
        direction = offset / length if length else np.array([0.0, 1.0, 0.0])
        turns = not clip.joint_names[j].endswith("_end")
        out += _bone(f"{name}_to", direction, length, np.zeros(3), False)
        out += _bone(name, np.array([0.0, 1.0, 0.0]), 0.0, axes[name], turns)
        links += [f"{names[clip.parents[j]]} {name}_to", f"{name}_to {name}"]
    # CMU's skeletons have a joint at the waist.
    out += _bone("lowerback", np.array([0.0, 1.0, 0.0]), 5.0 * scale, np.zeros(3), False)
    out += [":hierarchy", "begin", "root lowerback", *links, "end"]
    local = matrix_from_quat(clip.rotations)
    frames = [":FULLY-SPECIFIED", ":DEGREES"]
    for t in range(clip.frames):
        place = clip.translations[t, 0] * scale
        frames += [str(t + 1), "root " + " ".join(f"{v:.7f}" for v in [*place, *_angles(local[t, 0])])]
        for j, name in enumerate(names):
            if j and not clip.joint_names[j].endswith("_end"):
                c = fixed_axes("XYZ", np.deg2rad(axes[name]))
                frames.append(f"{name} " + " ".join(f"{v:.7f}" for v in _angles(c.T @ local[t, j] @ c)))
    return "\n".join(out) + "\n", "\n".join(frames) + "\n"


def _bone(name: str, direction: np.ndarray, length: float, axis: np.ndarray, turns: bool) -> list[str]:
    lines = ["begin", f"  name {name}", "  direction " + " ".join(f"{v:.9f}" for v in direction)]
    lines += [f"  length {length:.9f}", "  axis " + " ".join(f"{v:g}" for v in axis) + " XYZ"]
    return [*lines, *(["  dof rx ry rz"] if turns else []), "end"]


def _angles(r: np.ndarray) -> list[float]:
    """Degrees x, y, z with R = R_z R_y R_x."""
    y = -np.arcsin(np.clip(r[2, 0], -1.0, 1.0))
    return list(np.rad2deg([np.arctan2(r[2, 1], r[2, 2]), y, np.arctan2(r[1, 0], r[0, 0])]))


def to_smpl(clip: Clip, *, width: int = 156, rate_key: str = "mocap_framerate") -> bytes:
    """The made-up player (`mocap.benchmark.synthetic_clip`) as an npz of SMPL parameters like AMASS's, z up.

    The player's rest pose is SMPL's (T-pose, y up, facing z), so rotations go over joint by joint.

    Args:
        clip: a clip on that skeleton, in centimetres.
        width: values a frame of `poses`: 66, 72, 156 (SMPL-H) or 165 (SMPL-X).
        rate_key: name of the rate.
    """
    same = {
        "pelvis": "Hips", "spine1": "Chest", "neck": "Neck", "head": "Head",
        **{f"{s.lower()}_{p.lower()}": f"{s}{p}" for s in ("Left", "Right")
           for p in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist")},
    }  # fmt: skip
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    poses = np.zeros((clip.frames, width))
    for n, (joint, _) in enumerate(JOINTS):
        if joint in same:
            r = matrix_from_quat(clip.rotations[:, clip.joint_names.index(same[joint])])
            poses[:, 3 * n : 3 * n + 3] = axis_angle_from_matrix(turn @ r if n == 0 else r)
    out = io.BytesIO()
    arrays = {"trans": 0.01 * clip.translations[:, 0] @ turn.T, "betas": np.zeros(16), rate_key: clip.fps}
    np.savez(out, poses=poses, gender="neutral", **arrays)
    return out.getvalue()


def to_markers(body: Body, half_m: float = 0.05) -> dict[str, Array]:
    """Plug-in Gait markers [m] on a body, such that the marker set's midpoints and offsets give back its joint
    centres exactly where they can: hips, knees, ankles, elbows, wrists, shoulders and toes.

    Args:
        body: a body whose hips lie level in its pelvis.
        half_m: half the breadth of the joints [m].
    """
    left = body["left_hip"] - body["right_hip"]
    width = np.linalg.norm(left, axis=1, keepdims=True)
    left = left / width
    up = body["spine"] - body["pelvis"]
    up = normalize(up - left * np.sum(up * left, axis=1, keepdims=True))
    forward = np.cross(left, up)
    # Bell: hips lie 0.72 of the width apart, 0.19 behind and 0.30 below the front markers' middle.
    width = width / 0.72
    middle = 0.5 * (body["left_hip"] + body["right_hip"]) + width * (0.19 * forward + 0.30 * up)
    neck = body["neck"]
    out: dict[str, Array] = {
        "LASI": middle + 0.5 * width * left, "RASI": middle - 0.5 * width * left,
        "LPSI": middle - 0.16 * forward + 0.04 * left, "RPSI": middle - 0.16 * forward - 0.04 * left,
        "C7": neck - 0.05 * forward, "CLAV": neck + 0.05 * forward,
        "T10": body["chest"] - 0.1 * forward, "STRN": body["chest"] + 0.1 * forward,
    }  # fmt: skip
    for n, name in enumerate(("LFHD", "RFHD", "LBHD", "RBHD")):
        out[name] = (
            body["head"] + 0.08 * (forward if n < 2 else -forward) + 0.07 * (left if n % 2 == 0 else -left)
        )
    across = normalize(body["left_shoulder"] - body["right_shoulder"])
    spine = 0.5 * (body["left_shoulder"] + body["right_shoulder"]) - 0.5 * (
        body["left_hip"] + body["right_hip"]
    )
    spine = normalize(spine)
    for side, letter in (("left", "L"), ("right", "R")):
        out[f"{letter}SHO"] = body[f"{side}_shoulder"] + 0.06 * spine
        out[f"{letter}FIN"], out[f"{letter}TOE"] = body[f"{side}_hand"], body[f"{side}_toe"]
        pairs = {
            "knee": ("KNE", "KNM"),
            "ankle": ("ANK", "MED"),
            "elbow": ("ELB", "ELM"),
            "wrist": ("WRA", "WRB"),
        }
        for joint, (a, b) in pairs.items():
            out[letter + a] = body[f"{side}_{joint}"] + half_m * across
            out[letter + b] = body[f"{side}_{joint}"] - half_m * across
    return out


def to_c3d(
    tracks: dict[str, Array], fps: float, *, unit: str = "mm", scale: float = 1000.0, integers: bool = False
) -> bytes:
    """Markers [m] as a C3D file, NaN as not seen.

    Args:
        tracks: trajectory (T, 3) of each label.
        fps: frames a second.
        unit: what POINT:UNITS says; scale: that unit's number per metre.
        integers: write 16-bit integers instead of floats.
    """
    writer = c3d.Writer(point_rate=fps, point_units=f"{unit:<4}", point_scale=0.1 if integers else -1.0)
    x = np.stack(list(tracks.values()), axis=1) * scale
    table = np.zeros((*x.shape[:2], 5), dtype=np.float32)
    gone = np.asarray(np.isnan(x).any(axis=2))
    table[..., :3] = np.where(gone[..., None], 0.0, x)
    table[..., 3] = np.where(gone, -1.0, 0.0)
    writer.add_frames([(frame, np.array([[]])) for frame in table])
    writer.set_point_labels(list(tracks))
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer.write(out)
    return out.getvalue()


def to_g1_npz(clip: Clip, *, qpos: bool = False, motion: RobotMotion | None = None) -> bytes:
    """A clip of the robot as an npz file with joint names, as MuJoCo's qpos, or as this project's own motion."""
    place, quat, joints = joint_angles(clip)
    out = io.BytesIO()
    if motion is not None:
        header = {"format": "robot-motion/1", "fps": motion.fps, "joint_names": list(motion.joint_names)}
        raw = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        np.savez(out, header=raw, root_pos=place, root_quat=quat, joint_pos=joints)
    elif qpos:
        table = np.concatenate([place, quat, joints], axis=1)
        np.savez(out, qpos=table, joint_names=np.array(JOINT_NAMES), dt=1.0 / clip.fps)
    else:
        names = np.array(JOINT_NAMES)
        np.savez(out, joint_pos=joints, root_pos=place, root_quat=quat, fps=clip.fps, joint_names=names)
    return out.getvalue()
