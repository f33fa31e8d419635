"""What a policy may observe: the table of known terms and the layout of one policy's observation.

Trainer, evaluator and robot share this table, so a policy trained on 160 numbers cannot be fed 154: a
layout names every column, and a name or size that does not match the table is refused by name.

Frames: "pelvis" is the pelvis link's own frame; "court" is the world frame, origin on the ground under the
net's centre, x toward the opponent, y to the player's left, z up. Quaternions are w, x, y, z.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from humanoid.joints import NUM_JOINTS, READY_JOINT_POS


class ObservationError(ValueError):
    """An observation layout or its values do not fit. The message names the term and what was expected."""


@dataclass(frozen=True)
class Term:
    """A quantity that the robot's side can supply, raw and unscaled.

    Attributes:
        name: key in layouts and in the values handed to a policy.
        size: how many numbers.
        unit: of each number; "1" for none.
        frame: "joint", "pelvis", "court" or "none".
        description: one sentence.
        neutral: values of a robot that stands in its ready pose at the origin with no ball, shape (size,).
    """

    name: str
    size: int
    unit: str
    frame: str
    description: str
    neutral: tuple[float, ...]


def _term(name: str, size: int, unit: str, frame: str, description: str, neutral=None) -> Term:
    values = (0.0,) * size if neutral is None else tuple(float(value) for value in neutral)
    return Term(name, size, unit, frame, description, values)


TERMS: dict[str, Term] = {
    term.name: term
    for term in (
        _term(
            "joint_pos",
            NUM_JOINTS,
            "rad",
            "joint",
            "Joint angles in the joint table's order.",
            READY_JOINT_POS,
        ),
        _term("joint_vel", NUM_JOINTS, "rad/s", "joint", "Joint velocities in the joint table's order."),
        _term("base_ang_vel", 3, "rad/s", "pelvis", "Angular velocity of the pelvis, as its gyro reads it."),
        _term("root_quat", 4, "1", "court", "Orientation of the pelvis, w, x, y, z.", (1, 0, 0, 0)),
        _term("root_pos", 3, "m", "court", "Position of the pelvis.", (0, 0, 0.75)),
        _term("root_lin_vel", 3, "m/s", "court", "Linear velocity of the pelvis."),
        _term("ball_pos", 3, "m", "court", "Position of the ball's centre; zeros when ball_valid is 0."),
        _term("ball_vel", 3, "m/s", "court", "Velocity of the ball; zeros when ball_valid is 0."),
        _term("ball_valid", 1, "1", "none", "1 while a ball is in play and observed, else 0."),
        _term("target", 2, "m", "court", "Where the ball should land, x and y on the ground.", (8.0, 0.0)),
    )
}
"""Every term a layout may name. A bundle uses any subset in any order."""


@dataclass(frozen=True)
class LayoutTerm:
    """Where one term lies in the observation.

    Attributes:
        name: key of :data:`TERMS`.
        start: first column.
        size: number of columns.
        scale: factor on the raw values.
        history: frames held in the columns; 1, because a policy keeps its history in its memory.
        unit, frame, description: as in :class:`Term`.
    """

    name: str
    start: int
    size: int
    scale: float = 1.0
    history: int = 1
    unit: str = ""
    frame: str = ""
    description: str = ""


@dataclass(frozen=True)
class Layout:
    """Columns of an observation.

    Attributes:
        size: number of columns, D.
        terms: in the order of their columns, without gaps.
    """

    size: int
    terms: tuple[LayoutTerm, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(term.name for term in self.terms)

    @staticmethod
    def of(names: Sequence[str], scales: Mapping[str, float] | None = None) -> Layout:
        """The layout that has the given terms in the given order.

        Args:
            names: keys of :data:`TERMS`.
            scales: factors by name, 1 where not given.

        Raises:
            ObservationError: an unknown or repeated name.
        """
        scales = dict(scales or {})
        terms, start = [], 0
        for name in names:
            known = _known(name, "layout")
            terms.append(
                LayoutTerm(
                    name=name,
                    start=start,
                    size=known.size,
                    scale=float(scales.pop(name, 1.0)),
                    unit=known.unit,
                    frame=known.frame,
                    description=known.description,
                )
            )
            start += known.size
        if scales:
            raise ObservationError(f"layout: scales for terms that it does not have: {sorted(scales)}")
        layout = Layout(start, tuple(terms))
        layout.check("layout")
        return layout

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, as in a bundle's manifest."""
        return {"size": self.size, "terms": [asdict(term) for term in self.terms]}

    @staticmethod
    def from_dict(data: Any, source: str = "observation") -> Layout:
        """Read the form of :meth:`to_dict` and check it.

        Args:
            data: parsed JSON.
            source: what messages call it, e.g. the manifest's path.

        Raises:
            ObservationError: naming the term and what was expected.
        """
        if not isinstance(data, dict) or not isinstance(data.get("terms"), list):
            raise ObservationError(f"{source}: observation must have 'size' and a list of 'terms'")
        terms = []
        for number, entry in enumerate(data["terms"]):
            try:
                terms.append(
                    LayoutTerm(
                        name=_typed(entry["name"], str),
                        start=_typed(entry["start"], int),
                        size=_typed(entry["size"], int),
                        scale=float(_typed(entry.get("scale", 1.0), (int, float))),
                        history=_typed(entry.get("history", 1), int),
                        unit=str(entry.get("unit", "")),
                        frame=str(entry.get("frame", "")),
                        description=str(entry.get("description", "")),
                    )
                )
            except (KeyError, TypeError, AttributeError, OverflowError) as error:
                raise ObservationError(
                    f"{source}: observation term {number} is malformed ({error}); "
                    "each needs name, start, size, scale"
                ) from None
        size = data.get("size")
        if not isinstance(size, int) or isinstance(size, bool):
            raise ObservationError(f"{source}: observation size is {size!r}, expected a whole number")
        layout = Layout(size, tuple(terms))
        layout.check(source)
        return layout

    def check(self, source: str = "observation") -> None:
        """Raise :class:`ObservationError` unless every term is known and the columns are complete."""
        seen: set[str] = set()
        column = 0
        for term in self.terms:
            known = _known(term.name, source)
            if term.name in seen:
                raise ObservationError(f"{source}: observation term {term.name!r} appears twice")
            seen.add(term.name)
            if term.history != 1:
                raise ObservationError(
                    f"{source}: observation term {term.name!r} asks for a history of {term.history} frames; "
                    "a policy keeps its history in its memory, export it with history 1"
                )
            if term.size != known.size:
                raise ObservationError(
                    f"{source}: observation term {term.name!r} has size {term.size}, "
                    f"the robot supplies {known.size}"
                )
            for label, mine, theirs in (("unit", term.unit, known.unit), ("frame", term.frame, known.frame)):
                if mine and mine != theirs:
                    raise ObservationError(
                        f"{source}: observation term {term.name!r} has {label} {mine!r}, "
                        f"the robot supplies {theirs!r}"
                    )
            if not (np.isfinite(term.scale) and term.scale != 0.0):
                raise ObservationError(
                    f"{source}: observation term {term.name!r} has scale {term.scale}, "
                    "expected a finite number other than 0"
                )
            if term.start != column:
                raise ObservationError(
                    f"{source}: observation term {term.name!r} starts at column {term.start}, "
                    f"expected {column}"
                )
            column += term.size
        if column != self.size:
            raise ObservationError(
                f"{source}: observation size is {self.size}, its terms have {column} columns together"
            )

    def missing(self, supplied: Iterable[str]) -> tuple[str, ...]:
        """Terms of this layout that are not among the supplied names."""
        supplied = set(supplied)
        return tuple(name for name in self.names if name not in supplied)

    def assemble(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Observation from raw values.

        Args:
            values: name to array of shape (N, size); names that the layout does not use are ignored.

        Returns:
            Observation, float32, shape (N, D).

        Raises:
            ObservationError: a term is missing or has another shape.
        """
        first = values.get(self.terms[0].name) if self.terms else None
        count = len(first) if first is not None else 0
        out = np.empty((count, self.size), dtype=np.float32)
        for term in self.terms:
            value = values.get(term.name)
            if value is None:
                raise ObservationError(
                    f"observation term {term.name!r} is not supplied; there are {sorted(values)}"
                )
            if np.shape(value) != (count, term.size):
                raise ObservationError(
                    f"observation term {term.name!r} has shape {np.shape(value)}, "
                    f"expected {(count, term.size)}"
                )
            columns = out[:, term.start : term.start + term.size]
            if term.scale == 1.0:
                columns[...] = value
            else:
                np.multiply(value, term.scale, out=columns, casting="same_kind")
        return out


def neutral_values(count: int = 1) -> dict[str, np.ndarray]:
    """Values of all known terms for robots that stand still with no ball: name to (count, size) float32."""
    return {
        name: np.tile(np.asarray(term.neutral, dtype=np.float32), (count, 1)) for name, term in TERMS.items()
    }


def _known(name: str, source: str) -> Term:
    if name not in TERMS:
        raise ObservationError(f"{source}: unknown observation term {name!r}; known are {', '.join(TERMS)}")
    return TERMS[name]


def _typed(value: Any, kind):
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{value!r} is not of the expected type")
    return value
