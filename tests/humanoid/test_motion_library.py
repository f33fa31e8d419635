"""Libraries of motions: what is written is read, the same bytes each time, and hostile files are refused."""

from __future__ import annotations

import json
import os
import random
import struct

import numpy as np
import pytest
from safetensors.numpy import load, save

from humanoid.joints import JOINT_NAMES, LOWER, READY_JOINT_POS, UPPER
from humanoid.library_file import KEY
from humanoid.motion import MotionError, Move, RobotMotion, Stroke
from humanoid.motion_library import MotionLibrary, read_folder


def make_motion(name: str, frames: int = 30, fps: float = 50.0, seed: int = 0, **provenance) -> RobotMotion:
    rng = np.random.default_rng(seed)
    quat = rng.normal(size=(frames, 4))
    duration = (frames - 1) / fps
    return RobotMotion(
        name,
        fps,
        JOINT_NAMES,
        rng.normal(size=(frames, 3)),
        quat / np.linalg.norm(quat, axis=1, keepdims=True),
        READY_JOINT_POS + rng.uniform(-1.0, 1.0, (frames, 29)),
        rng.random((frames, 2)) < 0.5,
        (Stroke("volley", "right", 0.0, 0.5 * duration, duration, "backhand"),),
        {"licence": "CC-BY-SA-3.0", "archive": "a", **provenance},
        (Move("run", 0.1 * duration, 0.3 * duration, "left"),),
    )


@pytest.fixture
def motions():
    return [
        make_motion("b/two", 40, seed=1, grade="A", archive="b", licence="Apache-2.0"),
        make_motion("a/one", 30, seed=2, grade="B"),
        make_motion("a/three", 20, 100.0, seed=3, grade="A"),
    ]


@pytest.fixture
def path(tmp_path, motions):
    path = tmp_path / "library.safetensors"
    MotionLibrary.write(path, motions)
    return path


def rewrite(path, change):
    """The file with its tensors and description changed by ``change(tables, header)``."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
    tables = dict(load(data))
    header = change(tables, header) or header
    path.write_bytes(save(tables, {KEY: json.dumps(header)}))


@pytest.mark.parametrize("storage", ["float32", "int16"])
def test_what_is_written_is_read(tmp_path, motions, storage):
    path = tmp_path / "m.safetensors"
    MotionLibrary.write(path, motions, storage)
    library = MotionLibrary.open(path)
    assert list(library) == ["a/one", "a/three", "b/two"]
    for motion in motions:
        found = library[motion.name]
        most = 1e-6 if storage == "float32" else 6e-5
        np.testing.assert_allclose(found.joint_pos, motion.joint_pos, atol=most)
        np.testing.assert_allclose(found.root_quat, motion.root_quat, atol=most)
        np.testing.assert_allclose(found.root_pos, motion.root_pos, atol=1e-6)
        np.testing.assert_array_equal(found.contacts, motion.contacts)
        assert (found.fps, found.strokes, found.moves) == (motion.fps, motion.strokes, motion.moves)
        assert found.provenance == motion.provenance


def test_sizes_are_known_without_reading(path):
    library = MotionLibrary.open(path)
    assert len(library) == 3
    assert library.num_frames == 90
    assert library.seconds == pytest.approx(29 / 50 + 19 / 100 + 39 / 50)


def test_frames_are_mapped_not_copied(path):
    library = MotionLibrary.open(path)
    assert not library.joint_pos().flags.owndata
    assert not library.joint_pos().flags.writeable


def test_same_motions_same_bytes_in_any_order(tmp_path, motions, path):
    again = tmp_path / "again.safetensors"
    MotionLibrary.write(again, reversed(motions))
    assert again.read_bytes() == path.read_bytes()


def test_rounded_motions_do_not_depend_on_the_others(tmp_path, motions):
    for motion in motions:
        motion.joint_pos = motion.joint_pos.clip(LOWER, UPPER)
    hashes = []
    for kept in (motions, motions[:1]):
        MotionLibrary.write(tmp_path / "m.safetensors", kept, "int16")
        hashes.append(MotionLibrary.open(tmp_path / "m.safetensors").content_hash("b/two"))
    assert hashes[0] == hashes[1]


def test_select_by_kind_licence_grade_and_archive(path):
    library = MotionLibrary.open(path)
    assert library.select() == ["a/one", "a/three", "b/two"]
    assert library.select(kind="volley", grade="A") == ["a/three", "b/two"]
    assert library.select(kind="run", licence="Apache-2.0") == ["b/two"]
    assert library.select(archive=("a", "b"), grade={"B"}) == ["a/one"]
    assert library.select(kind="serve") == []


def test_content_hash_sees_a_changed_frame(tmp_path, motions, path):
    before = MotionLibrary.open(path)
    motions[1].joint_pos[7, 3] += 1e-3
    MotionLibrary.write(tmp_path / "x.safetensors", motions)
    after = MotionLibrary.open(tmp_path / "x.safetensors")
    same = {name: before.content_hash(name) == after.content_hash(name) for name in before}
    assert same == {"a/one": False, "a/three": True, "b/two": True}


def test_a_folder_of_motion_files_becomes_a_library(tmp_path, motions):
    for motion in motions:
        motion.save(tmp_path / "in" / f"{motion.name}.npz")
    MotionLibrary.write(tmp_path / "m.safetensors", read_folder(tmp_path / "in"))
    assert list(MotionLibrary.open(tmp_path / "m.safetensors")) == ["a/one", "a/three", "b/two"]


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(MotionError, match="no motion files"):
        read_folder(tmp_path)


def test_an_unknown_motion_is_named_with_near_ones(path):
    with pytest.raises(KeyError, match="no motion 'three'; did you mean a/three"):
        MotionLibrary.open(path).entry("three")


def test_an_interrupted_write_keeps_the_old_file(path, motions, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        MotionLibrary.write(path, motions[:1])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("names", "message"),
    [(["x", "x"], "two motions"), (["../x"], "relative path"), (["/x"], "relative path")],
)
def test_names_that_would_be_no_files_are_refused(tmp_path, names, message):
    with pytest.raises(MotionError, match=message):
        MotionLibrary.write(tmp_path / "m.safetensors", [make_motion(name) for name in names])


def test_a_stroke_beyond_its_motion_is_not_written(tmp_path):
    motion = make_motion("x", frames=10)
    motion.strokes = (Stroke("serve", "right", 0.0, 0.5, 1.0),)
    with pytest.raises(MotionError, match=r"motion x: a stroke's times .* within 0\.180 s"):
        MotionLibrary.write(tmp_path / "m.safetensors", [motion])


def swap_joints(tables, header):
    header["joint_names"][:2] = header["joint_names"][1::-1]


def other_version(tables, header):
    header["format"] = "robot-motion-library/99"


def not_finite(tables, header):
    tables["joint_pos"][5, 2] = np.nan


def too_far(tables, header):
    tables["root_pos"][5, 2] = 1e30


def short_quaternion(tables, header):
    tables["root_quat"][3] *= 0.5


def wrong_width(tables, header):
    tables["joint_pos"] = tables["joint_pos"][:, :28].copy()


def wrong_type(tables, header):
    tables["joint_pos"] = tables["joint_pos"].astype(np.float64)


def missing_table(tables, header):
    del tables["contacts"]


def falling_offsets(tables, header):
    tables["offsets"][1] = 60


def negative_offsets(tables, header):
    tables["offsets"][0] = -5


def offsets_beyond(tables, header):
    tables["offsets"][-1] = 2**62


def too_few_motions(tables, header):
    header["motions"].pop()


def bad_rate(tables, header):
    header["motions"][0]["fps"] = float("nan")


def text_as_rate(tables, header):
    header["motions"][0]["fps"] = "50"


def escaping_name(tables, header):
    header["motions"][0]["name"] = "../../home/x"


def same_name(tables, header):
    header["motions"][0]["name"] = header["motions"][1]["name"]


def stroke_after_the_end(tables, header):
    header["motions"][0]["strokes"][0]["end_s"] = 1e9


def stroke_of_numbers(tables, header):
    header["motions"][0]["strokes"][0]["kind"] = 5


def unknown_field(tables, header):
    header["motions"][0]["moves"][0]["__class__"] = "os.system"


def list_as_motion(tables, header):
    header["motions"][0] = []


def list_as_header(tables, header):
    return [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_joints, "the same joints in another order"),
        (other_version, "format 'robot-motion-library/99'"),
        (not_finite, "joint_pos is not finite .* row 5"),
        (too_far, "root_pos is not finite or beyond"),
        (short_quaternion, "unit length at row 3"),
        (wrong_width, r"joint_pos is float32 \(90, 28\), expected float32 \(90, 29\)"),
        (wrong_type, "joint_pos is float64"),
        (missing_table, "no table contacts"),
        (falling_offsets, "offsets must begin at 0"),
        (negative_offsets, "offsets must begin at 0"),
        (offsets_beyond, "expected"),
        (too_few_motions, "offsets must be 3 whole numbers for 2 motions"),
        (bad_rate, "motion 0 .*fps nan is not a rate"),
        (text_as_rate, "motion 0 .*fps '50' is not a rate"),
        (escaping_name, "relative path without"),
        (same_name, "two motions"),
        (stroke_after_the_end, "stroke's times .* not in order"),
        (stroke_of_numbers, "kind 5 of a stroke is not a text"),
        (unknown_field, "motion 0 .*unexpected keyword"),
        (list_as_motion, "motion 0"),
        (list_as_header, "description is damaged"),
    ],
)
def test_a_hostile_description_is_one_clear_error(path, change, message):
    rewrite(path, change)
    with pytest.raises(MotionError, match=rf"library\.safetensors: .*{message}"):
        MotionLibrary.open(path)


def raw(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        raw(b"{}"),
        raw({"a": tensor([4], 0, 16), "b": tensor([4], 8, 24)}, b"\x00" * 24),  # overlapping
        raw({"a": tensor([4], 0, 16), "b": tensor([4], 20, 36)}, b"\x00" * 36),  # a gap
        raw({"root_pos": tensor([2**40, 3], 0, 12 * 2**40)}, b"\x00" * 12),  # huge
        raw({"root_pos": tensor([2**63, 2**63], 0, 12)}, b"\x00" * 12),  # sizes that overflow
        raw({"a": tensor([-1], 0, 4)}, b"\x00" * 4),
        raw(b"{}", length=2**62),  # a header longer than the file
        raw(b"[" * 100_000),  # nested too deep
        raw({"__metadata__": {KEY: "[" * 100_000}}),
        raw({"__metadata__": {KEY: "1" * 10_000}}),
        raw({"__metadata__": {"other": "x"}}),
        b"PK\x03\x04 an npz file",
    ],
)
def test_a_hostile_layout_is_one_clear_error(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(MotionError, match=r"bad\.safetensors: "):
        MotionLibrary.open(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(MotionError, match="no such library"):
        MotionLibrary.open(tmp_path / "none.safetensors")
    with pytest.raises(MotionError, match="not a file"):
        MotionLibrary.open(tmp_path)


def test_mutated_bytes_give_a_library_or_an_error(tmp_path, path):
    """A thousand damaged files: none may raise anything but MotionError."""
    data, bad = path.read_bytes(), tmp_path / "bad.safetensors"
    head = 8 + struct.unpack("<Q", data[:8])[0]
    rng = random.Random(5)
    refused = 0
    for _ in range(1000):
        mutated = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(head) if rng.random() < 0.8 else rng.randrange(len(data))
            mutated[place] = rng.randrange(256)
        if rng.random() < 0.1:
            del mutated[rng.randrange(len(mutated)) :]
        bad.write_bytes(mutated)
        try:
            library = MotionLibrary.open(bad)
            for name in library:
                library[name]
        except MotionError:
            refused += 1
    assert refused > 500
