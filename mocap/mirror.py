"""Left and right exchanged: a left-hander becomes a right-hander."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from mocap.skeleton import SIDES, Body

_WORDS = {"left": "right", "Left": "Right", "LEFT": "RIGHT"}
_BOTH = {**_WORDS, **{b: a for a, b in _WORDS.items()}}


def mirror(body: Body) -> Body:
    """The body reflected in the plane y = 0, and its left and right points exchanged. Done twice it is the
    body itself, exactly.
    """
    points = body.points[:, [body.names.index(other_side(n)) for n in body.names]]
    return replace(body, points=points * np.array([1.0, -1.0, 1.0]))


def other_side(name: str) -> str:
    """The same point or hand on the other side: "left_wrist" for "right_wrist", "pelvis" for itself."""
    for a, b in (SIDES, SIDES[::-1]):
        if name == a or name.startswith(f"{a}_"):
            return b + name[len(a) :]
    return name


def twin_joints(joint_names: tuple[str, ...]) -> dict[int, int] | None:
    """Index of each joint's twin on the other side, itself for a joint of the middle; None when no joint has
    one.

    Sides are told by the words left and right, or by L and R at the start, at the end or after a
    separator ("LHipJoint", "thigh_r", "L_Knee").
    """
    index = {n: i for i, n in enumerate(joint_names)}
    out = {}
    for i, name in enumerate(joint_names):
        out[i] = next((index[t] for t in _other_names(name) if t in index), i)
    # A twin's twin is the joint itself; else the names mean something else.
    out = {i: j if out[j] == i else i for i, j in out.items()}
    return out if any(i != j for i, j in out.items()) else None


def _other_names(name: str) -> list[str]:
    """Names that the twin may have."""
    words = re.sub("|".join(_BOTH), lambda m: _BOTH[m.group()], name)
    if words != name:
        return [words]
    letters = {"L": "R", "R": "L", "l": "r", "r": "l"}
    found = []
    for pattern in (r"^([LR])(?=[A-Z_. ])", r"(?<=[_.: ])([LRlr])(?=$|[_. ])", r"^([lr])(?=[A-Za-z_.])"):
        other = re.sub(pattern, lambda m: letters[m.group(1)], name)
        if other != name:
            found.append(other)
    return found
