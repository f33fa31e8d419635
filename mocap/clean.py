"""A recorded clip made fit for use, and a list of everything that was done to it.

The order of steps: exchanged limbs are put back, lost joints are bridged, calibration poses are cut off,
glitches are mended (all on the clip's own rotations, at its own rate); then the clip is resampled on
rotations, mapped to a body, levelled on its floor, mirrored if asked for, and searched for stretches in which
nothing happens.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mocap.clip import Clip, ClipDataError
from mocap.config import CleanConfig
from mocap.dropouts import dropout_frames, fill_dropouts, find_dropouts
from mocap.filters import runs
from mocap.floor import Floor, find_floor, level
from mocap.glitches import Glitch, find_glitches, glitch_frames
from mocap.mirror import mirror
from mocap.repair import repair
from mocap.resample import resample
from mocap.skeleton import Body, Mapping, find_mapping, said, to_body
from mocap.still import find_rests, rest_frames
from mocap.strokes import find_strokes
from mocap.swaps import find_swaps, undo_swaps
from mocap.t_pose import find_lead

VERSION = 1
"""Of the list of steps. A change of a step's name or of what its entries mean raises it."""
# Frozen joints up to this long at a clip's very end [s] are cut off rather than bridged to nothing.
TAIL_S = 0.3


@dataclass(frozen=True)
class Cleaned:
    """A clean body and what was done.

    Attributes:
        body: the human in metres, z up, floor at z = 0, at the output rate.
        steps: what was done, in order: {"step": name, "parameters": {…}, "found": {…}}, JSON-able. Frames and
            intervals [start, stop) of "swaps", "dropouts", "trim" and "glitches" count in the file's frames
            (see "of_frame" of trim for where the kept ones begin); those of "rests" are seconds of the
            result.
        trimmed_start_s, trimmed_end_s: calibration poses cut off [s].
        glitches: (T,) bool, frames of `body` that were mended or could not be.
        rest: (T,) bool, frames of `body` in which nothing happens.
        glitch_frames: number of frames of the file in which something was wrong.
        mirrored: whether left and right were exchanged.
        floor: the floor that was found and levelled.
    """

    body: Body
    steps: list[dict[str, Any]]
    trimmed_start_s: float
    trimmed_end_s: float
    glitches: np.ndarray
    rest: np.ndarray
    glitch_frames: int
    mirrored: bool
    floor: Floor

    def provenance(self) -> dict[str, Any]:
        """The list of steps as it stands in a motion's provenance."""
        return {"version": VERSION, "steps": self.steps}

    def summary(self) -> dict[str, Any]:
        """Counts for a report: see the keys."""
        found = {s["step"]: s["found"] for s in self.steps}
        return {
            "glitches": found["glitches"]["kinds"],
            "swaps": len(found["swaps"]["intervals"]),
            "dropouts": len(found["dropouts"]["intervals"]),
            "trimmed_end_s": round(self.trimmed_end_s, 4),
            "floor_m": found["floor"]["height_m"],
            "floor_tilt_deg": found["floor"]["tilt_deg"],
            "floor_drift_m_s": found["floor"]["drift_m_s"],
            "rest_s": found["rests"]["seconds"],
            "mirrored": self.mirrored,
        }


def clean(
    clip: Clip,
    config: CleanConfig | None = None,
    *,
    fps: float | None = None,
    mapping: Mapping | None = None,
    unit_m: float | None = None,
    up: str | None = None,
    hand: str | None = None,
) -> Cleaned:
    """Clean a clip. What the configuration switches off is looked for and listed all the same, and left as
    it is.

    Args:
        clip: as its reader gives it.
        config: what to mend.
        fps: output rate; the clip's own when not given.
        mapping, unit_m, up: as for `mocap.skeleton.to_body`.
        hand: the racket hand where it is known, for mirror="auto".

    Raises:
        SkeletonError: unknown skeleton, or no plausible unit.
        ClipDataError: an unknown `mirror`.
    """
    config = config or CleanConfig()
    if config.mirror not in ("no", "yes", "auto"):
        raise ClipDataError(f'clean.mirror={config.mirror} is not one of "no", "yes", "auto"')
    told = said(clip, mapping=mapping, unit_m=unit_m, up=up)
    mapping = mapping or find_mapping(clip)
    steps: list[dict[str, Any]] = []
    bad = np.zeros(clip.frames, dtype=bool)
    mend = {"mended": config.repair_glitches}

    swaps = find_swaps(clip)
    for s in swaps:
        bad[s.start : s.stop] = not config.repair_glitches
    _note(steps, "swaps", mend, intervals=[[s.start, s.stop, s.left[0]] for s in swaps])
    if config.repair_glitches:
        clip = undo_swaps(clip, swaps)

    dropouts = find_dropouts(clip)
    bad |= dropout_frames(dropouts, clip.frames)
    # All joints that stop together at the end end the clip: there is nothing to bridge them to.
    tail = [
        d.start for d in dropouts if d.stop >= clip.frames - 1 and clip.frames - d.start < TAIL_S * clip.fps
    ]
    stop = min(tail, default=clip.frames) if config.repair_glitches else clip.frames
    filled, done = (
        fill_dropouts(clip, dropouts) if config.repair_glitches else (clip, [False] * len(dropouts))
    )
    intervals = [[d.start, d.stop, d.joint, ok] for d, ok in zip(dropouts, done, strict=True)]
    _note(steps, "dropouts", mend, intervals=intervals, cut_off_end=clip.frames - stop)
    clip = filled.sliced(0, stop)

    body = to_body(clip, mapping=mapping, unit_m=unit_m, up=up)
    unit_m, up = body.unit_m, body.up
    found = find_glitches(body)
    lead = find_lead(body, found)
    start, stop = (lead.start, clip.frames - lead.end) if config.trim_t_pose else (0, clip.frames)
    _note(
        steps,
        "trim",
        {"trimmed": config.trim_t_pose},
        start=[lead.start_pose, lead.start],
        end=[lead.end_pose, lead.end],
        of_frame=start,
    )
    trimmed = start / clip.fps, (clip.frames - stop) / clip.fps
    clip = clip.sliced(start, stop)

    found = [g for g in (_within(g, start, stop) for g in found) if g is not None]
    listed, mended = list(found), [False] * len(found)
    if config.repair_glitches and found:
        clip, mended = repair(clip, found, mapping)
        # What the first pass hid, and what it could not smooth.
        second = find_glitches(to_body(clip, mapping=mapping, unit_m=unit_m, up=up))
        if second:
            clip, _ = repair(clip, [_wider(g, clip.frames) for g in second], mapping)
            left = find_glitches(to_body(clip, mapping=mapping, unit_m=unit_m, up=up))
            mended = [ok and not _again(g, left) for g, ok in zip(found, mended, strict=True)]
            new = [g for g in second if not _again(g, found)]
            listed, mended = found + new, mended + [not _again(g, left) for g in new]
    bad = bad[start:stop] | glitch_frames(listed, clip.frames)
    _note(
        steps,
        "glitches",
        mend,
        kinds=dict(sorted(Counter(g.kind for g in listed).items())),
        frames=int(glitch_frames(listed, clip.frames).sum()),
        intervals=[
            [g.start + start, g.stop + start, g.kind, g.part, round(g.size_m, 3), ok]
            for g, ok in zip(listed, mended, strict=True)
        ],
    )

    rate = clip.fps
    clip = resample(clip, fps or rate)
    _note(steps, "resample", {"fps": clip.fps}, from_fps=rate)
    body = replace(to_body(clip, mapping=mapping, unit_m=unit_m, up=up), said=told)

    floor = find_floor(body)
    body = level(body, floor)
    _note(
        steps,
        "floor",
        {},
        height_m=round(floor.height_m, 4),
        tilt_deg=round(floor.tilt_deg, 2),
        drift_m_s=round(floor.drift_m_s, 5),
        spread_m=round(floor.spread_m, 4),
        stances=floor.stances,
    )

    mirrored = config.mirror == "yes"
    seen = hand
    if config.mirror == "auto":
        strokes = [] if hand else find_strokes(body)
        seen = strokes[0].hand if strokes else hand
        mirrored = seen == "left"
    if mirrored:
        body = mirror(body)
    _note(steps, "mirror", {"mirror": config.mirror}, hand=seen, mirrored=mirrored)

    rests = find_rests(body)
    rest = rest_frames(rests, body.frames)
    spans = [[round(r.start / body.fps, 3), round(r.stop / body.fps, 3), r.kind] for r in rests]
    _note(steps, "rests", {}, intervals=spans, seconds=round(float(rest.sum()) / body.fps, 3))
    return Cleaned(
        body,
        steps,
        trimmed[0],
        trimmed[1],
        _at_rate(bad, rate, body),
        rest,
        int(bad.sum()),
        mirrored,
        floor,
    )


def _note(steps: list[dict[str, Any]], step: str, parameters: dict[str, Any], **found: Any) -> None:
    steps.append({"step": step, "parameters": parameters, "found": found})


def _within(glitch: Glitch, start: int, stop: int) -> Glitch | None:
    """A glitch in the frames of the trimmed clip; None when it was cut off with a pose."""
    a, b = max(glitch.start, start), min(glitch.stop, stop)
    if a >= b:
        return None
    return Glitch(glitch.kind, glitch.part, a - start, b - start, glitch.size_m)


def _wider(glitch: Glitch, frames: int) -> Glitch:
    """A glitch with one frame more at both ends: a step that stays needs room to be walked."""
    return replace(glitch, start=max(glitch.start - 1, 0), stop=min(glitch.stop + 1, frames))


def _again(glitch: Glitch, others: list[Glitch]) -> bool:
    """Whether others tell of the same frames and part."""
    return any(
        o.start <= glitch.stop
        and glitch.start <= o.stop
        and (o.part == glitch.part or "body" in (o.part, glitch.part))
        for o in others
    )


def _at_rate(bad: np.ndarray, fps: float, body: Body) -> np.ndarray:
    """Frames of the body (T,) whose neighbours at the clip's rate are bad."""
    out = np.zeros(body.frames, dtype=bool)
    for a, b in runs(bad):
        first = int(np.floor((a - 1) * body.fps / fps)) + 1
        last = int(np.ceil(b * body.fps / fps))
        out[max(first, 0) : last] = True
    return out
