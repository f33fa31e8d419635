"""Find strokes by how they meet the ball.

    rally-strokes LIBRARY --kind forehand --height 0.9 --right 0.6 --speed 10

or, in Python,

    index = StrokeIndex.of("library.safetensors")
    search(index, kind="forehand", height=0.9, right=0.6, speed=10.0, n=5)

"a forehand that meets the ball 0.9 m high, 0.6 m to the right, at 10 m/s". How near a stroke is to what was asked is
the root mean square of its differences, each in units of a stated tolerance (`TOLERANCES`): 1 means that it misses by
about one tolerance in everything that was asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from humanoid.files import atomic_write
from humanoid.motion import MOVE_KINDS, STROKE_KINDS, MotionError, RobotMotion
from humanoid.motion_library import MotionLibrary, read_folder
from mocap.robot import RobotModel, default_robot
from mocap.strike import Strike, find_strikes

FORMAT = "stroke-index/1"

TOLERANCES: dict[str, tuple[str, float, str]] = {
    "height": ("height_m", 0.10, "m"),
    "right": ("right_m", 0.15, "m"),
    "forward": ("forward_m", 0.15, "m"),
    "speed": ("speed_m_s", 1.5, "m/s"),
    "rise": ("rise_deg", 10.0, "°"),
    "turn": ("turn_deg", 20.0, "°"),
    "preparation": ("preparation_s", 0.25, "s"),
    "follow_through": ("follow_through_s", 0.25, "s"),
}
"""What may be asked for: the strike's field, how large a difference counts as one, and its unit. The tolerances are
judgement, between a third and all of the spread of one kind of stroke (Caldas on the robot: height 0.08 to 0.24 m,
right 0.07 to 0.35 m, speed 2.0 to 3.7 m/s), so that no quantity drowns the others."""


class SearchError(ValueError):
    """A search that cannot be answered. The message names the option and what to do."""


@dataclass(frozen=True)
class Match:
    """A stroke that was found.

    Attributes:
        strike: the stroke.
        distance: root mean square of the differences in units of their tolerances; 0 is what was asked for.
        differences: per quantity asked for, the stroke's value less the wished one, in its own unit.
    """

    strike: Strike
    distance: float
    differences: dict[str, float]

    def line(self) -> str:
        """One line for people."""
        s = self.strike
        name = f"{s.side} volley" if s.kind == "volley" else s.kind
        off = ", ".join(f"{k} {v:+.2f} {TOLERANCES[k][2]}" for k, v in self.differences.items())
        return (
            f"{self.distance:5.2f}  {name} in {s.motion} at {s.strike_s:.2f} s: {s.height_m:.2f} m high, "
            f"{abs(s.right_m):.2f} m {'right' if s.right_m >= 0.0 else 'left'}, {s.speed_m_s:.1f} m/s"
            + (f" ({off})" if off else "")
        )


class StrokeIndex:
    """All strikes of a set of motions, ready to be searched.

    Attributes:
        strikes: in the order of the motions.
    """

    def __init__(self, strikes: Iterable[Strike]) -> None:
        """From strikes that are at hand."""
        self.strikes = tuple(strikes)
        self._values = np.array(
            [[getattr(s, field) for field, _, _ in TOLERANCES.values()] for s in self.strikes], dtype=float
        ).reshape(len(self.strikes), len(TOLERANCES))
        self._kind = np.array([s.kind for s in self.strikes], dtype=object)
        self._side = np.array([s.side for s in self.strikes], dtype=object)

    @staticmethod
    def build(motions: Iterable[RobotMotion], robot: RobotModel | None = None) -> StrokeIndex:
        """From motions: measures all their strokes on the robot."""
        robot = robot or default_robot()
        return StrokeIndex(s for m in motions for s in find_strikes(m, robot))

    @staticmethod
    def of(source: str | Path) -> StrokeIndex:
        """From a library file, a folder of motions, or an index that was saved.

        Raises:
            MotionError: missing or damaged.
        """
        source = Path(source)
        if source.suffix == ".json":
            return StrokeIndex.load(source)
        if source.is_dir():
            return StrokeIndex.build(read_folder(source))
        library = MotionLibrary.open(source)
        return StrokeIndex.build(library[e.name] for e in library.entries if e.strokes)

    def save(self, path: str | Path) -> None:
        """Write the index as JSON."""
        with atomic_write(Path(path), "w") as file:
            json.dump({"format": FORMAT, "strikes": [asdict(s) for s in self.strikes]}, file)
            file.write("\n")

    @staticmethod
    def load(path: str | Path) -> StrokeIndex:
        """Read an index.

        Raises:
            MotionError: missing, damaged or of another version.
        """
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']!r}, this version reads {FORMAT!r}")
            strikes = [
                Strike(
                    **{
                        f.name: _plain(s[f.name], f.name in ("direction", "normal", "step_m"))
                        for f in fields(Strike)
                    }
                )
                for s in data["strikes"]
            ]
            index = StrokeIndex(strikes)
            if not np.isfinite(index._values).all():
                raise ValueError("a value is not finite")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise MotionError(
                f"{path}: not a stroke index ({e}); make it again with rally-strokes --save"
            ) from None
        return index

    def __len__(self) -> int:
        return len(self.strikes)

    def nearest(self, kind: str | None, side: str | None, wishes: dict[str, float], n: int) -> list[Match]:
        """See `search`."""
        _check(kind, side, wishes, n)
        mask = np.ones(len(self), dtype=bool)
        if kind is not None:
            mask &= self._kind == kind
        if side is not None:
            mask &= self._side == side
        rows = np.flatnonzero(mask)
        names = list(TOLERANCES)
        columns = np.array([names.index(k) for k in wishes], dtype=int)
        off = self._values[rows][:, columns] - np.array(list(wishes.values()), dtype=float)
        units = off / np.array([TOLERANCES[k][1] for k in wishes])
        distance = np.sqrt((units**2).mean(axis=1)) if len(columns) else np.zeros(len(rows))
        order = np.argsort(distance, kind="stable")[:n]
        return [
            Match(
                self.strikes[rows[i]],
                float(distance[i]),
                {k: float(x) for k, x in zip(wishes, off[i], strict=True)},
            )
            for i in order
        ]


def search(
    library: StrokeIndex | str | Path,
    *,
    kind: str | None = None,
    side: str | None = None,
    n: int = 5,
    **wishes: float,
) -> list[Match]:
    """The strokes nearest to what is wished for, nearest first.

    Args:
        library: an index; a library file or folder is indexed first (about 2 ms a stroke), so keep the index.
        kind: one of `humanoid.motion.STROKE_KINDS`.
        side: "forehand" or "backhand", for volleys.
        n: how many at most.
        wishes: any of `TOLERANCES`: height, right, forward [m], speed [m/s], rise, turn [°], preparation,
            follow_through [s].

    Raises:
        SearchError: unknown kind or quantity, or a wish that is no number.
    """
    index = library if isinstance(library, StrokeIndex) else StrokeIndex.of(library)
    return index.nearest(kind, side, wishes, n)


def _check(kind: str | None, side: str | None, wishes: dict[str, float], n: int) -> None:
    if kind is not None and kind not in STROKE_KINDS:
        hint = "; moves are no strokes" if kind in MOVE_KINDS else ""
        raise SearchError(f"kind={kind}: choose one of {', '.join(STROKE_KINDS)}{hint}")
    if side not in (None, "forehand", "backhand"):
        raise SearchError(f"side={side}: choose forehand or backhand")
    if n < 1:
        raise SearchError(f"n={n}: ask for at least one stroke")
    for key, value in wishes.items():
        if key not in TOLERANCES:
            raise SearchError(f"{key}: not something to search for; choose among {', '.join(TOLERANCES)}")
        if not isinstance(value, (int, float)) or not np.isfinite(value):
            raise SearchError(f"{key}={value}: give a number in {TOLERANCES[key][2]}")


def _plain(value: Any, vector: bool) -> Any:
    return tuple(float(x) for x in value) if vector else value


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `rally-strokes`."""
    sys.exit(execute(arguments))


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 when nothing was found, 2 when nothing could be done."""
    parser = argparse.ArgumentParser(
        prog="rally-strokes", description="Find strokes by how they meet the ball."
    )
    parser.add_argument("library", type=Path, help="library file, folder of motions, or saved index (.json)")
    parser.add_argument("--kind", choices=STROKE_KINDS)
    parser.add_argument("--side", choices=("forehand", "backhand"))
    for name, (_, _, unit) in TOLERANCES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, metavar=unit)
    parser.add_argument("-n", type=int, default=5, help="how many")
    parser.add_argument("--save", type=Path, metavar="INDEX.json", help="keep the index for quicker searches")
    asked = parser.parse_args(arguments)
    wishes = {k: v for k in TOLERANCES if (v := getattr(asked, k)) is not None}
    try:
        index = StrokeIndex.of(asked.library)
        if asked.save:
            index.save(asked.save)
        found = search(index, kind=asked.kind, side=asked.side, n=asked.n, **wishes)
    except (MotionError, SearchError, OSError) as e:
        print(f"rally-strokes: {e}", file=sys.stderr)
        return 2
    print(f"{len(found)} of {len(index)} strokes; distance in tolerances, then what was found")
    for match in found:
        print(match.line())
    return 0 if found else 1


if __name__ == "__main__":
    main()
