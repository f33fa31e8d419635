"""What a person says about clips in a YAML file beside them, where files do not say it and the guess is wrong.

`clips.yaml` in a clip's folder, or in one above it up to the folder that was given, holds patterns of file
names with values; a later pattern wins over an earlier one, and a nearer file over a farther one:

    "*.bvh":      {unit_m: 0.01, up: y}
    "take_*.csv": {fps: 30, quat_order: xyzw}
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mocap.axes import AXES
from mocap.clip import ClipError
from mocap.yaml_file import read_yaml

FILE_NAME = "clips.yaml"


class OverrideError(ClipError):
    """A clips.yaml that cannot be used; the message names the file, the pattern and the key."""


@dataclass(frozen=True)
class Overrides:
    """Values that are taken instead of what would be inferred; None where nothing is said.

    Attributes:
        fps: frames a second. unit_m: metres per unit of the file.
        up, forward: axes of the file, "x" … "-z"; forward becomes the world's x.
        skeleton: a shipped mapping's name or a mapping file.
        markers: a shipped marker set's name or a marker-set file (C3D).
        asf: the skeleton file of an AMC clip.
        body_model: SMPL model file (npz); stature_m: the person's height where there is no model [m].
        quat_order: "wxyz" or "xyzw". angles: "rad" or "deg".
        joint_order: "table", "breadth_first" or a list of joint names, for G1 files that do not name them.
    """

    fps: float | None = None
    unit_m: float | None = None
    up: str | None = None
    forward: str | None = None
    skeleton: str | None = None
    markers: str | None = None
    asf: str | None = None
    body_model: str | None = None
    stature_m: float | None = None
    quat_order: str | None = None
    angles: str | None = None
    joint_order: str | tuple[str, ...] | None = None


_CHOICES = {
    "up": AXES,
    "forward": AXES,
    "quat_order": ("wxyz", "xyzw"),
    "angles": ("rad", "deg"),
}
_RANGES = {"fps": (1.0, 10000.0), "unit_m": (1e-6, 1e3), "stature_m": (0.5, 2.5)}
_PATHS = ("skeleton", "markers", "asf", "body_model")
_KEYS = tuple(f.name for f in fields(Overrides))


def overrides_for(path: Path, root: Path | None = None) -> Overrides:
    """What the clips.yaml files say about a clip.

    Args:
        path: the clip.
        root: the highest folder that is looked in; the clip's own folder when not given.

    Raises:
        OverrideError: a clips.yaml that cannot be used.
    """
    folders = [path.parent]
    while root is not None and folders[-1] != root and root in folders[-1].parents:
        folders.append(folders[-1].parent)
    found = Overrides()
    for folder in reversed(folders):
        file = folder / FILE_NAME
        if not file.is_file():
            continue
        for pattern, values in load_overrides(file):
            relative = path.relative_to(folder).as_posix()
            if fnmatch(relative, pattern) or fnmatch(path.name, pattern):
                found = replace(found, **values)
    return found


def load_overrides(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """The patterns of a clips.yaml with their checked values, in the file's order.

    Raises:
        OverrideError: unreadable file, unknown key, unusable value.
    """
    data = read_yaml(file, OverrideError, "a table of file patterns")
    if data is None:
        return []
    if not isinstance(data, dict):
        raise OverrideError(f'{file}: needs a table of file patterns, like "*.bvh": {{unit_m: 0.01}}')
    out = []
    for pattern, values in data.items():
        if not isinstance(values, dict):
            raise OverrideError(f'{file}: "{pattern}" needs a table of keys and values, like {{up: y}}')
        out.append((str(pattern), {k: _value(file, str(pattern), k, v) for k, v in values.items()}))
    return out


def _value(file: Path, pattern: str, key: Any, value: Any) -> Any:
    """A checked value."""
    where = f'{file}: "{pattern}"'
    if key not in _KEYS:
        raise OverrideError(f"{where}: unknown key {key}; known are {', '.join(_KEYS)}")
    if key in _RANGES:
        low, high = _RANGES[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise OverrideError(f"{where}: {key} needs a number from {low:g} to {high:g}, not {value}")
        return float(value)
    if key == "joint_order" and isinstance(value, list):
        return tuple(map(str, value))
    if not isinstance(value, str) or not value:
        raise OverrideError(f"{where}: {key} needs a word, not {value}")
    if key in _CHOICES:
        value = value.lower().lstrip("+")
        if value not in _CHOICES[key]:
            raise OverrideError(f"{where}: {key}={value}: choose one of {', '.join(_CHOICES[key])}")
    # A file's path counts from the clips.yaml; a shipped name stays a name.
    if key in _PATHS and (file.parent / value).is_file():
        return str(file.parent / value)
    return value
