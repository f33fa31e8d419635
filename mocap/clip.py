"""One motion-capture clip in one form, whatever file it came from.

A reader (one file per format) gives a `Clip` in the file's own unit and axes, because most files do not say
what these are. `mocap.skeleton` finds the unit and the up axis from the body's proportions, unless the format
or the user says them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mocap.rotations import Array, continuous, matrix_from_quat, slerp


class ClipError(ValueError):
    """A clip that cannot be used; the message names the file, the line or joint, and what to do."""


class ClipFormatError(ClipError):
    """The file is not what its format says: truncated, malformed, or of another format."""


class ClipDataError(ClipError):
    """The file parses but its motion is unusable: NaN, infinite or absurd values, no frames, no rate."""


class SkeletonError(ClipError):
    """The skeleton cannot be mapped to a human body: joints missing, or no plausible unit or up axis."""


@dataclass(frozen=True)
class Clip:
    """A moving skeleton, in the unit and axes of its file.

    Attributes:
        name: the clip's name (file stem).
        joint_names: J names, parents before children, the root first; end sites are joints named
            "<parent>_end".
        parents: (J,) index of each joint's parent, -1 for the root.
        offsets: (J, 3) rest translation in the parent's frame.
        rotations: (T, J, 4) rotation of each joint in its parent's frame, w x y z, unit, continuous in time.
        translations: (T, J, 3) translation of each joint in its parent's frame. Equal to `offsets` where a
            joint has no position channels.
        fps: frames a second.
        provenance: where it came from and what was done to it; JSON-able.
        unit_m, up, forward, skeleton: metres per unit, up and forward axis ("y", "-z" …) and mapping (name or
            file), where the format or the user says them; None where they are to be inferred.
    """

    name: str
    joint_names: tuple[str, ...]
    parents: np.ndarray
    offsets: Array
    rotations: Array
    translations: Array
    fps: float
    provenance: dict[str, Any] = field(default_factory=dict)
    unit_m: float | None = None
    up: str | None = None
    forward: str | None = None
    skeleton: str | None = None

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return len(self.rotations)

    @property
    def duration_s(self) -> float:
        """Time from the first to the last frame [s]."""
        return max(self.frames - 1, 0) / self.fps

    def positions(self) -> Array:
        """Forward kinematics: joint positions (T, J, 3) in the file's world frame and unit."""
        count = len(self.joint_names)
        pos = np.empty((self.frames, count, 3))
        rot = np.empty((self.frames, count, 3, 3))
        has_children = np.zeros(count, dtype=bool)
        has_children[self.parents[self.parents >= 0]] = True
        local = matrix_from_quat(self.rotations)
        for j, p in enumerate(self.parents):
            if p < 0:
                pos[:, j] = self.translations[:, j]
                rot[:, j] = local[:, j]
            else:
                pos[:, j] = pos[:, p] + (rot[:, p] @ self.translations[:, j, :, None])[..., 0]
                if has_children[j]:
                    rot[:, j] = rot[:, p] @ local[:, j]
        return pos

    def resampled(self, fps: float) -> Clip:
        """The clip at another rate: spherical interpolation of rotations, linear of translations.

        Going down in rate, the rotations are taken at the nearest instants without averaging; smoothing
        belongs to the retargeter, which knows the robot's bandwidth.
        """
        if not np.isfinite(fps) or fps <= 0.0:
            raise ClipDataError(
                f"{self.name}: cannot resample to {fps} frames a second; give a positive rate"
            )
        if abs(fps - self.fps) < 1e-9 or self.frames < 2:
            return self
        count = int(np.floor(self.duration_s * fps + 1e-6)) + 1
        index = np.minimum(np.arange(count) * (self.fps / fps), self.frames - 1.0)
        lo = np.minimum(index.astype(int), self.frames - 2)
        t = (index - lo)[:, None, None]
        translations = self.translations[lo] * (1.0 - t) + self.translations[lo + 1] * t
        provenance = {**self.provenance, "resampled_from_fps": self.fps}
        return replace(
            self,
            rotations=slerp(self.rotations, index),
            translations=translations,
            fps=fps,
            provenance=provenance,
        )

    def sliced(self, start: int, stop: int) -> Clip:
        """Frames start … stop-1 as a clip of their own."""
        return replace(self, rotations=self.rotations[start:stop], translations=self.translations[start:stop])

    def content_hash(self) -> str:
        """SHA-256 of the motion, blind to file name, comments and number formatting (values rounded to
        1e-3).
        """
        h = hashlib.sha256()
        h.update("\0".join(self.joint_names).encode())
        h.update(np.round(self.offsets, 3).astype(np.float32).tobytes())
        h.update(np.float32(round(self.fps, 2)).tobytes())
        # + 0.0 turns -0.0 into 0.0; the continuous sign convention makes equal rotations equal bytes.
        h.update((np.round(self.rotations, 3) + 0.0).astype(np.float32).tobytes())
        h.update((np.round(self.translations[:, 0], 2) + 0.0).astype(np.float32).tobytes())
        moving = np.abs(self.translations[:, 1:] - self.offsets[1:]).max(initial=0.0) > 0.005
        if moving:  # joints with positions of their own, and markers
            h.update((np.round(self.translations[:, 1:], 2) + 0.0).astype(np.float32).tobytes())
        return h.hexdigest()


# Larger than any capture file met; what is read stays a small multiple of it.
MAX_BYTES = 256 * 2**20
# Joints times frames: three hours of 25 joints at 100 Hz; 1.7 GB as a clip.
MAX_SAMPLES = 30_000_000


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        ClipFormatError: missing, unreadable, or larger than `MAX_BYTES`.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ClipFormatError(
                f"{path}: {size / 2**20:.0f} MiB is more than the {MAX_BYTES // 2**20} MiB accepted; split it"
            )
        return path.read_bytes()
    except OSError as e:
        raise ClipFormatError(
            f"{path}: cannot be read ({e.strerror or e}); check the path and its permissions"
        ) from None


def check_size(frames: int, joints: int, source: str) -> None:
    """Refuse, before memory is taken for it, a clip larger than any that is met.

    Raises:
        ClipDataError: more than `MAX_SAMPLES` joints times frames.
    """
    if frames * joints > MAX_SAMPLES:
        raise ClipDataError(
            f"{source}: {frames} frames of {joints} joints are more than the {MAX_SAMPLES} samples accepted; split it"
        )


def decode_text(data: bytes, source: str) -> str:
    """The text of a text file: UTF-8 or UTF-16 by its byte order mark, else UTF-8, else Latin-1.

    Raises:
        ClipFormatError: UTF-16 by its mark but not in its content.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            text = data.decode("utf-16")
        except UnicodeDecodeError:
            raise ClipFormatError(
                f"{source}: begins like UTF-16 text but is not; check the file or unpack it first"
            ) from None
    else:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    # Old DOS programs end a text with Ctrl-Z.
    return text.lstrip("\ufeff").rstrip("\x1a")


def make_clip(
    name: str,
    joint_names: tuple[str, ...],
    parents: np.ndarray,
    offsets: Array,
    rotations: Array,
    translations: Array,
    fps: float,
    provenance: dict[str, Any],
) -> Clip:
    """A checked `Clip`: consistent shapes, at least one frame, finite values, positive rate; else
    `ClipDataError`.
    """
    count = len(joint_names)
    where = provenance.get("file", name)
    if rotations.shape[1:] != (count, 4) or translations.shape != (*rotations.shape[:1], count, 3):
        raise ClipDataError(
            f"{where}: arrays do not fit {count} joints: "
            f"rotations {rotations.shape}, translations {translations.shape}"
        )
    if len(rotations) < 1:
        raise ClipDataError(f"{where}: the clip has no frames; nothing to retarget")
    if not np.isfinite(fps) or not 1.0 <= fps <= 10000.0:
        raise ClipDataError(
            f"{where}: {fps} frames a second is not a usable rate; set fps=… to override the file"
        )
    for label, values in (("rotation", rotations), ("position", translations)):
        bad = np.asarray(~np.isfinite(values).all(axis=2))
        if bad.any():
            frame, joint = np.argwhere(bad)[0]
            raise ClipDataError(
                f"{where}: {label} of joint {joint_names[joint]} in frame {frame} is not finite "
                f"({int(bad.any(axis=1).sum())} such frames); "
                f"cut these frames or set clean.nan_frames=interpolate"
            )
    return Clip(
        name, joint_names, parents, offsets, continuous(rotations), translations, float(fps), provenance
    )


def clip_name(path: Path) -> str:
    """The name that a clip read from `path` gets."""
    return path.stem
