"""Atomic writing: the new file whole, or the old one as it was."""

import os

import pytest

from humanoid import files
from humanoid.files import atomic_write


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


def only(path):
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_new_content_takes_the_place_of_the_old(old):
    with atomic_write(old, "w") as file:
        file.write("neu: ü")
        assert old.read_text() == "old"
    assert old.read_text(encoding="utf-8") == "neu: ü"
    assert only(old)


def test_missing_folders_are_made(tmp_path):
    with atomic_write(tmp_path / "a" / "b" / "c.bin") as file:
        file.write(b"123")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"123"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file(old, error):
    def interrupted():
        with atomic_write(old, "w") as file:
            file.write("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert old.read_text() == "old"
    assert only(old)


def test_a_full_disk_leaves_the_old_file(old, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), atomic_write(old, "w") as file:
        file.write("new")
    assert old.read_text() == "old"
    assert only(old)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_fills_up_while_writing_leaves_the_old_file(old, monkeypatch):
    real = files.tempfile.mkstemp

    def on_full_disk(*args, **kwargs):
        descriptor, name = real(*args, **kwargs)
        os.close(descriptor)
        return os.open("/dev/full", os.O_WRONLY), name

    monkeypatch.setattr(files.tempfile, "mkstemp", on_full_disk)
    with pytest.raises(OSError, match="No space left"), atomic_write(old) as file:
        file.write(b"x" * 1_000_000)
    assert old.read_text() == "old"
    assert only(old)


def test_others_may_read_the_file(old):
    with atomic_write(old, "w") as file:
        file.write("new")
    assert old.stat().st_mode & 0o777 == 0o644
