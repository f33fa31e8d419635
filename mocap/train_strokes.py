"""Fit the stroke classifier, and say how well it does on players whom it has not seen.

    python -m mocap.train_strokes CLIPS

`CLIPS` is the folder of all archives. Strokes are those of the annotations (assets/annotations); all other swings of
those clips, of both hands, and all swings of clips that have no tennis in them, are not strokes. `--check` only
measures.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mocap.benchmark import synthetic_clip
from mocap.clean import clean
from mocap.clip import ClipError
from mocap.config import RetargetConfig
from mocap.filters import resample_cubic
from mocap.readers import find, read
from mocap.retarget import prepare
from mocap.skeleton import Body, to_body
from mocap.stroke_classifier import CLASSES, SHIPPED, StrokeClassifier
from mocap.strokes import choose, racket_hand
from mocap.swings import find_swings

NEAR_S = 0.3
"""A swing this near to an annotated strike may be it [s]."""

SLOWER = 0.7
"""Every clip of tennis is also shown at this speed, as if the player had hit softly: without it, strokes of a player
who swings at half the speed of all others are not found (docs/strokes.md)."""

RANDOM_SEED = 0


@dataclass(frozen=True)
class Annotation:
    """A stroke that a person sees: kind, side, hand, strike in the file's time [s], and whether he is sure."""

    kind: str
    side: str
    hand: str
    strike_s: float
    sure: bool

    @property
    def label(self) -> int:
        """Index into `CLASSES`."""
        return CLASSES.index(f"{self.side} volley" if self.kind == "volley" else self.kind)


@dataclass(frozen=True)
class Example:
    """All swings of one hand of one clip.

    Attributes:
        clip, player: names; the player is what a fold leaves out.
        hand: of the swings.
        times: (N,) [s].
        figures: (N, F).
        labels: (N,) indices into `CLASSES`, -1 for swings that count neither way.
        measured: whether it counts when a classifier is measured; what is made from a clip or made up does not.
    """

    clip: str
    player: str
    hand: str
    times: np.ndarray
    figures: np.ndarray
    labels: np.ndarray
    measured: bool = True


def read_annotations(paths: Iterable[Path]) -> dict[str, list[Annotation]]:
    """Annotations per clip name (without ending)."""
    out: dict[str, list[Annotation]] = {}
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                out.setdefault(row["clip"], []).append(
                    Annotation(
                        row["kind"], row["side"], row["hand"], float(row["strike_s"]), row["sure"] == "yes"
                    )
                )
    return out


def load_body(path: Path) -> tuple[Body, float]:
    """A clip as stroke finding sees it, and how much was cut off its start [s]."""
    cleaned = clean(read(path), fps=RetargetConfig().fps)
    return prepare(cleaned.body, RetargetConfig()), cleaned.trimmed_start_s


def examples(
    body: Body,
    clip: str,
    player: str,
    annotations: Iterable[Annotation] | None,
    skip_s: float = 0.0,
    measured: bool = True,
) -> Iterator[Example]:
    """The labelled swings of a clip.

    Args:
        body: the clip at the rate of stroke finding.
        clip, player: names.
        annotations: its strokes; None: it has none at all.
        skip_s: what was cut off the clip's start.
        measured: see `Example`.
    """
    known = list(annotations or ())
    for hand in ("right", "left"):
        swings = find_swings(body, hand)
        times = swings.frames / body.fps
        labels = np.zeros(len(times), dtype=int)
        for a in known:
            gap = np.abs(times - (a.strike_s - skip_s))
            near = np.flatnonzero(gap < NEAR_S)
            if not len(near):
                continue
            if a.hand != hand:
                # The other hand of a two-handed stroke is no example of anything.
                if a.side == "backhand":
                    labels[near] = -1
                continue
            best = near[np.argmax(swings.speed[near] - 8.0 * gap[near])]
            labels[near[gap[near] < 0.25]] = -1
            labels[best] = a.label if a.sure else -1
        yield Example(clip, player, hand, times, swings.figures, labels, measured)


def slowed(
    body: Body, clip: str, player: str, annotations: Iterable[Annotation], skip_s: float
) -> Iterator[Example]:
    """The same clip at `SLOWER` times its speed."""
    points = resample_cubic(body.points, body.fps, body.fps / SLOWER)
    later = [replace(a, strike_s=(a.strike_s - skip_s) / SLOWER) for a in annotations]
    return examples(replace(body, points=points), clip, player, later, measured=False)


def made_up() -> list[Example]:
    """The made-up player of the tests, who hits forehands: always among the examples, never among those measured."""
    out: list[Example] = []
    for march in (True, False):
        for period_s in (2.5, 3.0):
            clip = synthetic_clip(20.0, march=march, period_s=period_s)
            strokes = [
                Annotation("forehand", "forehand", "right", (n + 0.5) * period_s, True)
                for n in range(int(20.0 / period_s))
            ]
            body = prepare(to_body(clip), RetargetConfig())
            out += examples(body, clip.name, "made up", strokes, measured=False)
    return out


def fit(data: list[Example]) -> StrokeClassifier:
    """Fit on all swings that may teach something: every stroke, every swing that a first, quick fit takes for one
    with 1 %, and one in twelve of the others.
    """
    data = data + made_up()
    x = np.concatenate([e.figures for e in data])
    y = np.concatenate([e.labels for e in data])
    rng = np.random.default_rng(RANDOM_SEED)
    lot = rng.random(len(y))
    first = (y > 0) | ((y == 0) & (lot < 0.15))
    quick = StrokeClassifier.fit(x[first], y[first], iterations=40)
    hard = quick.probabilities(x)[:, 0] < 0.99
    keep = (y > 0) | ((y == 0) & (hard | (lot < 0.08)))
    return StrokeClassifier.fit(x[keep], y[keep])


def confusion(data: list[Example], model: StrokeClassifier) -> np.ndarray:
    """(C, C) counts: what swings are (row) and what stroke finding says (column), sure ones only."""
    counts = np.zeros((len(CLASSES), len(CLASSES)), dtype=int)
    clips: dict[str, list[Example]] = {}
    for e in data:
        if e.measured:
            clips.setdefault(e.clip, []).append(e)
    for both in clips.values():
        chances = {e.hand: model.probabilities(e.figures) for e in both}
        hand = racket_hand({h: 1.0 - p[:, 0] for h, p in chances.items()})
        for e in both:
            said = np.zeros(len(e.times), dtype=int)
            if e.hand == hand:
                chosen = choose(e.times, 1.0 - chances[hand][:, 0])
                said[chosen] = 1 + chances[hand][chosen, 1:].argmax(axis=1)
            counted = e.labels >= 0
            np.add.at(counts, (e.labels[counted], said[counted]), 1)
    return counts


def leave_one_out(data: list[Example]) -> dict[str, np.ndarray]:
    """Confusion per player, each with a classifier that has not seen him."""
    players = sorted({e.player for e in data})
    return {
        p: confusion([e for e in data if e.player == p], fit([e for e in data if e.player != p]))
        for p in players
    }


def summary(counts: np.ndarray) -> str:
    """Share of strokes found, share of those with the right class, and number of false alarms."""
    strokes = counts[1:]
    found = strokes[:, 1:].sum()
    right = np.trace(strokes[:, 1:])
    return (
        f"{found} of {strokes.sum()} strokes found ({100.0 * found / max(strokes.sum(), 1):.1f} %), "
        f"{100.0 * right / max(found, 1):.1f} % of them in the right class, {counts[0, 1:].sum()} false alarms"
    )


def load_all(folder: Path, annotations: dict[str, list[Annotation]], no_tennis: list[str]) -> list[Example]:
    """Examples from all clips that are annotated or match one of the patterns of clips without tennis."""
    out: list[Example] = []
    for path in find(folder):
        name = path.relative_to(folder).as_posix()
        known = annotations.get(path.stem)
        if known is None and not any(path.relative_to(folder).match(p) for p in no_tennis):
            continue
        try:
            body, skip = load_body(path)
        except ClipError as e:
            print(f"left out: {e}")
            continue
        player = path.stem.split("_")[0] if known else f"no tennis {sum(map(ord, name)) % 2}"
        out += examples(body, name, player, known, skip)
        if known:
            out += slowed(body, name, player, known, skip)
    return out


def _is_stroke(labels: np.ndarray) -> np.ndarray:
    return labels > 0


def _is_none(labels: np.ndarray) -> np.ndarray:
    return labels == 0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Fit the stroke classifier and measure it.")
    parser.add_argument("clips", type=Path)
    parser.add_argument(
        "--annotations",
        type=Path,
        nargs="+",
        default=sorted(Path("assets/annotations").glob("strokes_*.csv")),
    )
    parser.add_argument(
        "--no-tennis",
        nargs="*",
        default=[
            "locomotion_*/*",
            "basketball_snu/s_00*",
            "moves_ys2010/[!S]*/*",
            "moves_ys2010/Samsung/*walking*",
        ],
        help="patterns of clips without tennis (s_010 of basketball_snu holds a broken body, table tennis is left out)",
    )
    parser.add_argument("--output", type=Path, default=SHIPPED)
    parser.add_argument("--check", action="store_true", help="measure only, write nothing")
    asked = parser.parse_args()
    known = read_annotations(asked.annotations)
    if not known:
        parser.error("no annotations; give --annotations FILE.csv, see assets/annotations")
    data = load_all(asked.clips, known, asked.no_tennis)
    held = leave_one_out(data)
    for player, counts in held.items():
        print(f"{player:14s} {summary(counts)}")
    total = np.sum([c for p, c in held.items()], axis=0)
    print("all, each player with a classifier that has not seen him:", summary(total))
    print(" " * 18 + " ".join(f"{c[:9]:>9s}" for c in CLASSES))
    for name, row in zip(CLASSES, total, strict=True):
        print(f"{name:18s}" + " ".join(f"{n:9d}" for n in row))
    if not asked.check:
        own = [e for e in data if e.measured]
        strokes, others = (sum(int(test(e.labels).sum()) for e in own) for test in (_is_stroke, _is_none))
        about: dict[str, object] = {
            "fitted by": "python -m mocap.train_strokes",
            "data": f"{strokes} annotated strokes of {len(known)} tennis clips, {others} other swings",
            "licence": "Apache-2.0; the recordings that were annotated: see assets/annotations",
        }
        fit(data).save(asked.output, about)
        print(f"written to {asked.output}")


if __name__ == "__main__":
    main()
