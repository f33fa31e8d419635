"""Recordings: round trip, what is refused, and the recorder."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from sim.recording import QPOS_SIZE, Recorder, Recording, RecordingError


def make(frames: int = 5, robots: int = 1) -> Recording:
    rng = np.random.default_rng(1)
    shape = (frames, QPOS_SIZE) if robots == 1 else (frames, robots, QPOS_SIZE)
    qpos = rng.normal(size=shape).astype(np.float32).astype(float)
    qpos[..., 3:7] /= np.linalg.norm(qpos[..., 3:7], axis=-1, keepdims=True)
    return Recording(
        fps=50.0,
        qpos=qpos,
        ball_pos=rng.normal(size=(frames, 3)),
        ball_visible=np.arange(frames) > 1,
        target=np.where(np.arange(frames)[:, None] > 2, [[8.0, 1.0]], np.nan),
        captions=[(0.02, "Returned"), (0.06, "Out · 0.3 m")],
        score={"balls": np.arange(frames), "returned": np.arange(frames) // 2},
        title="stand · feed",
        seed=7,
    )


@pytest.mark.parametrize("robots", [1, 2])
def test_round_trip(tmp_path, robots):
    recording = make(robots=robots)
    recording.save(tmp_path / "game.npz")
    loaded = Recording.load(tmp_path / "game.npz")
    assert loaded.num_robots == robots
    np.testing.assert_allclose(loaded.qpos, recording.qpos, atol=1e-6)
    np.testing.assert_allclose(loaded.ball_pos, recording.ball_pos, atol=1e-6)
    np.testing.assert_array_equal(loaded.ball_visible, recording.ball_visible)
    np.testing.assert_array_equal(loaded.target, recording.target)
    np.testing.assert_array_equal(loaded.score["returned"], recording.score["returned"])
    assert (loaded.captions, loaded.title, loaded.seed) == (recording.captions, "stand · feed", 7)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(RecordingError, match=r"nowhere\.npz: no such recording"):
        Recording.load(tmp_path / "nowhere.npz")


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "game.npz"
    make().save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordingError, match=r"game\.npz"):
            Recording.load(path)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(RecordingError):  # nothing else may come out; some flips do no harm
            Recording.load(path)


def test_a_motion_file_is_not_a_recording(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(RecordingError, match="not a recording"):
        Recording.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("qpos", np.zeros((5, 35))),
        ("ball_pos", np.zeros((4, 3))),
        ("ball_visible", np.zeros(6, dtype=bool)),
        ("target", np.zeros((5, 3))),
        ("score", {"balls": np.zeros(4)}),
    ],
)
def test_wrong_shapes_name_the_field(tmp_path, field, value):
    recording = make()
    setattr(recording, field, value)
    with pytest.raises(RecordingError, match=field):
        recording.save(tmp_path / "game.npz")
    assert list(tmp_path.iterdir()) == []


def test_not_finite_positions_are_refused_but_a_hidden_ball_may_be():
    recording = make()
    recording.ball_pos[0] = np.nan
    recording.validate()
    recording.ball_pos[3] = np.nan
    with pytest.raises(RecordingError, match="ball_pos is not finite"):
        recording.validate()


def test_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "game.npz"
    make().save(path)
    before = path.read_bytes()

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space"):
        make(frames=6).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_recorder_collects_frames():
    recorder = Recorder(50.0, title="t", seed=3)
    qpos = make().qpos
    recorder.add(qpos[0])
    recorder.add(qpos[1], ball=[1.0, 2.0, 3.0], target=[8.0, 0.0], balls=1)
    recorder.caption("Net")
    recorder.add(qpos[2], returned=1)
    recording = recorder.finish()
    recording.validate()
    np.testing.assert_array_equal(recording.ball_visible, [False, True, False])
    np.testing.assert_array_equal(recording.score["balls"], [0, 1, 1])
    np.testing.assert_array_equal(recording.score["returned"], [0, 0, 1])
    assert recording.captions == [(0.02, "Net")]
    assert np.isnan(recording.target[0]).all()
