"""A short run of the fuzzer: the same few thousand damaged files each time."""

from random import Random

import pytest

from mocap import fuzz
from mocap.mutate import mutate
from mocap.samples import SMALL_BVH

COUNTS = {"bvh": 1500, "amc": 200, "c3d": 150, "smpl": 500, "g1csv": 300, "g1npz": 400, "mapping": 60, "markers": 60,
          "overrides": 60}  # fmt: skip


@pytest.fixture(scope="module")
def targets() -> dict[str, fuzz.Target]:
    return fuzz.targets()


def test_every_format_has_cases(targets):
    assert set(targets) == set(COUNTS)
    assert sum(t.share for t in targets.values()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", COUNTS)
def test_damaged_files_give_a_clip_or_a_named_error(name: str, targets, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "_scratch", tmp_path / "file.yaml")
    result = fuzz.run_cases(targets[name], 0, COUNTS[name])
    assert result.failures == []
    assert result.cases == COUNTS[name]
    # Damage that always or never shows tests nothing.
    assert len(result.outcomes) > 1


def test_cases_can_be_had_again(targets):
    first = [targets["bvh"].make(fuzz.chance_of("bvh", n)) for n in range(20)]
    assert first == [targets["bvh"].make(fuzz.chance_of("bvh", n)) for n in range(20)]
    assert len(set(first)) > 15


def test_a_reader_that_breaks_is_noticed():
    def broken(data: bytes):
        raise IndexError("oh")

    result = fuzz.run_cases(fuzz.Target("x", 1.0, lambda chance: b"", broken), 0, 3)
    assert [case for case, _ in result.failures] == [0, 1, 2]
    assert "IndexError: oh" in result.failures[0][1]


def test_a_reader_that_hangs_is_noticed(monkeypatch):
    monkeypatch.setattr(fuzz, "LIMIT_S", 0.05)

    def hang(data: bytes):
        while True:
            pass

    result = fuzz.run_cases(fuzz.Target("x", 1.0, lambda chance: b"", hang), 0, 1)
    assert result.failures == [(0, "more than 0.05 s")]


def test_the_damage_is_damage():
    seed = SMALL_BVH.encode()
    changed = [mutate(seed, Random(n), True) != seed for n in range(200)]
    assert sum(changed) > 180
