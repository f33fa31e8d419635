"""How well cleaning works: what it finds in a folder of clips, and what it makes of planted glitches.

    python -m mocap.cleaning_trial FOLDER [--plant]

prints one line for each folder of clips below FOLDER; with `--plant` each clip is first mended, glitches of
known place and size are then planted into it, and the line says how many were found and what was left.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mocap.clean import clean
from mocap.clip import Clip, ClipError
from mocap.glitches import find_glitches, glitch_frames
from mocap.readers import find, read
from mocap.repair import repair
from mocap.rotations import normalize, quat_exp, quat_product
from mocap.skeleton import Mapping, find_mapping, to_body

# Joints that are turned, the point that is watched, and the lever between them [m].
LEVERS = {
    "shoulder": ("wrist", 0.55),
    "elbow": ("wrist", 0.27),
    "hip": ("ankle", 0.8),
    "knee": ("ankle", 0.4),
}


@dataclass
class Tally:
    """Counts over a folder of clips."""

    clips: int = 0
    frames: int = 0
    glitch_frames: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    cut_s: float = 0.0
    cut_clips: int = 0
    rest_s: float = 0.0
    tilted: int = 0
    spread_m: list[float] = field(default_factory=list)
    planted: int = 0
    found: int = 0
    false_frames: int = 0
    before_m: list[float] = field(default_factory=list)
    after_m: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        """One line for people."""
        if self.planted:
            return (
                f"{name}: {self.found} of {self.planted} planted glitches found, {self.false_frames} frames of "
                f"{self.frames} wrongly; off by {np.mean(self.before_m) * 100.0:.1f} cm before and "
                f"{np.mean(self.after_m) * 1000.0:.1f} mm after (95 %: "
                f"{np.percentile(self.after_m, 95) * 1000.0:.1f} mm)"
            )
        kinds = ", ".join(f"{n} {k}" for k, n in sorted(self.kinds.items())) or "none"
        return (
            f"{name}: {self.clips} clips, {self.glitch_frames} of {self.frames} frames bad ({kinds}); poses cut off "
            f"{self.cut_clips} clips, {self.cut_s:.1f} s; at rest {self.rest_s:.1f} s; {self.tilted} floors tilted, "
            f"stances scatter by {np.median(self.spread_m or [0.0]) * 1000.0:.1f} mm"
        )


def count(clip: Clip, tally: Tally) -> None:
    """Add what cleaning finds in a clip."""
    cleaned = clean(clip)
    found = cleaned.summary()
    tally.clips += 1
    tally.frames += clip.frames
    tally.glitch_frames += cleaned.glitch_frames
    tally.kinds.update(found["glitches"])
    tally.kinds.update({k: found[f"{k}s"] for k in ("dropout", "swap") if found[f"{k}s"]})
    cut = cleaned.trimmed_start_s + cleaned.trimmed_end_s
    tally.cut_s += cut
    tally.cut_clips += cut > 0.0
    tally.rest_s += found["rest_s"]
    tally.tilted += found["floor_tilt_deg"] > 0.0
    tally.spread_m.append(cleaned.floor.spread_m)


def plant(clip: Clip, tally: Tally, size_m: float, lengths: Sequence[int], rng: np.random.Generator) -> None:
    """Plant a glitch every two seconds: a joint turned so that the limb's end is off by about `size_m` for one of
    `lengths` frames; and add how many are found and what mending leaves of them.
    """
    mapping = find_mapping(clip)
    original = find_glitches(to_body(clip))
    known = glitch_frames(original, clip.frames)
    true, _ = repair(clip, original, mapping)
    broken, planted = _broken(true, mapping, known, size_m, lengths, rng)
    body, wrong = to_body(true), to_body(broken)
    glitches = find_glitches(wrong)
    found = glitch_frames(glitches, clip.frames)
    after = to_body(repair(broken, glitches, mapping)[0])
    near = known.copy()
    for start, stop, point in planted:
        near[max(0, start - 3) : stop + 3] = True
        off = np.linalg.norm(wrong[point] - body[point], axis=1)[start:stop].max()
        # A turn about the limb's own line moves nothing.
        if off < 0.6 * size_m:
            continue
        tally.planted += 1
        tally.found += bool(found[start:stop].all())
        tally.before_m.append(float(off))
        around = slice(max(0, start - 2), stop + 2)
        tally.after_m.append(float(np.linalg.norm(after[point] - body[point], axis=1)[around].max()))
    tally.false_frames += int((found & ~near).sum())
    tally.frames += clip.frames


def _broken(
    clip: Clip,
    mapping: Mapping,
    known: np.ndarray,
    size_m: float,
    lengths: Sequence[int],
    rng: np.random.Generator,
) -> tuple[Clip, list[tuple[int, int, str]]]:
    """The clip with glitches away from the known ones, and their frames and points."""
    joints, _ = mapping.resolve(clip.joint_names)
    q, planted = clip.rotations.copy(), []
    for at in range(40, clip.frames - 40, round(2.1 * clip.fps)):
        start, length = at + int(rng.integers(0, 20)), int(rng.choice(lengths))
        side, part = str(rng.choice(["left", "right"])), str(rng.choice(list(LEVERS)))
        if known[start - 5 : start + length + 5].any():
            continue
        end, lever = LEVERS[part]
        turn = normalize(rng.normal(size=3)) * size_m / lever * 1.25
        s, j = slice(start, start + length), joints[f"{side}_{part}"]
        q[s, j] = quat_product(q[s, j], quat_exp(np.tile(turn, (length, 1))))
        planted.append((start, start + length, f"{side}_{end}"))
    return replace(clip, rotations=q), planted


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plant", action="store_true", help="plant glitches and count what is found")
    given = parser.parse_args(arguments)
    folders = sorted(p for p in given.folder.iterdir() if p.is_dir()) or [given.folder]
    kinds = ((0.08, (1,)), (0.3, (1,)), (0.15, (2, 3, 4)), (0.3, (5, 8))) if given.plant else ((0.0, ()),)
    for folder in folders:
        for size_m, lengths in kinds:
            tally, rng = Tally(), np.random.default_rng(0)
            for path in find(folder):
                try:
                    clip = read(path)
                except ClipError as e:
                    print(f"left out: {e}")
                    continue
                if given.plant and clip.frames > 100:
                    plant(clip, tally, size_m, lengths, rng)
                elif not given.plant:
                    count(clip, tally)
            about = f" {size_m * 100:.0f} cm for {'/'.join(map(str, lengths))} frames" if given.plant else ""
            print(tally.line(folder.name + about), flush=True)


if __name__ == "__main__":
    main()
