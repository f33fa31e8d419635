"""Writing H.264 video that browsers play."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from sim.gl import RenderUnavailable


def find_ffmpeg() -> str:
    """Path of an ffmpeg with an H.264 encoder: imageio-ffmpeg's, else the one on the PATH.

    Raises:
        RenderUnavailable: there is none.
    """
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        pass
    found = shutil.which("ffmpeg")
    if found is None:
        raise RenderUnavailable("no ffmpeg to write a video with; pip install 'humanoid-rally[render]'")
    return found


class VideoWriter:
    """An mp4 file (H.264, yuv420p, index in front) that appears whole or not at all.

    Use it in a ``with`` block; leaving it by an exception discards the video.

    Args:
        path: file to write; its folder is made when missing.
        width, height: even numbers, [pixels].
        fps: frames a second.
        crf: quality of libx264, 0 lossless to 51; 20 looks like the original.
        preset: of libx264.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        width: int,
        height: int,
        fps: float,
        crf: int = 20,
        preset: str = "veryfast",
    ) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"a video's width and height must be even, got {width} × {height}")
        self.path = Path(path)
        self.shape = (height, width, 3)
        self._ffmpeg = find_ffmpeg()
        self._fps, self._crf, self._preset = fps, crf, preset
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}.", suffix=".mp4")
        os.close(descriptor)
        self._temporary = Path(name)
        self._log = tempfile.TemporaryFile()
        height, width, _ = self.shape
        command = [self._ffmpeg, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{width}x{height}", "-r", f"{self._fps:g}", "-i", "-", "-an"]
        command += ["-c:v", "libx264", "-preset", self._preset, "-crf", str(self._crf), "-pix_fmt", "yuv420p"]
        command += ["-movflags", "+faststart", name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log)
        return self

    def add(self, picture: np.ndarray) -> None:
        """Append a picture, (height, width, 3) uint8, RGB."""
        if picture.shape != self.shape or picture.dtype != np.uint8:
            raise ValueError(
                f"picture is {picture.shape} {picture.dtype}, the video's are {self.shape} uint8"
            )
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(picture).tobytes())
        except BrokenPipeError:
            raise OSError(f"{self.path}: the encoder stopped: {self._reason()}") from None

    def __exit__(self, kind, *_) -> None:
        process = self._process
        assert process is not None
        try:
            if kind is not None:
                process.kill()
            try:
                assert process.stdin is not None
                process.stdin.close()
            except BrokenPipeError:
                pass
            code = process.wait()
            if kind is None:
                if code != 0:
                    raise OSError(f"{self.path}: the encoder failed: {self._reason()}")
                os.chmod(self._temporary, 0o644)
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)
            self._log.close()
            self._process = None

    def _reason(self) -> str:
        assert self._process is not None
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"
