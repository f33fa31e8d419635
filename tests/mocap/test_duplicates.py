from dataclasses import replace

import numpy as np
import pytest

from mocap.benchmark import synthetic_clip
from mocap.duplicates import Duplicates, Fingerprint, find_duplicates, fingerprint, mirrored
from mocap.mirror import mirror
from mocap.resample import resample
from mocap.rotations import axis_matrix, quat_exp, quat_product
from mocap.skeleton import Body, to_body


def wandering(seed: int, seconds: float = 12.0, fps: float = 60.0):
    """A clip in which every joint turns to and fro in its own way."""
    clip = synthetic_clip(seconds, fps)
    rng = np.random.default_rng(seed)
    t = np.arange(clip.frames) / fps
    q = clip.rotations.copy()
    for j in range(q.shape[1]):
        waves = [
            rng.normal(size=3) * np.sin(2 * np.pi * rng.uniform(0.2, 1.2) * t + rng.uniform(0, 6))[:, None]
            for _ in range(3)
        ]
        q[:, j] = quat_product(q[:, j], quat_exp(0.15 * np.sum(waves, axis=0)))
    return replace(clip, rotations=q)


@pytest.fixture(scope="module")
def seen() -> dict[str, Fingerprint]:
    return {f"clip{i}": fingerprint(to_body(wandering(i))) for i in range(4)}


def ask(seen: dict[str, Fingerprint], body: Body):
    all_seen = Duplicates()
    for name, p in seen.items():
        all_seen.add(name, p)
    return all_seen.add("new", fingerprint(body))


def test_different_clips_are_no_duplicates(seen):
    assert find_duplicates(seen) == []


def test_a_copy_in_another_unit_turned_and_moved_is_found(seen):
    body = to_body(wandering(2))
    copy = replace(body, points=body.points @ axis_matrix("Z", np.array(1.0)).T * 1.1 + [3.0, 1.0, 0.2])
    d = ask(seen, copy)
    assert d is not None
    assert (d.first, d.mirrored, d.stretch) == ("clip2", False, 1.0)
    assert d.difference < 1e-3


def test_a_copy_at_another_rate_is_found(seen):
    d = ask(seen, to_body(resample(wandering(1), 25.0)))
    assert d is not None
    assert d.first == "clip1"


def test_a_trimmed_copy_is_found_with_its_shift(seen):
    d = ask(seen, to_body(wandering(3).sliced(200, 650)))
    assert d is not None
    assert d.first == "clip3"
    assert d.shift_s == pytest.approx(200 / 60.0, abs=0.03)


def test_a_mirrored_copy_is_found(seen):
    d = ask(seen, mirror(to_body(wandering(0))))
    assert d is not None
    assert (d.first, d.mirrored) == ("clip0", True)


def test_a_copy_with_a_wrong_rate_is_found(seen):
    d = ask(seen, to_body(replace(wandering(1), fps=72.0)))
    assert d is not None
    assert d.first == "clip1"
    assert d.stretch == pytest.approx(1.2, abs=0.02)


def test_mirroring_a_fingerprint_is_mirroring_the_body():
    body = to_body(wandering(5))
    np.testing.assert_allclose(
        mirrored(fingerprint(body)).features, fingerprint(mirror(body)).features, atol=1e-4
    )


def test_a_fingerprint_goes_through_text(seen):
    p = seen["clip0"]
    np.testing.assert_array_equal(Fingerprint.from_text(p.to_text()).features, p.features)


def test_other_text_is_refused():
    with pytest.raises(ValueError, match="not a fingerprint"):
        Fingerprint.from_text("nonsense")
