"""The same recording twice: found by what it shows, not by its bytes.

A fingerprint is made of angles between a body's bones, ten a second: heights of limbs as sines, and cosines
between limbs. It does not know unit, size, joint names, where the person stood or which way he faced, and
little of his proportions; a mirrored body has the same values in exchanged places. Two clips are one
recording when their fingerprints agree, at some shift in time, over nearly all of the shorter one, in
motion and not only in standing.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np

from mocap.filters import low_pass
from mocap.rotations import normalize
from mocap.skeleton import Body

RATE_HZ, BAND_HZ = 20.0, 4.0
# What is looked up: the change of the features over a window [s], at most so many windows of a clip, each
# at every frame of a stride, against windows stored once a stride; shortened to this many numbers.
WINDOW_S, LOOKUPS, STRIDE, SHORT = 1.6, 6, 4, 32
# Share of a window's own size by which it may differ to be looked at (rough: shortened and up to a frame
# apart), and share of the features' rate by which the whole overlap may differ. Copies differ by under 0.02,
# on another skeleton by under 0.1; two takes of one walk by 0.2 and more.
NEAR, SAME = 0.5, 0.12
# Pairs of clip and lag that are compared in full, the nearest first.
COMPARED = 8
# Share of the shorter clip that must overlap, and the least overlap [s].
OVERLAP_SHARE, OVERLAP_S = 0.7, 1.0
# Rate of the features [1/s] (root mean square) below which a window is standing and says nothing.
LIVELY = 0.3

_BONES = (
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("pelvis", "neck"),
)
_MIRRORED_BONES = (2, 3, 0, 1, 6, 7, 4, 5, 8)
_PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (4, 6), (0, 8), (2, 8), (4, 8), (6, 8), (1, 3), (5, 7))


@dataclass(frozen=True)
class Fingerprint:
    """What a clip shows: features (N, 21) at `RATE_HZ`, float32, in steps of 1/32767."""

    features: np.ndarray

    def to_text(self) -> str:
        """The fingerprint as a line of letters, for a motion's provenance: about 0.6 kB a second."""
        steps = np.round(np.clip(self.features, -1.0, 1.0) * 32767.0).astype("<i2")
        change = np.diff(steps, axis=0, prepend=np.zeros((1, steps.shape[1]), dtype="<i2"))
        return base64.b85encode(zlib.compress(change.T.tobytes(), 9)).decode("ascii")

    @staticmethod
    def from_text(text: str) -> Fingerprint:
        """Back from `to_text`.

        Raises:
            ValueError: not such a line.
        """
        try:
            data = zlib.decompressobj().decompress(base64.b85decode(text), 1 << 26)
            change = np.frombuffer(data, dtype="<i2").reshape(len(_BONES) + len(_PAIRS), -1)
        except (ValueError, zlib.error) as e:
            raise ValueError(f"not a fingerprint ({e}); process the clip again") from None
        return Fingerprint((np.cumsum(change, axis=1, dtype="<i2").T / 32767.0).astype(np.float32))


@dataclass(frozen=True)
class Duplicate:
    """Two clips that show one recording.

    Attributes:
        first, second: their names, in the order given.
        mirrored: whether left and right are exchanged.
        shift_s: time in the first at which the second starts [s].
        overlap_s: how long both run [s].
        difference: of the features' rates over it, as a share of their size.
        stretch: seconds of the first per second of the second; 1 unless a frame rate is wrong.
    """

    first: str
    second: str
    mirrored: bool
    shift_s: float
    overlap_s: float
    difference: float
    stretch: float = 1.0


def fingerprint(body: Body) -> Fingerprint:
    """The fingerprint of a body."""
    x = low_pass(body.points, body.fps, BAND_HZ) if body.frames >= 4 else body.points
    count = int(np.floor((body.frames - 1) / body.fps * RATE_HZ + 1e-6)) + 1
    index = np.minimum(np.arange(count) * body.fps / RATE_HZ, body.frames - 1.0)
    lo = np.minimum(index.astype(int), max(body.frames - 2, 0))
    hi = np.minimum(lo + 1, body.frames - 1)
    t = (index - lo)[:, None, None]
    x = x[lo] * (1.0 - t) + x[hi] * t
    along = [normalize(x[:, body.names.index(b)] - x[:, body.names.index(a)]) for a, b in _BONES]
    heights = [a[:, 2] for a in along]
    cosines = [np.sum(along[i] * along[j], axis=1) for i, j in _PAIRS]
    steps = np.round(np.stack(heights + cosines, axis=1) * 32767.0)
    return Fingerprint((steps / 32767.0).astype(np.float32))


def mirrored(print_: Fingerprint) -> Fingerprint:
    """The fingerprint of the mirrored body."""
    pairs = [tuple(sorted((_MIRRORED_BONES[i], _MIRRORED_BONES[j]))) for i, j in _PAIRS]
    order = list(_MIRRORED_BONES) + [len(_BONES) + _PAIRS.index((p[0], p[1])) for p in pairs]
    return Fingerprint(print_.features[:, order])


class Duplicates:
    """Clips seen so far; tells of each new one which of them it repeats."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._prints: list[np.ndarray] = []
        self._ways: list[np.ndarray] = []
        self._windows = np.zeros((0, SHORT), dtype=np.float32)
        self._squares = np.zeros(0, dtype=np.float32)
        self._owner = np.zeros(0, dtype=np.int32)
        self._time = np.zeros(0, dtype=np.int32)
        self._used = 0

    def add(self, name: str, print_: Fingerprint) -> Duplicate | None:
        """Remember a clip; the earlier clip that shows the same, the likest of several, or None."""
        best: Duplicate | None = None
        windows = _windows(print_.features)
        turned = mirrored(print_)
        for flip, p, seen in ((False, print_, windows), (True, turned, _windows(turned.features))):
            for owner, lag in self._candidates(*seen):
                difference, shift, overlap = compare(self._prints[owner], p.features, lag)
                shorter = min(len(self._prints[owner]), len(p.features))
                if difference > SAME or overlap < max(OVERLAP_SHARE * shorter, OVERLAP_S * RATE_HZ):
                    continue
                if best is None or difference < best.difference:
                    best = Duplicate(
                        self._names[owner],
                        name,
                        flip,
                        round(shift / RATE_HZ, 3),
                        round(overlap / RATE_HZ, 3),
                        round(difference, 5),
                    )
        best = best or self._stretched(name, print_)
        self._remember(name, print_, *windows)
        return best

    def _candidates(self, short: np.ndarray, size: np.ndarray) -> set[tuple[int, int]]:
        """Earlier clips and lags (frames) at which some window of this clip was seen."""
        live = np.flatnonzero(size > LIVELY * np.sqrt(WINDOW_S) / RATE_HZ)
        if not len(live) or not self._used:
            return set()
        # The liveliest window of each part of the clip says most.
        parts = np.array_split(np.arange(len(size)), min(LOOKUPS, len(size)))
        starts = [int(p[np.argmax(size[p])]) for p in parts]
        near = {min(s + k, len(size) - 1) for s in starts for k in range(STRIDE)}
        chosen = np.array(sorted(near & set(live.tolist())), dtype=int)
        if not len(chosen):
            return set()
        stored, query = self._windows[: self._used], short[chosen]
        distance = self._squares[: self._used] - 2.0 * (query @ stored.T) + (query**2).sum(axis=1)[:, None]
        distance /= size[chosen, None] ** 2
        hits = np.flatnonzero(distance < NEAR**2)
        if len(hits) > 4 * COMPARED:
            hits = hits[np.argpartition(distance.ravel()[hits], 4 * COMPARED)[: 4 * COMPARED]]
        found: list[tuple[int, int]] = []
        for i in hits[np.argsort(distance.ravel()[hits], kind="stable")]:
            q, w = divmod(int(i), self._used)
            found.append((int(self._owner[w]), int(self._time[w] - chosen[q])))
        return set(list(dict.fromkeys(found))[:COMPARED])

    def _stretched(self, name: str, print_: Fingerprint) -> Duplicate | None:
        """The same clip from end to end at a wrong frame rate: both brought to one length."""
        f = print_.features
        if len(f) < 3 * RATE_HZ:
            return None
        mine = _regrid(f)
        way = _direction(mine)
        for owner in np.flatnonzero(np.array(self._ways).reshape(-1, way.size) @ way > 0.9):
            ratio = len(self._prints[owner]) / len(f)
            if not 0.2 < ratio < 5.0 or abs(ratio - 1.0) < 0.02:
                continue
            difference = compare(_regrid(self._prints[owner]), mine, 0)[0]
            if difference < SAME:
                seconds = round(len(f) / RATE_HZ, 3)
                return Duplicate(
                    self._names[owner], name, False, 0.0, seconds, round(difference, 5), round(ratio, 3)
                )
        return None

    def _remember(self, name: str, print_: Fingerprint, windows: np.ndarray, size: np.ndarray) -> None:
        f = print_.features
        owner = len(self._names)
        self._names.append(name)
        self._prints.append(f)
        self._ways.append(_direction(_regrid(f)))
        keep = np.arange(0, len(windows), STRIDE)
        keep = keep[size[keep] > 0.5 * LIVELY * np.sqrt(WINDOW_S) / RATE_HZ]
        need = self._used + len(keep)
        if need > len(self._windows):
            room = max(2 * len(self._windows), need, 4096)
            self._windows, self._squares, self._owner, self._time = (
                np.concatenate([a[: self._used], np.zeros((room - self._used, *a.shape[1:]), dtype=a.dtype)])
                for a in (self._windows, self._squares, self._owner, self._time)
            )
        s = slice(self._used, need)
        self._windows[s], self._squares[s] = windows[keep], (windows[keep] ** 2).sum(axis=1)
        self._owner[s], self._time[s] = owner, keep
        self._used = need


def find_duplicates(prints: dict[str, Fingerprint]) -> list[Duplicate]:
    """All clips, in order, that repeat an earlier one."""
    seen = Duplicates()
    return [d for name, p in prints.items() if (d := seen.add(name, p)) is not None]


def compare(first: np.ndarray, second: np.ndarray, lag: int) -> tuple[float, float, int]:
    """How far two feature tracks differ where they overlap, the second starting at frame `lag` of the first:
    difference of their rates as a share of their size, the lag to a fraction of a frame, and the overlap
    in frames.

    Constant differences do not count: another skeleton has other rest directions.
    """
    a, b = max(lag, 0), min(len(first), lag + len(second))
    if b - a < 4:
        return np.inf, float(lag), max(b - a, 0)
    x, y = first[a:b].astype(float), second[a - lag : b - lag].astype(float)
    dx, dy = np.gradient(x, axis=0), np.gradient(y, axis=0)
    off = (x - y) - (x - y).mean(axis=0)
    mean = 0.5 * (dx + dy)
    part = float(np.sum(off * mean) / max(np.sum(mean * mean), 1e-12))
    part = min(max(part, -1.5), 1.5)
    # x(t) = y(t + part): both are moved half the way, so that neither is smoothed more.
    left = dx - 0.5 * part * np.gradient(dx, axis=0) - dy - 0.5 * part * np.gradient(dy, axis=0)
    size = np.sqrt(0.5 * (np.mean(dx**2) + np.mean(dy**2)))
    if size < 0.5 * LIVELY / RATE_HZ:
        return np.inf, float(lag), b - a
    # The gradient at the ends is one-sided: left out.
    return float(np.sqrt(np.mean(left[2:-2] ** 2)) / size) if b - a > 6 else np.inf, lag - part, b - a


def _windows(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The changes in each window, shortened (W, SHORT), and their size (W,): one window a frame."""
    size = round(WINDOW_S * RATE_HZ)
    if len(f) < size + 1:
        return np.zeros((0, SHORT), dtype=np.float32), np.zeros(0, dtype=np.float32)
    change = np.gradient(f, axis=0).astype(np.float32)
    # A few smooth weights in time for each feature, then fixed random signs across all: lengths stay about
    # the same.
    count, waves = f.shape[1], 6
    t = (np.arange(size) + 0.5) / size
    basis = np.sqrt(2.0 / size) * np.cos(np.pi * np.outer(np.arange(1, waves + 1), t))
    view = np.lib.stride_tricks.sliding_window_view(change, size, axis=0)
    coefficients = (view @ basis.T.astype(np.float32)).reshape(len(view), -1)
    mix = np.random.default_rng(69).standard_normal((count * waves, SHORT)) / np.sqrt(SHORT)
    return coefficients @ mix.astype(np.float32), np.linalg.norm(coefficients, axis=1)


def _direction(f: np.ndarray) -> np.ndarray:
    """The changes of a feature track as one unit vector."""
    change = np.gradient(f, axis=0).ravel().astype(np.float32)
    return change / max(float(np.linalg.norm(change)), 1e-9)


def _regrid(f: np.ndarray, count: int = 100) -> np.ndarray:
    """A feature track at `count` instants evenly over its length."""
    index = np.linspace(0.0, len(f) - 1.0, count)
    lo = np.minimum(index.astype(int), max(len(f) - 2, 0))
    t = (index - lo)[:, None].astype(np.float32)
    return f[lo] * (1 - t) + f[np.minimum(lo + 1, len(f) - 1)] * t
