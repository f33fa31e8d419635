"""Speed of retargeting, on a made-up clip, and that clip: a player who marches on the spot and hits
forehands.
"""

from __future__ import annotations

import time

import numpy as np

from mocap.clean import clean
from mocap.clip import Clip, make_clip
from mocap.filters import smoothstep
from mocap.quality import assess
from mocap.retarget import retarget
from mocap.robot import default_robot
from mocap.rotations import Array, axis_matrix, quat_from_matrix

# Name, parent, offset [cm], y up, T-pose facing +z: the skeleton that mocap/skeletons/caldas.yaml maps.
_SKELETON: tuple[tuple[str, int, tuple[float, float, float]], ...] = (
    ("Hips", -1, (0, 0, 0)),
    ("Chest", 0, (0, 32, 0)),
    ("Neck", 1, (0, 24, 0)),
    ("Head", 2, (0, 10, 0)),
    ("Head_end", 3, (0, 16, 0)),
    ("LeftShoulder", 1, (18, 22, 0)),
    ("LeftElbow", 5, (27, 0, 0)),
    ("LeftWrist", 6, (25, 0, 0)),
    ("LeftWrist_end", 7, (14, 0, 0)),
    ("RightShoulder", 1, (-18, 22, 0)),
    ("RightElbow", 9, (-27, 0, 0)),
    ("RightWrist", 10, (-25, 0, 0)),
    ("RightWrist_end", 11, (-14, 0, 0)),
    ("LeftHip", 0, (9, 0, 0)),
    ("LeftKnee", 13, (0, -40, 0)),
    ("LeftAnkle", 14, (0, -40, 0)),
    ("LeftAnkle_end", 15, (0, -6, 16)),
    ("RightHip", 0, (-9, 0, 0)),
    ("RightKnee", 17, (0, -40, 0)),
    ("RightAnkle", 18, (0, -40, 0)),
    ("RightAnkle_end", 19, (0, -6, 16)),
)


def synthetic_clip(
    seconds: float = 10.0,
    fps: float = 100.0,
    *,
    name: str = "synthetic",
    march: bool = True,
    period_s: float = 3.0,
) -> Clip:
    """A clip of known content: the feet stand where they stand, and every `period_s` the right hand hits a
    forehand toward +z.

    Args:
        seconds: duration.
        fps: frames a second.
        name: the clip's name.
        march: lift the feet in turn between the strokes; else both stand all the time.
        period_s: time between strokes; the first strike is at half of it.

    Returns:
        The clip in centimetres, y up, facing +z.
    """
    frames = round(seconds * fps) + 1
    t = np.arange(frames) / fps
    index = {joint: i for i, (joint, _, _) in enumerate(_SKELETON)}
    local = np.tile(np.eye(3), (frames, len(_SKELETON), 1, 1))
    bend = np.full(frames, 0.35)
    # Lifting: in the second half of each second period a foot goes up for 0.5 s.
    phase = np.mod(t, period_s) / period_s
    stroke = np.mod(t, period_s) - 0.5 * period_s
    for side, centre in (("Left", 0.85), ("Right", 0.12)):
        lift = np.zeros(frames)
        if march:
            lift = np.clip(1.0 - np.abs(phase - centre) * period_s / 0.25, 0.0, 1.0) ** 2 * 0.5
        local[:, index[f"{side}Hip"]] = axis_matrix("X", -(bend + lift))
        local[:, index[f"{side}Knee"]] = axis_matrix("X", 2.0 * (bend + lift))
        local[:, index[f"{side}Ankle"]] = axis_matrix("X", -(bend + lift))
    # Arms hang at the sides; the right one swings round at half height from behind to the front left.
    sweep = smoothstep((stroke + 0.2) / 0.4) - smoothstep((stroke - 0.5) / 0.6)
    back = smoothstep((stroke + 0.9) / 0.5) - smoothstep((stroke - 0.5) / 0.6)
    angle = -0.9 * back + 2.4 * sweep
    raise_arm = 1.2 - 0.75 * back
    local[:, index["RightShoulder"]] = axis_matrix("Y", angle) @ axis_matrix("Z", raise_arm)
    local[:, index["RightElbow"]] = axis_matrix("Y", np.full(frames, 0.3))
    local[:, index["LeftShoulder"]] = axis_matrix("Z", np.full(frames, -1.2))
    local[:, index["LeftElbow"]] = axis_matrix("Y", np.full(frames, -0.6))
    local[:, index["Chest"]] = axis_matrix("Y", 0.35 * (-back + 2.0 * sweep))
    translations = np.tile(np.array([o for _, _, o in _SKELETON], dtype=float), (frames, 1, 1))
    translations[:, 0] = [0.0, 80.0 * np.cos(0.35) + 6.0, 0.0]
    return make_clip(
        name,
        tuple(n for n, _, _ in _SKELETON),
        np.array([p for _, p, _ in _SKELETON]),
        np.array([o for _, _, o in _SKELETON], dtype=float),
        quat_from_matrix(local),
        translations,
        fps,
        {"file": name, "format": "synthetic"},
    )


def to_bvh(clip: Clip) -> str:
    """A clip with position channels at the root only, written as BVH text (Z, X, Y rotations in degrees)."""
    lines = ["HIERARCHY"]
    order: list[int] = []

    def emit(j: int, depth: int) -> None:
        pad = "  " * depth
        offset = " ".join(f"{v:.6f}" for v in clip.offsets[j])
        if clip.joint_names[j].endswith("_end"):
            lines.extend([f"{pad}End Site", f"{pad}{{", f"{pad}  OFFSET {offset}", f"{pad}}}"])
            return
        root = clip.parents[j] < 0
        channels = "6 Xposition Yposition Zposition " if root else "3 "
        lines.extend(
            [
                f"{pad}{'ROOT' if root else 'JOINT'} {clip.joint_names[j]}",
                f"{pad}{{",
                f"{pad}  OFFSET {offset}",
            ]
        )
        lines.append(f"{pad}  CHANNELS {channels}Zrotation Xrotation Yrotation")
        order.append(j)
        for child in np.flatnonzero(clip.parents == j):
            emit(int(child), depth + 1)
        lines.append(f"{pad}}}")

    emit(0, 0)
    angles = np.rad2deg(_zxy(clip.rotations[:, order]))
    lines += ["MOTION", f"Frames: {clip.frames}", f"Frame Time: {1.0 / clip.fps:.7f}"]
    table = np.concatenate([clip.translations[:, 0], angles.reshape(clip.frames, -1)], axis=1)
    lines += [" ".join(f"{v:.5f}" for v in row) for row in table]
    return "\n".join(lines) + "\n"


def _zxy(q: Array) -> Array:
    """Angles (..., 3) with R = R_z R_x R_y."""
    from mocap.rotations import matrix_from_quat

    r = matrix_from_quat(q)
    x = np.arcsin(np.clip(r[..., 2, 1], -1.0, 1.0))
    z = np.arctan2(-r[..., 0, 1], r[..., 1, 1])
    y = np.arctan2(-r[..., 2, 0], r[..., 2, 2])
    return np.stack([z, x, y], axis=-1)


def benchmark_retarget(seconds: float = 20.0, repeats: int = 3) -> float:
    """Frames of robot motion a second on one core, from a clip in memory to a judged motion: the best of
    some repeats.

    Reading the file is not in it (it is an order faster). Run it with one BLAS thread to speak of a core.
    """
    robot = default_robot()
    clip = synthetic_clip(seconds)
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        result = retarget(clean(clip, fps=50.0).body, robot)
        assess(result, robot)
        best = max(best, len(result.q) / (time.perf_counter() - start))
    return best
