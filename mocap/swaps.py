"""Left and right limbs exchanged for a while: the labels of two markers, or of two arms, got mixed up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mocap.clip import Clip
from mocap.mirror import twin_joints
from mocap.rotations import Array, continuous, quat_inverse, quat_log, quat_product

# Turns [rad] from one frame to the next, summed over the joints of two limbs, that are looked at, and how
# much of them must vanish when the limbs are exchanged. Free points: shares of the skeleton's size instead
# of radians.
LEAST, MOST_LEFT = 0.6, 0.4
# Longest stretch that is taken for exchanged when only one end of it is seen [s].
OPEN_S = 1.0


@dataclass(frozen=True)
class Swap:
    """Frames start … stop-1 in which the joints `left` (names) hold the motion of their right twins."""

    left: tuple[str, ...]
    start: int
    stop: int


def find_swaps(clip: Clip) -> list[Swap]:
    """Stretches in which left and right are exchanged: exchanging them makes the motion continuous at both
    ends.
    """
    if clip.frames < 4:
        return []
    twins = twin_joints(clip.joint_names)
    if twins is None:
        return []
    found = []
    for left in _chains(clip, twins):
        right = [twins[j] for j in left]
        stay, cross = _distances(clip, left, right)
        edge = (stay > LEAST) & (cross < MOST_LEFT * stay)
        # The neighbours of a true exchange move as usual.
        calm = np.median(stay)
        edge &= stay > 6.0 * calm
        edges = [int(t) + 1 for t in np.flatnonzero(edge)]
        names = tuple(clip.joint_names[j] for j in left)
        while edges:
            start = edges.pop(0)
            if edges:
                found.append(Swap(names, start, edges.pop(0)))
            elif min(start, clip.frames - start) <= OPEN_S * clip.fps:
                short = start < clip.frames - start
                found.append(Swap(names, 0 if short else start, start if short else clip.frames))
    return sorted(found, key=lambda s: (s.start, s.left))


def undo_swaps(clip: Clip, swaps: list[Swap]) -> Clip:
    """Exchange the limbs back: exact, nothing is invented."""
    if not swaps:
        return clip
    twins = twin_joints(clip.joint_names)
    assert twins is not None
    rotations, translations = clip.rotations.copy(), clip.translations.copy()
    varying = np.ptp(clip.translations, axis=0).max(axis=1) > 0.0
    for swap in swaps:
        s = slice(swap.start, swap.stop)
        for name in swap.left:
            a = clip.joint_names.index(name)
            b = twins[a]
            rotations[s, a], rotations[s, b] = rotations[s, b].copy(), rotations[s, a].copy()
            if varying[a] and varying[b]:
                translations[s, a], translations[s, b] = translations[s, b].copy(), translations[s, a].copy()
    return replace(clip, rotations=continuous(rotations), translations=translations)


def _chains(clip: Clip, twins: dict[int, int]) -> list[list[int]]:
    """Left limbs as lists of joints: each from the joint that hangs on the trunk outward."""
    left = [a for a, b in twins.items() if a != b and _is_left(clip.joint_names[a])]
    chains: dict[int, list[int]] = {}
    top: dict[int, int] = {}
    for j in sorted(left):
        parent = int(clip.parents[j])
        top[j] = top.get(parent, j)
        chains.setdefault(top[j], []).append(j)
    return list(chains.values())


def _is_left(name: str) -> bool:
    low = name.lower()
    return "left" in low or low.startswith(("l_", "lh", "l")) or low.endswith("_l")


def _distances(clip: Clip, left: list[int], right: list[int]) -> tuple[Array, Array]:
    """From each frame to the next (T-1,): how far the two limbs move as labelled, and with labels
    exchanged.
    """

    def angle(a: Array, b: Array) -> Array:
        return np.linalg.norm(quat_log(quat_product(quat_inverse(a), b)), axis=-1).sum(axis=-1)

    q = clip.rotations
    a, b = q[:, left], q[:, right]
    stay = angle(a[:-1], a[1:]) + angle(b[:-1], b[1:])
    cross = angle(a[:-1], b[1:]) + angle(b[:-1], a[1:])
    free = [i for i, j in enumerate(left) if clip.parents[j] < 0 and clip.parents[right[i]] < 0]
    if free:
        size = float(np.ptp(clip.positions()[0], axis=0).max())
        x = clip.translations[:, [left[i] for i in free]] / max(size, 1e-9)
        y = clip.translations[:, [right[i] for i in free]] / max(size, 1e-9)

        def length(u: Array, v: Array) -> Array:
            return 3.0 * np.linalg.norm(v - u, axis=-1).sum(axis=-1)

        stay = stay + length(x[:-1], x[1:]) + length(y[:-1], y[1:])
        cross = cross + length(x[:-1], y[1:]) + length(y[:-1], x[1:])
    return stay, cross
