"""Checkpoints: whole, hashed, and safe to read."""

import errno
import hashlib
import os

import pytest
import torch

from policies.checkpoint import MAGIC, CheckpointError, describe, load_checkpoint, save_checkpoint

STATE = {"iteration": 3, "samples": 96, "task": {"memory": torch.arange(4.0)}, "names": ["a", "b"]}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    return path


def test_what_is_saved_comes_back(file):
    state = load_checkpoint(file)
    assert torch.equal(state["task"].pop("memory"), STATE["task"]["memory"])
    assert {**state, "task": STATE["task"]} == STATE


def test_a_checkpoint_describes_itself(file):
    assert describe(load_checkpoint(file)) == '{"iteration": 3, "samples": 96}'


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pt: no such checkpoint; train"):
        load_checkpoint(tmp_path / "none.pt")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"hello\n" * 100])
def test_a_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"other\.pt: not a checkpoint of this project"):
        load_checkpoint(path)


@pytest.mark.parametrize("position", [0.02, 0.05, 0.5, 0.99])
def test_one_changed_byte_is_noticed(file, position):
    data = bytearray(file.read_bytes())
    data[max(len(MAGIC), int(position * len(data)))] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: damaged or changed.*resume=false"):
        load_checkpoint(file)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_truncated_file_is_noticed(file, share):
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        load_checkpoint(file)


def _with_hash(path, payload: bytes) -> None:
    path.write_bytes(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    import io

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    buffer = io.BytesIO()
    torch.save({"state": Evil()}, buffer)
    path = tmp_path / "evil.pt"
    _with_hash(path, buffer.getvalue())
    with pytest.raises(CheckpointError, match=r"evil\.pt: not readable"):
        load_checkpoint(path)
    assert not (tmp_path / "owned").exists()


def test_a_right_hash_around_nonsense_is_refused(tmp_path):
    path = tmp_path / "odd.pt"
    _with_hash(path, b"nothing torch ever wrote")
    with pytest.raises(CheckpointError, match=r"odd\.pt: not readable"):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_old_one(file, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(file, {**STATE, "iteration": 4})
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
