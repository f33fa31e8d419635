"""Motion files: what is written is read, and what is damaged or for another robot is refused."""

import contextlib
import json
import zipfile

import numpy as np
import pytest

from humanoid.joints import JOINT_NAMES, READY_JOINT_POS
from humanoid.motion import MotionError, Move, RobotMotion, Stroke


def a_motion(frames: int = 20, **changes) -> RobotMotion:
    rng = np.random.default_rng(0)
    quat = np.tile([1.0, 0, 0, 0], (frames, 1)) + 0.1 * rng.standard_normal((frames, 4))
    fields = {
        "name": "test",
        "fps": 50.0,
        "joint_names": JOINT_NAMES,
        "root_pos": rng.standard_normal((frames, 3)),
        "root_quat": quat / np.linalg.norm(quat, axis=1, keepdims=True),
        "joint_pos": READY_JOINT_POS + 0.1 * rng.standard_normal((frames, 29)),
        "contacts": rng.random((frames, 2)) > 0.5,
        "strokes": (Stroke("forehand", "right", 0.0, 0.2, 0.38, "forehand"),),
        "moves": (Move("ready", 0.0, 0.1), Move("shuffle", 0.1, 0.38, "left")),
        "provenance": {"licence": "CC0", "steps": [1, 2]},
    }
    return RobotMotion(**(fields | changes))


def test_a_saved_motion_is_read_back(tmp_path):
    motion = a_motion()
    path = tmp_path / "motion.npz"
    motion.save(path)
    back = RobotMotion.load(path)
    assert (back.name, back.fps, back.joint_names) == (motion.name, motion.fps, motion.joint_names)
    assert (back.strokes, back.provenance) == (motion.strokes, motion.provenance)
    assert back.moves == motion.moves
    for key in ("root_pos", "root_quat", "joint_pos"):
        np.testing.assert_allclose(getattr(back, key), getattr(motion, key), atol=1e-6)
    np.testing.assert_array_equal(back.contacts, motion.contacts)
    assert back.duration == pytest.approx(0.38)


def test_the_same_motion_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        a_motion().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint_names": (JOINT_NAMES[1], JOINT_NAMES[0], *JOINT_NAMES[2:])}, "another order"),
        ({"joint_names": ("tail", *JOINT_NAMES[1:])}, "unmatched joints"),
        ({"joint_pos": np.zeros((20, 23))}, "joint_pos has shape"),
        ({"contacts": np.zeros((19, 2), dtype=bool)}, "contacts has shape"),
        ({"root_pos": np.full((20, 3), np.nan)}, "root_pos is not finite at frame 0"),
        ({"root_quat": np.full((20, 4), 0.4)}, "unit length"),
        ({"fps": 0.0}, "positive rate"),
        ({"strokes": (Stroke("serve", "right", 0.2, 0.1, 0.3),)}, "between its start and its end"),
        ({"strokes": (Stroke("serve", "right", 0.0, np.nan, 0.3),)}, "between its start and its end"),
        ({"moves": (Move("run", 0.2, 0.1),)}, "ends before it starts"),
    ],
)
def test_motions_that_make_no_sense_are_not_written(tmp_path, change, message):
    with pytest.raises(MotionError, match=message):
        a_motion(**change).save(tmp_path / "motion.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MotionError, match=r"nothing\.npz: no such motion file"):
        RobotMotion.load(tmp_path / "nothing.npz")


def test_files_of_the_first_format_are_still_read(tmp_path):
    """They have neither moves nor the side of a stroke."""
    path = tmp_path / "motion.npz"
    a_motion().save(path)
    with np.load(path) as data:
        arrays = dict(data)
    header = json.loads(bytes(arrays["header"]).decode()) | {"format": "robot-motion/1"}
    del header["moves"]
    for stroke in header["strokes"]:
        del stroke["side"]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(path, **arrays)
    motion = RobotMotion.load(path)
    assert motion.strokes == (Stroke("forehand", "right", 0.0, 0.2, 0.38),)
    assert motion.moves == ()


def test_another_format_is_named(tmp_path):
    path = tmp_path / "motion.npz"
    a_motion().save(path)
    with np.load(path) as data:
        arrays = dict(data)
    header = json.loads(bytes(arrays["header"]).decode()) | {"format": "robot-motion/9"}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(MotionError, match="robot-motion/9"):
        RobotMotion.load(path)


def test_truncated_files_are_refused(tmp_path):
    path = tmp_path / "motion.npz"
    a_motion().save(path)
    data = path.read_bytes()
    for keep in (0, 10, len(data) // 2, len(data) - 10):
        path.write_bytes(data[:keep])
        with pytest.raises(MotionError, match=r"motion\.npz"):
            RobotMotion.load(path)


def test_pickled_objects_are_not_loaded(tmp_path):
    path = tmp_path / "motion.npz"
    np.savez(path, header=np.array([{"a": 1}], dtype=object))
    with pytest.raises(MotionError):
        RobotMotion.load(path)


def test_damaged_files_never_raise_anything_else(tmp_path):
    path = tmp_path / "motion.npz"
    a_motion().save(path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(MotionError):
            RobotMotion.load(path)


def test_an_empty_archive_is_refused(tmp_path):
    path = tmp_path / "motion.npz"
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(MotionError, match="not a readable motion file"):
        RobotMotion.load(path)
