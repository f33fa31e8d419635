"""Marker glitches, found in a body's points.

What tells a bad marker from a fast person is not speed but suddenness: the change of a step from one frame
to the next against that of its neighbours, D = s(t) - (s(t-1) + s(t+1)) / 2. In clean motion at 100 Hz D is
2 mm, at 30 Hz 15 mm and in a stroke at 30 Hz up to 70 mm, where its neighbours are large too. A spike of 10 cm
gives 150 mm out of nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mocap.filters import runs
from mocap.rotations import Array, normalize
from mocap.skeleton import SIDES, Body

# A step is sudden when D exceeds this length [m], for a leg of 0.8 m, plus this speed times the frame time,
# and this many times what is usual within a quarter of a second. Chosen by eye on the 519 clips so that
# what is taken is a corner in the drawn curve, and the strokes of tennis_snu and the serves of
# tennis_caldas are not.
SUDDEN_M, SUDDEN_M_S, SUDDEN_RATIO = 0.032, 0.6, 7.0
# At low rates a punch or a step is a few frames long and sudden too. A jump is then only what exceeds the
# smaller of the two neighbouring steps this many times, at 30 Hz; less so at higher rates, with the square.
CALM_RATIO_30_HZ = 2.0
# Hands and toes are at the end of a lever and meet balls and floors.
LEVER = {"hand": 1.5, "wrist": 1.25, "toe": 1.25}
# What is usual nearby counts at most as this many times the clip's 90th percentile: a burst of glitches
# must not excuse itself.
USUAL_CAP = 2.5
# Usual D below which nothing is usual [m]: the noise of capture.
NOISE_M = 0.002
# Fastest believable speeds relative to the pelvis [m/s], however smooth: chosen, without a source, above
# the fastest of the clean clips (wrists of 12 m/s in serves).
LIMB_M_S = {"hand": 20.0, "wrist": 16.0, "ankle": 14.0, "toe": 16.0}
OTHER_M_S, PELVIS_M_S = 11.0, 9.0
# A jump that comes back within this time [s] is one glitch; sudden steps nearer than the other are one.
RETURN_S, NEAR_S = 0.3, 0.06
# A foot or hand that turns by more than this in one frame has flipped [rad]; it may come back later.
FLIP_RAD, FLIP_RETURN_S = 1.2, 2.0
# Bones may change by this share and this length [m] before a marker is blamed.
LENGTH_SHARE, LENGTH_M = 0.12, 0.03

_LIMB_BONES = (
    ("shoulder", "elbow"),
    ("elbow", "wrist"),
    ("wrist", "hand"),
    ("hip", "knee"),
    ("knee", "ankle"),
    ("ankle", "toe"),
)
BONES = (*((f"{side}_{a}", f"{side}_{b}") for side in SIDES for a, b in _LIMB_BONES), ("neck", "head"))
"""Pairs of points a fixed distance apart, the one nearer to the trunk first."""

LIMBS = {
    **{f"{s}_arm": tuple(f"{s}_{p}" for p in ("shoulder", "elbow", "wrist", "hand")) for s in SIDES},
    **{f"{s}_leg": tuple(f"{s}_{p}" for p in ("knee", "ankle", "toe")) for s in SIDES},
    "head": ("head",),
}
"""Points that can be wrong while the rest of the body is right."""


@dataclass(frozen=True)
class Glitch:
    """Frames in which part of a body is somewhere else.

    Attributes:
        kind: "spike" (one frame), "jump" (leaves and returns), "cut" (leaves and stays), "flip" (a foot or
            hand turned round), "length" (a bone changes its length), "speed" (smooth but too fast).
        part: a key of `LIMBS`, or "body".
        start, stop: frames start … stop-1.
        size_m: largest D in it [m]; for "length" the largest change of length.
    """

    kind: str
    part: str
    start: int
    stop: int
    size_m: float


def find_glitches(body: Body) -> list[Glitch]:
    """Glitches in time order; glitches of one part do not overlap."""
    if body.frames < 5:
        return []
    pelvis = body.names.index("pelvis")
    relative = body.points - body.points[:, pelvis : pelvis + 1]
    relative[:, pelvis] = body.points[:, pelvis]
    step = np.diff(relative, axis=0)
    change = np.zeros_like(step)
    change[1:-1] = step[1:-1] - 0.5 * (step[:-2] + step[2:])
    # At the ends the steps inside are continued in a line; a little less, since that line is less sure.
    change[0] = 0.9 * (step[0] - 2.0 * step[1] + step[2])
    change[-1] = 0.9 * (step[-1] - 2.0 * step[-2] + step[-3])
    size = np.linalg.norm(change, axis=2)
    usual = np.minimum(_usual(size, body.fps), USUAL_CAP * np.percentile(size, 90, axis=0))
    length = np.pad(np.linalg.norm(step, axis=2), ((1, 1), (0, 0)), mode="edge")
    calm = np.minimum(length[:-2], length[2:])
    clear = size > CALM_RATIO_30_HZ * min(1.0, 30.0 / body.fps) ** 2 * calm
    last = [n.split("_")[-1] for n in body.names]
    least = (SUDDEN_M + SUDDEN_M_S / body.fps) * body.leg_m / 0.8
    least = least * np.array([LEVER.get(n, 1.0) for n in last])
    sudden = (size > least) & (size > SUDDEN_RATIO * (usual + NOISE_M))
    # A jump is -½, +1, -½ in the steps' changes: the lobes around it are not part of it.
    for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        lobe = np.sum(change[here] * change[there], axis=2) < -0.3 * size[here] ** 2
        sudden[here] &= ~(lobe & (size[here] < 0.6 * size[there]))
    top = np.array([PELVIS_M_S if n == "pelvis" else LIMB_M_S.get(n, OTHER_M_S) for n in last])
    fast = np.linalg.norm(step, axis=2) * body.fps > top * max(1.0, body.leg_m / 0.8)
    found = []
    for i, name in enumerate(body.names):
        part = _part(name)
        flips = _flips(body, name) & sudden[:, i] if last[i] in ("toe", "hand") else None
        found += _pair(sudden[:, i], clear[:, i], change[:, i], size[:, i], body.fps, part, flips)
        for a, b in runs(fast[:, i] & ~sudden[:, i]):
            found.append(Glitch("speed", part, a, b + 1, float(size[a:b, i].max())))
    found += _length_changes(body)
    return merge(found, body.fps)


def glitch_frames(glitches: list[Glitch], frames: int) -> np.ndarray:
    """Which frames (T,) bool are in a glitch."""
    bad = np.zeros(frames, dtype=bool)
    for g in glitches:
        bad[g.start : g.stop] = True
    return bad


def merge(glitches: list[Glitch], fps: float) -> list[Glitch]:
    """Join glitches of one part that overlap or nearly touch; a glitch of the whole body takes in what
    happens to its limbs meanwhile. The largest gives the kind.
    """
    near = NEAR_S * fps
    out: list[Glitch] = []
    for part in ("body", *LIMBS):
        group: list[Glitch] = []
        for g in sorted((g for g in glitches if g.part == part), key=lambda g: g.start):
            if group and g.start - group[-1].stop < near:
                h = group[-1]
                big = g if g.size_m > h.size_m else h
                kind = "jump" if big.kind == "spike" and g.stop - h.start > 1 else big.kind
                group[-1] = Glitch(kind, part, h.start, max(g.stop, h.stop), big.size_m)
            else:
                group.append(g)
        whole = [g for g in out if g.part == "body"]
        out += [g for g in group if not any(w.start <= g.start and g.stop <= w.stop for w in whole)]
    return sorted(out, key=lambda g: (g.start, g.part))


def _part(name: str) -> str:
    return next((part for part, points in LIMBS.items() if name in points), "body")


def _usual(size: Array, fps: float) -> Array:
    """Third-quartile-like size (T-1, P) within a quarter of a second, without the step and its neighbours."""
    half = round(0.25 * fps) + 3
    window = np.lib.stride_tricks.sliding_window_view(
        np.pad(size, ((half, half), (0, 0)), mode="reflect" if len(size) > half else "edge"),
        2 * half + 1,
        axis=0,
    )
    keep = np.ones(2 * half + 1, dtype=bool)
    keep[half - 2 : half + 3] = False
    # At high rates every few frames do: neighbours say the same.
    keep &= np.arange(2 * half + 1) % max(1, round(fps / 50.0)) == 0
    values = window[..., keep]
    return np.partition(values, int(0.7 * values.shape[-1]), axis=-1)[..., int(0.7 * values.shape[-1])]


def _pair(
    sudden: np.ndarray,
    clear: np.ndarray,
    change: Array,
    size: Array,
    fps: float,
    part: str,
    flips: np.ndarray | None,
) -> list[Glitch]:
    """Group one point's sudden steps (T-1,): step t lies between frames t and t+1.

    Steps close together are one glitch; a lone step looks for the one that takes it back. What is neither a
    zigzag of one frame nor clearly larger than the motion around it is left alone.
    """
    steps = [int(t) for t in np.flatnonzero(sudden)]
    frames = len(sudden) + 1
    found = []
    while steps:
        first = steps.pop(0)
        last = first
        while steps and steps[0] - last <= max(1.0, NEAR_S * fps):
            last = steps.pop(0)
        inside = slice(first, last + 1)
        if last == first + 1 and _opposite(change, first, last):
            found.append(Glitch("spike", part, first + 1, last + 1, float(size[inside].max())))
        elif not clear[inside].any():
            continue
        elif last > first:
            found.append(Glitch("jump", part, first + 1, last + 1, float(size[inside].max())))
        else:
            turned = flips is not None and bool(flips[first])
            reach = fps * (FLIP_RETURN_S if turned else RETURN_S)
            back = (t for t in steps if clear[t] and t - first <= reach and _opposite(change, first, t))
            second = next(back, None)
            if second is not None:
                steps = [t for t in steps if t > second]
                kind = "flip" if turned else "jump"
                found.append(Glitch(kind, part, first + 1, second + 1, float(size[[first, second]].max())))
            elif first < 0.1 * fps or frames - first < 0.1 * fps + 2:
                a, b = (0, first + 1) if first < 0.5 * frames else (first + 1, frames)
                found.append(Glitch("jump", part, a, b, float(size[first])))
            else:
                found.append(Glitch("cut", part, first, first + 2, float(size[first])))
    return found


def _opposite(change: Array, a: int, b: int) -> bool:
    """Whether the second sudden step takes back the first."""
    p, q = change[a], change[b]
    return bool(np.linalg.norm(p + q) < 0.8 * max(np.linalg.norm(p), np.linalg.norm(q)))


def _flips(body: Body, name: str) -> np.ndarray:
    """Steps (T-1,) over which the last bone of a limb turns by more than `FLIP_RAD`."""
    before = next(a for a, b in BONES if b == name)
    along = normalize(body[name] - body[before])
    return np.sum(along[1:] * along[:-1], axis=1) < np.cos(FLIP_RAD)


def _length_changes(body: Body) -> list[Glitch]:
    """Stretches in which a bone's length is off its median."""
    found = []
    for a, b in BONES:
        if not (body.has(a) and body.has(b)):
            continue
        length = np.linalg.norm(body[b] - body[a], axis=1)
        off = np.abs(length - np.median(length))
        limit = max(LENGTH_SHARE * float(np.median(length)), LENGTH_M * body.leg_m / 0.8)
        for start, stop in runs(off > limit):
            found.append(Glitch("length", _part(b), start, stop, float(off[start:stop].max())))
    return found
