"""Any capture file in, a `Clip` out: which reader takes a file is found by its ending and its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mocap.asf_amc import read_amc
from mocap.bvh import read_bvh
from mocap.c3d_markers import read_c3d
from mocap.clip import Clip, ClipFormatError
from mocap.g1_csv import looks_like_csv, read_g1_csv
from mocap.g1_npz import looks_like_npz, read_g1_npz
from mocap.npz import array_names
from mocap.overrides import Overrides, overrides_for
from mocap.smpl import looks_like_smpl, read_smpl

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: what people call it.
        endings: file name endings (lower case).
        is_ours: whether a file's path and first bytes look like it.
        read: the reader; takes the path, the overrides and what to do with NaN frames.
        search: which files with its ending are taken for clips when a folder is searched: "all", those whose
            "content" looks like it, or "none".
    """

    name: str
    endings: tuple[str, ...]
    is_ours: Callable[[Path, bytes], bool]
    read: Callable[[Path, Overrides, str], Clip]
    search: str = "all"


def _text_head(head: bytes) -> str:
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return head.decode(encoding, errors="replace").lstrip("\ufeff \t\r\n")


def _arrays(path: Path, head: bytes) -> tuple[str, ...]:
    """Names of the arrays in an npz file; () for any other."""
    if head[:2] != b"PK":
        return ()
    try:
        return array_names(path, str(path))
    except ClipFormatError:
        return ()


FORMATS: tuple[Format, ...] = (
    Format(
        "BVH",
        (".bvh",),
        lambda path, head: _text_head(head)[:9].upper() == "HIERARCHY",
        lambda path, o, nan: read_bvh(path, fps=o.fps, nan=nan),
    ),
    Format(
        "ASF/AMC",
        (".amc",),
        lambda path, head: _text_head(head).startswith(("#!OML", ":FULLY", ":fully", ":DEGREES")),
        lambda path, o, nan: read_amc(path, o, nan=nan),
    ),
    Format(
        "G1 joints, CSV",
        (".csv",),
        lambda path, head: b"\0" not in head and looks_like_csv(_text_head(head)),
        lambda path, o, nan: read_g1_csv(path, o),
        search="content",
    ),
    Format(
        "C3D",
        (".c3d",),
        lambda path, head: len(head) > 512 and head[1] == 0x50 and 2 <= head[0] < 8,
        lambda path, o, nan: read_c3d(path, o, nan=nan),
    ),
    Format(
        "SMPL parameters",
        (".npz",),
        lambda path, head: looks_like_smpl(_arrays(path, head)),
        lambda path, o, nan: read_smpl(path, o, nan=nan),
        search="content",
    ),
    # Results of earlier runs may lie among the clips; they are read only when they are named.
    Format(
        "motions of this project",
        (".npz",),
        lambda path, head: "header" in (names := _arrays(path, head)) and looks_like_npz(names),
        lambda path, o, nan: read_g1_npz(path, o),
        search="none",
    ),
    Format(
        "G1 joints, npz",
        (".npz",),
        lambda path, head: looks_like_npz(_arrays(path, head)),
        lambda path, o, nan: read_g1_npz(path, o),
        search="content",
    ),
)
"""What can be read."""

_PICKLE = "pickles are not read, since they can run code; save its arrays as npz (joint_names and fps too)"
_REFUSED = {
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".pt": _PICKLE,
    ".fbx": "FBX is not read; export it as BVH (Blender: File, Export, Motion Capture)",
    ".asf": "a skeleton without motion; give the .amc file, which finds it",
}

ENDINGS: tuple[str, ...] = tuple(e for f in FORMATS for e in f.endings)
"""File name endings of all formats (lower case)."""


def format_of(path: Path) -> Format:
    """The format of a file: by its ending if the content agrees, else by its content, else by its ending.

    Raises:
        ClipFormatError: unreadable file, or nothing that can be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as e:
        raise ClipFormatError(
            f"{path}: cannot be read ({e.strerror or e}); check the path and its permissions"
        ) from None
    ending = path.suffix.lower()
    named = [f for f in FORMATS if ending in f.endings]
    for candidate in [*named, *FORMATS]:
        if candidate.is_ours(path, head):
            return candidate
    if named:
        return named[0]
    if ending in _REFUSED:
        raise ClipFormatError(f"{path}: {_REFUSED[ending]}")
    known = ", ".join(f"{f.name} ({' '.join(f.endings)})" for f in FORMATS)
    raise ClipFormatError(
        f"{path}: unknown ending {ending or '(none)'}, and not the content of a motion file; read are {known}"
    )


def read(
    path: str | Path,
    *,
    fps: float | None = None,
    nan: str = "error",
    overrides: Overrides | None = None,
    root: str | Path | None = None,
) -> Clip:
    """Read a clip of any known format.

    Args:
        path: the file.
        fps: frames a second, overriding the file and its clips.yaml.
        nan: "error" refuses frames with NaN or missing markers, "interpolate" fills them.
        overrides: what to take instead of what the file says; by default from clips.yaml, see
            `mocap.overrides`.
        root: highest folder in which clips.yaml is looked for; the clip's folder when not given.

    Returns:
        The clip in the file's unit and axes, with those set that the format or the user says.

    Raises:
        ClipError: the file cannot be used; the message names it, the place and what to do.
    """
    path = Path(path)
    told = overrides or overrides_for(path, None if root is None else Path(root))
    if fps is not None:
        told = replace(told, fps=fps)
    clip = format_of(path).read(path, told, nan)
    return replace(
        clip,
        unit_m=told.unit_m or clip.unit_m,
        up=told.up or clip.up,
        forward=told.forward or clip.forward,
        skeleton=told.skeleton or clip.skeleton,
    )


def find(folder: Path) -> list[Path]:
    """All clips under a folder, sorted: files with a known ending, those with a common one (csv, npz) only if
    their content looks like motion.
    """
    return sorted(p for p in folder.rglob("*") if p.is_file() and _is_clip(p))


def _is_clip(path: Path) -> bool:
    named = [f for f in FORMATS if path.suffix.lower() in f.endings]
    if any(f.search == "all" for f in named):
        return True
    if not named:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    first = next((f for f in named if f.is_ours(path, head)), None)
    return first is not None and first.search == "content"
