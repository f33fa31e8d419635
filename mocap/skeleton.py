"""From a clip's own joints to a human body: named points in metres, z up.

Which joint is which stands in mapping files (`mocap/skeletons/*.yaml`): a new skeleton needs a file, not
code. Unit and up axis are guessed from the body's proportions, because files do not say them, and may be
overridden.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from mocap.clip import Clip, SkeletonError
from mocap.rotations import Array

SIDES = ("left", "right")
REQUIRED = (
    "pelvis",
    "spine",
    "chest",
    "neck",
    *(
        f"{side}_{part}"
        for side in SIDES
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "toe")
    ),
)
OPTIONAL = ("head", "left_hand", "right_hand")
POINTS = REQUIRED + OPTIONAL

# Units met in mocap files [m]. 0.056444 is the unit of CMU's original files (1/0.45 inch).
UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "foot": 0.3048, "cmu": 0.0254 / 0.45}
# Hip to ankle along the bones of an adult [m]: mean 0.80, and the range accepted for any person (Drillis &
# Contini: thigh 0.245 + shank 0.246 of a stature of 1.3 to 2.1 m).
LEG_M = 0.80
LEG_RANGE_M = (0.60, 1.10)

_FOLDER = Path(__file__).parent / "skeletons"


@dataclass(frozen=True)
class Mapping:
    """Which joints of a skeleton are which points of a body: for each point, the joint names that may stand
    for it.
    """

    name: str
    points: dict[str, tuple[str, ...]]

    def resolve(self, joint_names: tuple[str, ...]) -> tuple[dict[str, int], list[str]]:
        """Joint index per point, and the required points with no joint. Exact names first, then blind to
        case.
        """
        exact = {n: i for i, n in enumerate(joint_names)}
        lower = {n.lower(): i for i, n in reversed(list(enumerate(joint_names)))}
        found: dict[str, int] = {}
        for point, names in self.points.items():
            for table, key in [(exact, n) for n in names] + [(lower, n.lower()) for n in names]:
                if key in table:
                    found[point] = table[key]
                    break
        return found, [p for p in REQUIRED if p not in found]


@dataclass(frozen=True)
class Body:
    """A moving human: points in metres, world z up, the floor not yet found.

    Attributes:
        points: (T, P, 3) positions [m], columns in the order of `names`.
        names: point names (`REQUIRED`, then the optional ones that the skeleton has).
        fps: frames a second.
        leg_m: hip to ankle along the bones [m], mean of both sides.
        unit_m: metres per unit of the file, and up: its up axis ("y" or "-z" …), as used.
        mapping: name of the mapping file.
    """

    points: Array
    names: tuple[str, ...]
    fps: float
    leg_m: float
    unit_m: float
    up: str
    mapping: str

    def __getitem__(self, name: str) -> Array:
        """Trajectory (T, 3) of one point [m]."""
        return self.points[:, self.names.index(name)]

    def has(self, name: str) -> bool:
        """Whether the skeleton has this (optional) point."""
        return name in self.names

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return len(self.points)


def load_mapping(path: str | Path) -> Mapping:
    """Read one mapping file: a YAML with `points:` {body point: joint name, or a list of alternatives}.

    Raises:
        SkeletonError: unreadable file, unknown or missing body points.
    """
    path = Path(path)
    try:
        data: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as e:
        raise SkeletonError(f"{path}: not a readable skeleton mapping ({type(e).__name__}: {e})") from None
    points = data.get("points") if isinstance(data, dict) else None
    if not isinstance(points, dict):
        raise SkeletonError(f'{path}: a skeleton mapping needs a "points:" table of body point: joint name')
    unknown = sorted(set(points) - set(POINTS))
    missing = [p for p in REQUIRED if p not in points]
    if unknown or missing:
        raise SkeletonError(
            f"{path}: {'unknown' if unknown else 'missing'} points {', '.join(unknown or missing)}; "
            f"a body has {', '.join(POINTS)}"
        )
    return Mapping(path.stem, {p: tuple(v) if isinstance(v, list) else (str(v),) for p, v in points.items()})


@lru_cache(maxsize=1)
def shipped_mappings() -> tuple[Mapping, ...]:
    """The mappings that come with the package, in name order."""
    return tuple(load_mapping(p) for p in sorted(_FOLDER.glob("*.yaml")))


def find_mapping(clip: Clip, mappings: Iterable[Mapping] | None = None) -> Mapping:
    """The mapping that fits a clip's joints; of several, the one that names most points.

    Raises:
        SkeletonError: none fits; the message says which came nearest and which joints it misses.
    """
    candidates = list(mappings) if mappings is not None else list(shipped_mappings())
    best: tuple[int, Mapping, list[str]] | None = None
    for mapping in candidates:
        found, missing = mapping.resolve(clip.joint_names)
        score = len(found) - 100 * len(missing)
        if best is None or score > best[0]:
            best = (score, mapping, missing)
    if best is None:
        raise SkeletonError(f"{clip.name}: no skeleton mappings to choose from")
    _, mapping, missing = best
    if missing:
        shown = ", ".join(clip.joint_names[:12]) + (" …" if len(clip.joint_names) > 12 else "")
        raise SkeletonError(
            f"{clip.provenance.get('file', clip.name)}: unknown skeleton (joints {shown}). "
            f"The nearest mapping, "
            f"{mapping.name}, finds no joint for {', '.join(missing[:6])}{' …' if len(missing) > 6 else ''}. "
            f"Write a mapping file like mocap/skeletons/{mapping.name}.yaml and give it as skeleton=FILE"
        )
    return mapping


def guess_unit(leg_length: float, clip_name: str = "clip") -> float:
    """Metres per unit from the length of a leg (hip to ankle along the bones) in the file's unit.

    The unit of `UNITS_M` that makes the leg nearest to an adult's, in ratio.

    Raises:
        SkeletonError: no unit makes it a leg of 0.6 to 1.1 m.
    """
    if not np.isfinite(leg_length) or leg_length <= 0.0:
        raise SkeletonError(
            f"{clip_name}: the legs have no length ({leg_length:g}); check the skeleton mapping"
        )
    unit = min(UNITS_M.values(), key=lambda u: abs(np.log(leg_length * u / LEG_M)))
    if not LEG_RANGE_M[0] <= leg_length * unit <= LEG_RANGE_M[1]:
        raise SkeletonError(
            f"{clip_name}: a leg of {leg_length:g} units is a person's in none of the units "
            f"{', '.join(UNITS_M)}; set unit_m=METRES_PER_UNIT (for example {LEG_M / leg_length:.4g})"
        )
    return unit


def guess_up(points: Array, names: tuple[str, ...]) -> str:
    """The file's up axis ("x", "-x", "y" …): the one along which the neck is above the ankles most of the
    time.

    Args:
        points: (T, P, 3) body points in the file's axes.
        names: their names.
    """
    body = points[:, names.index("neck")] - 0.5 * (
        points[:, names.index("left_ankle")] + points[:, names.index("right_ankle")]
    )
    body = body / np.maximum(np.linalg.norm(body, axis=1, keepdims=True), 1e-9)
    mean = body.mean(axis=0)
    axis = int(np.argmax(np.abs(mean)))
    return ("-" if mean[axis] < 0.0 else "") + "xyz"[axis]


def up_rotation(up: str) -> Array:
    """Proper rotation (3, 3) that takes the file's axes to z up.

    Raises:
        SkeletonError: `up` is not one of x, y, z with an optional minus.
    """
    axis = up.lstrip("+-").lower()
    if axis not in ("x", "y", "z") or len(up) > 2:
        raise SkeletonError(f'up axis "{up}" is not one of x, y, z, -x, -y, -z')
    sign = -1.0 if up.startswith("-") else 1.0
    i = "xyz".index(axis)
    r = np.zeros((3, 3))
    # World z = sign · file axis i; the others follow cyclically so that the determinant stays +1.
    r[2, i] = sign
    r[0, (i + 1) % 3] = 1.0
    r[1, (i + 2) % 3] = sign
    return r


def to_body(
    clip: Clip, *, mapping: Mapping | None = None, unit_m: float | None = None, up: str | None = None
) -> Body:
    """Map a clip to a body in metres with z up.

    Args:
        clip: the clip.
        mapping: skeleton mapping; found by joint names when not given.
        unit_m: metres per unit of the file; guessed from the legs when not given.
        up: the file's up axis; guessed from where the neck is when not given.

    Raises:
        SkeletonError: unknown skeleton, or no plausible unit.
    """
    mapping = mapping or find_mapping(clip)
    found, missing = mapping.resolve(clip.joint_names)
    if missing:
        raise SkeletonError(
            f"{clip.provenance.get('file', clip.name)}: "
            f"the mapping {mapping.name} finds no joint for {', '.join(missing)}"
        )
    names = tuple(p for p in POINTS if p in found)
    points = clip.positions()[:, [found[p] for p in names]]
    lengths = []
    for side in SIDES:
        hip, knee, ankle = (points[:, names.index(f"{side}_{p}")] for p in ("hip", "knee", "ankle"))
        lengths.append(np.linalg.norm(knee - hip, axis=1) + np.linalg.norm(ankle - knee, axis=1))
    leg = float(np.median(lengths))
    where = str(clip.provenance.get("file", clip.name))
    unit = guess_unit(leg, where) if unit_m is None else float(unit_m)
    if not np.isfinite(unit) or unit <= 0.0:
        raise SkeletonError(f"{where}: unit_m={unit_m} must be a positive number of metres")
    up = up or guess_up(points, names)
    points = points @ up_rotation(up).T * unit
    return Body(points, names, clip.fps, leg * unit, unit, up, mapping.name)
