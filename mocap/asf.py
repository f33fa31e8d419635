"""Read Acclaim skeletons (ASF): bones with direction, length, axis, degrees of freedom and limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mocap.clip import ClipFormatError, decode_text
from mocap.rotations import Array, axis_matrix
from mocap.table import MAX_ABS, number

MAX_BONES = 1000
DOFS = ("rx", "ry", "rz", "tx", "ty", "tz", "l")
"""Degrees of freedom of a bone: rotations, translations, and its length's change."""


@dataclass
class Bone:
    """A bone, in the directions of the rest pose.

    Attributes:
        name: its name; "root" for the root, which has no length.
        direction: (3,) unit vector from its beginning to its end; length: in the file's unit.
        axis: (3, 3) the frame in which its rotations are meant.
        dof: its degrees of freedom in the order of the AMC's numbers, each one of `DOFS`.
        limits: (n, 2) lowest and highest value of each, infinite where the file has none; as in the file.
        parent: index of its parent, -1 for the root.
        position, orientation: the root's place and attitude before any motion.
    """

    name: str
    direction: Array = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: Array = field(default_factory=lambda: np.eye(3))
    dof: tuple[str, ...] = ()
    limits: Array = field(default_factory=lambda: np.zeros((0, 2)))
    parent: int = -1
    position: Array = field(default_factory=lambda: np.zeros(3))
    orientation: Array = field(default_factory=lambda: np.eye(3))


@dataclass
class Skeleton:
    """An ASF file: the root first, parents before children.

    Attributes:
        bones: the bones.
        degrees: whether its angles, and its AMC's unless that says otherwise, are degrees.
        length_factor: the file's own scale (CMU: 0.45, lengths are inches / 0.45).
    """

    bones: list[Bone]
    degrees: bool
    length_factor: float


def fixed_axes(order: str, angles: Array) -> Array:
    """Rotation (..., 3, 3) about the file's fixed axes, one after the other in the written order: "XYZ" is
    R_z R_y R_x, as Acclaim means it. `angles` (..., n) [rad].
    """
    r = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for n, axis in enumerate(order.upper()):
        r = axis_matrix(axis, angles[..., n]) @ r
    return r


class _Lines:
    """The words of each line with a meaning, and errors with its number."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.line = 0
        self._lines = text.splitlines()

    def fail(self, what: str) -> ClipFormatError:
        return ClipFormatError(f"{self.source}, line {self.line}: {what}")

    def __iter__(self) -> Iterator[list[str]]:
        for n, line in enumerate(self._lines, 1):
            self.line = n
            words = line.split("#", 1)[0].replace("(", " ( ").replace(")", " ) ").split()
            if words:
                yield words

    def numbers(self, words: list[str], count: int, what: str) -> Array:
        values = [number(w) for w in words[:count]]
        good = [v for v in values if v is not None and abs(v) <= MAX_ABS]
        if len(good) < count:
            raise self.fail(f"{what} needs {count} finite number{'s' if count > 1 else ''}")
        return np.array(good)


def parse_asf(data: bytes, source: str) -> Skeleton:
    """Parse the bytes of an ASF file; `source` stands in messages.

    Raises:
        ClipFormatError: not an ASF file, or damaged; the message names line and bone.
    """
    text = decode_text(data, source)
    if "\0" in text:
        raise ClipFormatError(f"{source}: binary data, not an ASF text file; check the file")
    lines = _Lines(text, source)
    bones: dict[str, Bone] = {"root": Bone("root")}
    parents: dict[str, str] = {}
    units = {"length": 1.0}
    degrees = True
    section = ""
    bone: Bone | None = None
    angles: dict[str, tuple[Array, str]] = {"root": (np.zeros(3), "XYZ")}
    pending: list[float] = []
    for words in lines:
        key = words[0].lower()
        if key.startswith(":"):
            section = key
            continue
        if section == ":units":
            if key == "angle":
                degrees = len(words) < 2 or words[1].lower()[:3] != "rad"
            elif key == "length":
                units["length"] = float(lines.numbers(words[1:], 1, "the length unit")[0])
        elif section == ":root":
            _root(lines, bones["root"], angles, key, words)
        elif section == ":bonedata":
            if key == "begin":
                bone, pending = Bone(""), []
            elif bone is None:
                raise lines.fail(f'"{words[0][:40]}" outside of begin and end')
            elif key == "end":
                _close(lines, bone, bones, pending)
                bone = None
            else:
                _bone(lines, bone, angles, pending, key, words)
        elif section == ":hierarchy" and key not in ("begin", "end"):
            for child in words[1:]:
                if words[0] not in bones or child not in bones or child == "root":
                    strange = child if words[0] in bones else words[0]
                    raise lines.fail(f"bone {strange[:40]} has no entry in :bonedata")
                if child in parents:
                    raise lines.fail(f"bone {child} hangs on {parents[child]} and on {words[0][:40]}")
                parents[child] = words[0]
    if len(bones) < 2 or not parents:
        raise ClipFormatError(
            f"{source}: no {'bones' if len(bones) < 2 else 'hierarchy'}; not an ASF file, or truncated"
        )
    if not units["length"] > 0.0:
        raise ClipFormatError(f"{source}: a length unit of {units['length']:g}; correct the file")
    for name, (values, order) in angles.items():
        turn = fixed_axes(order, np.deg2rad(values) if degrees else values)
        if name == "root":
            bones[name].orientation = turn
        elif name in bones:  # not if another name followed
            bones[name].axis = turn
    return Skeleton(_ordered(bones, parents, source), degrees, units["length"])


def _root(
    lines: _Lines, root: Bone, angles: dict[str, tuple[Array, str]], key: str, words: list[str]
) -> None:
    if key == "order":
        root.dof = _dofs(lines, words[1:], "root")
    elif key == "axis":
        angles["root"] = (angles["root"][0], _order(lines, words[1:2]))
    elif key == "position":
        root.position = lines.numbers(words[1:], 3, "the root's position")
    elif key == "orientation":
        angles["root"] = (lines.numbers(words[1:], 3, "the root's orientation"), angles["root"][1])


def _bone(
    lines: _Lines,
    bone: Bone,
    angles: dict[str, tuple[Array, str]],
    pending: list[float],
    key: str,
    words: list[str],
) -> None:
    label = f"bone {bone.name or '(no name yet)'}"
    if key == "name":
        if len(words) < 2:
            raise lines.fail("a bone without a name")
        bone.name = "_".join(words[1:])[:200]
    elif key == "direction":
        v = lines.numbers(words[1:], 3, f"the direction of {label}")
        bone.direction = v / max(float(np.linalg.norm(v)), 1e-9)
    elif key == "length":
        bone.length = float(lines.numbers(words[1:], 1, f"the length of {label}")[0])
    elif key == "axis":
        if not bone.name:
            raise lines.fail("a bone's axis before its name")
        angles[bone.name] = (lines.numbers(words[1:], 3, f"the axis of {label}"), _order(lines, words[4:5]))
    elif key == "dof":
        bone.dof = _dofs(lines, words[1:], label)
    elif key == "limits" or words[0] == "(":
        for word in words:
            if word.lower() in ("limits", "(", ")"):
                continue
            value = number(word)
            # "-inf" and "inf" stand for no limit.
            if value is None or np.isnan(value):
                raise lines.fail(f'"{word[:40]}" in the limits of {label} is not a number')
            pending.append(value)
    # Masses and ids are not needed.


def _close(lines: _Lines, bone: Bone, bones: dict[str, Bone], pending: list[float]) -> None:
    """Take over a finished bone."""
    if not bone.name:
        raise lines.fail("a bone without a name")
    if bone.name in bones:
        raise lines.fail(f"a second bone named {bone.name}; rename one")
    if len(bones) >= MAX_BONES:
        raise lines.fail(f"more than {MAX_BONES} bones; this is not a body's skeleton")
    limits = np.full((len(bone.dof), 2), [-np.inf, np.inf])
    if len(pending) == limits.size:
        limits = np.array(pending).reshape(-1, 2)
    elif pending:
        raise lines.fail(
            f"bone {bone.name} has {len(pending)} limit values for {len(bone.dof)} degrees of freedom"
        )
    bone.limits = limits
    bones[bone.name] = bone


def _dofs(lines: _Lines, words: list[str], label: str) -> tuple[str, ...]:
    found = tuple(w.lower() for w in words)
    strange = [w for w in found if w not in DOFS]
    if strange or len(set(found)) != len(found):
        raise lines.fail(
            f"degrees of freedom of {label}: {' '.join(words)[:80]}; each one of {' '.join(DOFS)}, once"
        )
    return found


def _order(lines: _Lines, words: list[str]) -> str:
    order = (words[0] if words else "XYZ").upper()
    if sorted(order) != ["X", "Y", "Z"]:
        raise lines.fail(f"axis order {order[:40]} is not an order of X, Y and Z")
    return order


def _ordered(bones: dict[str, Bone], parents: dict[str, str], source: str) -> list[Bone]:
    """Bones reachable from the root, parents first."""
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    order, todo = [], ["root"]
    index: dict[str, int] = {}
    while todo:
        name = todo.pop()
        bone = bones[name]
        bone.parent = index[parents[name]] if name in parents else -1
        index[name] = len(order)
        order.append(bone)
        todo += reversed(children.get(name, []))
    lost = next((n for n in bones if n not in index), None)
    if lost is not None:
        raise ClipFormatError(f"{source}: bone {lost} hangs on nothing in :hierarchy; add it, or take it out")
    return order
