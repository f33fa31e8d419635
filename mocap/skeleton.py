"""From a clip's own joints to a human body: named points in metres, z up.

Which joint is which stands in mapping files (`mocap/skeletons/*.yaml`): a new skeleton needs a file, not
code. Unit, up and forward axis are inferred from the body's proportions and pose, because most files do not
say them, and may be overridden.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mocap.axes import guess_forward, guess_up, up_rotation
from mocap.clip import Clip, SkeletonError
from mocap.rotations import Array
from mocap.yaml_file import read_yaml

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

    Attributes:
        name: the mapping's name (file stem).
        points: joint names per body point, the preferred first.
        second: name of the joint that follows the root in files of this skeleton; tells it from another with
            the same names. "" if it does not matter.
    """

    name: str
    points: dict[str, tuple[str, ...]]
    second: str = ""

    def resolve(self, joint_names: tuple[str, ...]) -> tuple[dict[str, int], list[str]]:
        """Joint index per point, and the required points with no joint. Exact names first, then blind to
        case, then without namespaces, common prefixes and punctuation.
        """
        exact, lower, plain = _tables(joint_names)
        found: dict[str, int] = {}
        for point, names in self.points.items():
            keys = [(exact, n) for n in names] + [(lower, n.lower()) for n in names]
            for table, key in keys + [(plain, plain_name(n)) for n in names]:
                if key in table:
                    found[point] = table[key]
                    break
        return found, [p for p in REQUIRED if p not in found]


@lru_cache(maxsize=8)
def _tables(joint_names: tuple[str, ...]) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Index of each joint by its name, its name in lower case, and its plain name; the first of equal ones."""
    forms = (joint_names, tuple(n.lower() for n in joint_names), plain_names(joint_names))
    exact, lower, plain = ({n: i for i, n in reversed(list(enumerate(form)))} for form in forms)
    return exact, lower, plain


def plain_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names without namespaces ("Player1:Hips", "a|b|Hips"), the prefix up to a separator that at least four
    in five share ("mixamorig_Hips", "Bip01 Pelvis"), letter case and punctuation.
    """
    short = [re.split(r"[:|]", n)[-1] for n in names]
    shared = Counter(n[: m.end()] for n in short for m in re.finditer(r"[_\W]+", n))
    prefix = max((p for p, n in shared.items() if n >= 0.8 * len(short)), key=len, default="")
    return tuple(plain_name(n[len(prefix) :] if prefix and n.startswith(prefix) else n) for n in short)


def plain_name(name: str) -> str:
    """A name without letter case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


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
        forward: the file's axis that became x, if it was given; else the one that the body faces most of the
            time, and the axes follow the up axis cyclically (y up: z became x).
        said: which of "unit", "up", "forward" and "skeleton" the format or the user said; the others were
            inferred.
    """

    points: Array
    names: tuple[str, ...]
    fps: float
    leg_m: float
    unit_m: float
    up: str
    mapping: str
    forward: str = ""
    said: tuple[str, ...] = ()

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
    data = read_yaml(path, SkeletonError, "a readable skeleton mapping")
    points = data.get("points") if isinstance(data, dict) else None
    if not isinstance(points, dict):
        raise SkeletonError(f'{path}: a skeleton mapping needs a "points:" table of body point: joint name')
    unknown = sorted(map(str, set(points) - set(POINTS)))
    missing = [p for p in REQUIRED if p not in points]
    if unknown or missing:
        raise SkeletonError(
            f"{path}: {'unknown' if unknown else 'missing'} points {', '.join(unknown or missing)}; "
            f"a body has {', '.join(POINTS)}"
        )
    return Mapping(
        path.stem,
        {p: tuple(map(str, v)) if isinstance(v, list) else (str(v),) for p, v in points.items()},
        str(data.get("second") or ""),
    )


@lru_cache(maxsize=1)
def shipped_mappings() -> tuple[Mapping, ...]:
    """The mappings that come with the package, in name order."""
    return tuple(load_mapping(p) for p in sorted(_FOLDER.glob("*.yaml")))


def named_mapping(name: str | Path) -> Mapping:
    """A shipped mapping by its name, or a mapping file by its path.

    Raises:
        SkeletonError: neither, or an unusable file.
    """
    for mapping in shipped_mappings():
        if mapping.name == str(name):
            return mapping
    if not Path(name).is_file():
        known = ", ".join(m.name for m in shipped_mappings())
        raise SkeletonError(f"skeleton={name}: neither a file nor one of the shipped skeletons {known}")
    return load_mapping(name)


def find_mapping(clip: Clip, mappings: Iterable[Mapping] | None = None) -> Mapping:
    """The mapping that the clip says; else the one that fits its joints, of several the one that names most
    points.

    Raises:
        SkeletonError: none fits; the message says which came nearest and which joints it misses.
    """
    if clip.skeleton and mappings is None:
        return named_mapping(clip.skeleton)
    candidates = list(mappings) if mappings is not None else list(shipped_mappings())
    best: tuple[float, Mapping, list[str]] | None = None
    second = plain_names(clip.joint_names)[1:2]
    for mapping in candidates:
        found, missing = mapping.resolve(clip.joint_names)
        score = len(found) - 100 * len(missing)
        # Of two that find the same joints: the one whose own names these are, and whose order.
        score += 0.5 * sum(clip.joint_names[i] in mapping.points[p] for p, i in found.items()) / len(POINTS)
        score += 0.25 * ((plain_name(mapping.second),) == second) if mapping.second else 0.125
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


def to_body(
    clip: Clip,
    *,
    mapping: Mapping | None = None,
    unit_m: float | None = None,
    up: str | None = None,
    forward: str | None = None,
) -> Body:
    """Map a clip to a body in metres with z up.

    What is not given is taken from the clip, where its format or the user says it, else inferred.

    Args:
        clip: the clip.
        mapping: skeleton mapping; found by joint names.
        unit_m: metres per unit of the file; inferred from the legs.
        up: the file's up axis; inferred from where the neck is.
        forward: the file's axis that becomes x; if nobody says it, the axes only follow the up axis.

    Raises:
        SkeletonError: unknown skeleton, or no plausible unit.
    """
    told = said(clip, mapping=mapping, unit_m=unit_m, up=up, forward=forward)
    unit_m = clip.unit_m if unit_m is None else unit_m
    up, forward = up or clip.up, forward or clip.forward
    mapping = mapping or find_mapping(clip)
    found, missing = mapping.resolve(clip.joint_names)
    if missing:
        raise SkeletonError(
            f"{clip.provenance.get('file', clip.name)}: "
            f"the mapping {mapping.name} finds no joint for {', '.join(missing)}"
        )
    names = tuple(p for p in POINTS if p in found)
    columns = [found[p] for p in names]
    points = clip.positions()[:, columns]
    lengths = []
    for side in SIDES:
        hip, knee, ankle = (points[:, names.index(f"{side}_{p}")] for p in ("hip", "knee", "ankle"))
        lengths.append(np.linalg.norm(knee - hip, axis=1) + np.linalg.norm(ankle - knee, axis=1))
    leg = float(np.median(lengths))
    where = str(clip.provenance.get("file", clip.name))
    unit = guess_unit(leg, where) if unit_m is None else float(unit_m)
    if not np.isfinite(unit) or unit <= 0.0:
        raise SkeletonError(f"{where}: unit_m={unit_m} must be a positive number of metres")
    up = up or guess_up(points, names, rest_positions(clip)[columns])
    faces = forward or guess_forward(points, names, up)
    points = points @ up_rotation(up, forward).T * unit
    return Body(points, names, clip.fps, leg * unit, unit, up, mapping.name, faces, told)


def said(
    clip: Clip,
    *,
    mapping: Mapping | None = None,
    unit_m: float | None = None,
    up: str | None = None,
    forward: str | None = None,
) -> tuple[str, ...]:
    """What of "unit", "up", "forward" and "skeleton" the clip or the caller says; arguments as in `to_body`."""
    values = {
        "unit": unit_m if unit_m is not None else clip.unit_m,
        "up": up or clip.up,
        "forward": forward or clip.forward,
        "skeleton": mapping or clip.skeleton,
    }
    return tuple(k for k, v in values.items() if v is not None)


def rest_positions(clip: Clip) -> Array:
    """Joint positions (J, 3) of the skeleton with all rotations zero."""
    rest = np.zeros((len(clip.parents), 3))
    for j, parent in enumerate(clip.parents):
        rest[j] = clip.offsets[j] + (rest[parent] if parent >= 0 else 0.0)
    return rest


def describe(clip: Clip, body: Body) -> str:
    """One line for people: rate, unit, axes and skeleton as used, and what was only inferred."""

    def how(key: str) -> str:
        return "" if key in body.said else "?"

    facing = f"forward {body.forward}" if "forward" in body.said else f"facing {body.forward}?"
    return (
        f"{clip.fps:g} Hz, unit {body.unit_m:g} m{how('unit')}, {body.up} up{how('up')}, "
        f"{facing}, skeleton {body.mapping}{how('skeleton')}"
    )
