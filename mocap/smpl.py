"""Read SMPL, SMPL-H and SMPL-X parameters as AMASS publishes them (npz).

A file holds joint rotations (axis-angle) and the root's translation, but no skeleton: where the joints are
follows from the body model and the shape `betas`. Who has the model (an npz file from its publisher, with
`J_regressor`, `v_template` and `shapedirs`) names it in clips.yaml as `body_model`. Without it the skeleton
gets an adult's segment lengths as fractions of stature, and the clip's provenance and line say so: the motion's
angles are then the person's, the lengths are not, and feet may slide a little where they stood.

Models distributed as pickles are not read: a pickle can run code. Save the three arrays as npz.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mocap.clip import (
    Clip,
    ClipDataError,
    ClipFormatError,
    check_size,
    clip_name,
    make_clip,
    read_bytes,
)
from mocap.npz import array_names, load_arrays, scalar, text
from mocap.overrides import Overrides
from mocap.rate import check_fps
from mocap.rotations import Array, matrix_from_axis_angle, quat_from_matrix

# The 22 joints that SMPL, SMPL-H and SMPL-X share, and their parents (SMPL's kinematic tree).
JOINTS: tuple[tuple[str, int], ...] = (
    ("pelvis", -1), ("left_hip", 0), ("right_hip", 0), ("spine1", 0), ("left_knee", 1), ("right_knee", 2),
    ("spine2", 3), ("left_ankle", 4), ("right_ankle", 5), ("spine3", 6), ("left_foot", 7), ("right_foot", 8),
    ("neck", 9), ("left_collar", 9), ("right_collar", 9), ("head", 12), ("left_shoulder", 13),
    ("right_shoulder", 14), ("left_elbow", 16), ("right_elbow", 17), ("left_wrist", 18), ("right_wrist", 19),
)  # fmt: skip
COUNT = len(JOINTS)
STATURE_M = 1.70
"""Stature where the file's person is not known: about the mean of adults, chosen without a source [m]."""

# Axis-angle values a frame: SMPL 72 (24 joints), SMPL-H 156 (52), SMPL-X 165 (55), body only 66 or 63.
WIDTHS = {66: "body", 72: "SMPL", 156: "SMPL-H", 165: "SMPL-X"}
_WANTED = (
    "poses", "trans", "betas", "mocap_framerate", "mocap_frame_rate", "fps", "root_orient",
    "pose_body", "transl", "global_orient", "body_pose",
)  # fmt: skip
_MODEL = ("J_regressor", "v_template", "shapedirs")


def read_smpl(path: str | Path, overrides: Overrides | None = None, *, nan: str = "error") -> Clip:
    """Read an npz file of SMPL parameters.

    Args:
        path: the file.
        overrides: `body_model`, `stature_m` and fps.
        nan: "error" refuses frames with NaN, "interpolate" holds the frame before.

    Returns:
        A clip in metres on the 22 body joints (fingers and face are left out), up axis as in the file.

    Raises:
        ClipFormatError: not such a file, or damaged. ClipDataError: no frames, NaN, no usable rate.
    """
    path = Path(path)
    overrides = overrides or Overrides()
    model = None if overrides.body_model is None else read_bytes(Path(overrides.body_model))
    return parse_smpl(read_bytes(path), str(path), overrides, model=model, name=clip_name(path), nan=nan)


def looks_like_smpl(names: tuple[str, ...]) -> bool:
    """Whether arrays of these names are SMPL parameters of a motion."""
    has = set(names)
    return {"poses", "trans"} <= has or bool(
        {"root_orient", "global_orient"} & has and {"trans", "transl"} & has
    )


def parse_smpl(
    data: bytes,
    source: str,
    overrides: Overrides | None = None,
    *,
    model: bytes | None = None,
    name: str | None = None,
    nan: str = "error",
) -> Clip:
    """Parse the bytes of a parameter file; `model` are those of a body model's npz. See `read_smpl`."""
    overrides = overrides or Overrides()
    arrays = load_arrays(data, source, _WANTED)
    poses, trans = _motion(arrays, array_names(data, source), source)
    frames = len(poses)
    check_size(frames, COUNT + 2, source)
    provenance: dict[str, Any] = {"file": Path(source).name, "format": "smpl"}
    with np.errstate(invalid="ignore"):
        bad = ~((np.abs(poses) <= 1e3).all(axis=(1, 2)) & (np.abs(trans) <= 1e5).all(axis=1))
    if bad.any():
        if nan != "interpolate" or bad.all():
            raise ClipDataError(
                f"{source}: frame {int(np.argmax(bad))} is not finite ({int(bad.sum())} of {frames} are like it); "
                f"cut them out or set clean.nan_frames=interpolate"
            )
        good = np.flatnonzero(~bad)
        held = good[np.searchsorted(good, np.arange(frames), "right").clip(1) - 1]
        poses, trans = poses[held], trans[held]
        provenance["nan_frames"] = int(bad.sum())
    fps = overrides.fps
    for key in ("mocap_framerate", "mocap_frame_rate", "fps"):
        fps = scalar(arrays.get(key)) if fps is None else fps
    if fps is None:
        raise ClipDataError(f"{source}: says no rate (mocap_framerate); set fps=…")
    provenance["fps_in"] = check_fps(fps, source)
    with suppress(
        ClipFormatError, KeyError, IndexError
    ):  # some files hold it as a Python object; it is not needed
        provenance["gender"] = text(load_arrays(data, source, ("gender",))["gender"])[0][:20]
    if model is not None:
        rest = joints_of_model(model, _betas(arrays, source), str(overrides.body_model or "body model"))
        provenance["segment_lengths"] = f"body model {Path(overrides.body_model or 'model.npz').name}"
        # The translation is that of the model's origin, the root joint lies off it.
        trans = trans + rest[0]
    else:
        stature = overrides.stature_m or STATURE_M
        rest = typical_joints(stature)
        provenance["segment_lengths"] = (
            f"Drillis & Contini, stature {stature:g} m; the person's are not known"
        )
        provenance["note"] = f"segment lengths of a typical person of {stature:g} m (no body model)"
    names, parents, offsets = _skeleton(rest)
    rotations = np.zeros((frames, len(names), 4))
    rotations[..., 0] = 1.0
    rotations[:, :COUNT] = quat_from_matrix(matrix_from_axis_angle(poses))
    translations = np.tile(offsets, (frames, 1, 1))
    translations[:, 0] = trans
    clip = make_clip(
        name or Path(source).stem, names, parents, offsets, rotations, translations, fps, provenance
    )
    return replace(clip, unit_m=1.0, skeleton="smpl")


def _motion(arrays: dict[str, np.ndarray], names: tuple[str, ...], source: str) -> tuple[Array, Array]:
    """Axis-angle vectors (T, 22, 3) and translations (T, 3)."""

    def table(key: str) -> Array | None:
        value = arrays.get(key)
        if value is None:
            return None
        if value.dtype.kind not in "fiu" or value.ndim not in (2, 3):
            raise ClipFormatError(
                f"{source}: {key} is not a table of numbers ({value.dtype}, shape {value.shape})"
            )
        flat = value.reshape(len(value), -1) if value.size else np.zeros((len(value), 0))
        return flat.astype(float)

    poses = table("poses")
    if poses is None:
        parts = [table(k) for k in ("root_orient", "global_orient", "pose_body", "body_pose")]
        root, body = (next((p for p in pair if p is not None), None) for pair in (parts[:2], parts[2:]))
        if root is not None and body is not None and len(root) == len(body):
            poses = np.concatenate([root, body[:, :63]], axis=1)
    trans = table("trans")
    trans = table("transl") if trans is None else trans
    if poses is None or trans is None:
        raise ClipFormatError(
            f"{source}: needs poses and trans, as AMASS has them; arrays there are {', '.join(names[:12])}"
        )
    if not len(poses):
        raise ClipDataError(f"{source}: the clip has no frames; nothing to retarget")
    if poses.shape[1] not in WIDTHS:
        known = ", ".join(f"{w} ({n})" for w, n in WIDTHS.items())
        raise ClipFormatError(f"{source}: poses has {poses.shape[1]} values a frame; known are {known}")
    if trans.shape != (len(poses), 3):
        raise ClipFormatError(
            f"{source}: trans has shape {trans.shape} for {len(poses)} frames; get the file again"
        )
    return poses[:, : 3 * COUNT].reshape(len(poses), COUNT, 3), trans


def _betas(arrays: dict[str, np.ndarray], source: str) -> Array:
    """Shape coefficients (n,); the first row where they are given a frame."""
    value = arrays.get("betas")
    if value is None or not value.size:
        return np.zeros(0)
    if value.dtype.kind not in "fiu" or value.ndim > 2 or not np.isfinite(value.astype(float)).all():
        raise ClipDataError(f"{source}: betas are not finite numbers; get the file again")
    return value.astype(float).reshape(-1, value.shape[-1])[0]


def joints_of_model(model: bytes, betas: Array, source: str) -> Array:
    """Rest positions (22, 3) of the body joints [m], from a body model and shape coefficients.

    J = J_regressor (v_template + shapedirs · betas), SMPL's definition.

    Raises:
        ClipFormatError: not such a model.
    """
    arrays = load_arrays(model, source, _MODEL)
    missing = [k for k in _MODEL if k not in arrays]
    if missing:
        raise ClipFormatError(
            f"{source}: body model without {', '.join(missing)}; save these arrays of the published model as npz"
        )
    regressor, template, shapes = (
        arrays[k].astype(float) if arrays[k].dtype.kind in "fiu" else None for k in _MODEL
    )
    if (
        regressor is None or template is None or shapes is None
        or template.ndim != 2 or template.shape[1] != 3 or shapes.ndim != 3
        or regressor.ndim != 2 or regressor.shape[0] < COUNT or regressor.shape[1] != len(template)
        or shapes.shape[:2] != template.shape
    ):  # fmt: skip
        raise ClipFormatError(
            f"{source}: the shapes of a body model's arrays do not fit; get the model again"
        )
    n = min(len(betas), shapes.shape[2])
    rest = regressor[:COUNT] @ (template + shapes[:, :, :n] @ betas[:n])
    if not np.isfinite(rest).all() or np.abs(rest).max() > 10.0:
        raise ClipFormatError(
            f"{source}: the body model's joints are not a person's; check the model and betas"
        )
    return rest


def typical_joints(stature: float) -> Array:
    """Rest positions (22, 3) of the body joints of a typical adult [m]: T-pose, y up, facing z, root at zero.

    Heights and lengths are Drillis & Contini's fractions of stature (Body Segment Parameters, 1966, as in
    Winter, Biomechanics and Motor Control of Human Movement, figure 4.1): hip 0.530, knee 0.285, ankle 0.039,
    shoulder 0.818, chin 0.870, shoulder width 0.259, upper arm 0.186, forearm 0.146, foot 0.152. Between them
    (hip width, spine, collar, toe joint) the values have no source.
    """
    hip, knee, ankle, shoulder, chin = 0.530, 0.285, 0.039, 0.818, 0.870
    pelvis, half, arm, forearm, foot = hip + 0.02, 0.05, 0.186, 0.146, 0.152
    trunk = shoulder - pelvis
    points = {
        "pelvis": (0.0, pelvis, 0.0),
        "spine1": (0.0, pelvis + 0.20 * trunk, 0.0),
        "spine2": (0.0, pelvis + 0.45 * trunk, 0.0),
        "spine3": (0.0, pelvis + 0.65 * trunk, 0.0),
        "neck": (0.0, shoulder + 0.01, 0.0),
        "head": (0.0, chin, 0.01),
    }
    for side, sign in (("left", 1.0), ("right", -1.0)):
        across = 0.5 * 0.259
        points |= {
            f"{side}_hip": (sign * half, hip, 0.0),
            f"{side}_knee": (sign * half, knee, 0.0),
            f"{side}_ankle": (sign * half, ankle, 0.0),
            f"{side}_foot": (sign * half, 0.01, 0.5 * foot),
            f"{side}_collar": (sign * 0.3 * across, shoulder, 0.0),
            f"{side}_shoulder": (sign * across, shoulder, 0.0),
            f"{side}_elbow": (sign * (across + arm), shoulder, 0.0),
            f"{side}_wrist": (sign * (across + arm + forearm), shoulder, 0.0),
        }
    rest = stature * np.array([points[name] for name, _ in JOINTS])
    return rest - rest[0]


def _skeleton(rest: Array) -> tuple[tuple[str, ...], np.ndarray, Array]:
    """Names, parents and offsets of the joints, with fists at the ends of the forearms."""
    names = [n for n, _ in JOINTS]
    parents = [p for _, p in JOINTS]
    offsets = [rest[n] - (rest[p] if p >= 0 else 0.0) for n, p in enumerate(parents)]
    for side in ("left", "right"):
        wrist, elbow = names.index(f"{side}_wrist"), names.index(f"{side}_elbow")
        names.append(f"{side}_wrist_end")
        parents.append(wrist)
        # A fist reaches about a third of the forearm's length beyond the wrist: hand 0.108, forearm 0.146.
        offsets.append((rest[wrist] - rest[elbow]) * 0.5 * 0.108 / 0.146)
    offsets[0] = np.zeros(3)
    return tuple(names), np.array(parents), np.array(offsets)
