"""From a folder of retargeted motions to one library with its manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from humanoid.files import atomic_write
from humanoid.motion import RobotMotion
from humanoid.motion_library import MotionLibrary
from mocap.clip import ClipError
from mocap.yaml_file import read_yaml

SHIPPED = {"recordings": Path(__file__).parent / "sources.yaml"}
KEYS = ("archive", "licence", "attribution")
QUALITY = (
    "slide_m_s",
    "penetration_fraction",
    "float_fraction",
    "direction_error_deg",
    "limit_violations",
    "velocity_violations_fraction",
    "wrist_correlation",
)
"""Figures of report.json that a motion of the library carries."""
COLUMNS = (
    "name",
    *KEYS,
    "grade",
    "frames",
    "seconds",
    "fps",
    "strokes",
    "moves",
    *QUALITY,
    "content_sha256",
)

OF_THE_RUN = ("report", "recipe", "quality_line", "read_as", "fingerprint")
"""What a motion file says for the next run of rally-retarget, and a library need not repeat."""

Sources = Sequence[tuple[str, Mapping[str, str]]]
"""Patterns of clip names, and archive, licence and attribution of what matches; the last match counts."""


class SourcesError(ClipError):
    """A table of sources that cannot be used; the message names the file and the pattern."""


def load_sources(name: str | None) -> Sources:
    """A table of where clips come from.

    Args:
        name: "recordings" for the shipped one, a YAML file, or None for no table.

    Raises:
        SourcesError: unreadable, or an unknown key.
    """
    if name is None:
        return ()
    path = SHIPPED.get(name, Path(name))
    data = read_yaml(path, SourcesError, "a table of sources")
    if not isinstance(data, dict):
        raise SourcesError(f'{path}: needs a table of clip patterns, like "walks/*": {{licence: CC0-1.0}}')
    table = []
    for pattern, values in data.items():
        if not isinstance(values, dict) or not set(values) <= set(KEYS):
            raise SourcesError(f'{path}: "{pattern}" needs a table with some of {", ".join(KEYS)}')
        table.append((str(pattern), {key: str(value) for key, value in values.items()}))
    return table


def source_of(clip: str, sources: Sources) -> dict[str, str]:
    """Archive, licence and attribution of a clip; "" where the table says nothing."""
    found: dict[str, str] = {key: "" for key in KEYS}
    found["archive"] = clip.split("/")[0] if "/" in clip else ""
    for pattern, values in sources:
        if fnmatch(clip, pattern):
            found |= values
    return found


def write_library(
    path: Path, folder: Path, records: Iterable[Mapping[str, Any]], sources: Sources = ()
) -> tuple[MotionLibrary, Path]:
    """Write the motions of a rally-retarget run as one library, and `NAME.csv` beside it.

    Failed clips and copies of other clips are left out.

    Args:
        path: the library.
        folder: with the motion files.
        records: entries of report.json; quality figures and grade go into the motions' provenance.
        sources: see `load_sources`.

    Returns:
        The open library and the manifest's path.

    Raises:
        MotionError: a motion file is damaged, or there is none.
    """
    motions = []
    for record in sorted(records, key=lambda r: str(r["clip"])):
        if not record.get("ok") or record.get("duplicate_of"):
            continue
        motion = RobotMotion.load(folder / str(record["motion"]))
        motion.name = str(record["clip"])
        quality = {key: record[key] for key in QUALITY if record.get(key) is not None}
        kept = {key: value for key, value in motion.provenance.items() if key not in OF_THE_RUN}
        motion.provenance = {**kept, **source_of(motion.name, sources), "quality": quality}
        motion.provenance |= {
            key: record[key] for key in ("grade", "feasibility") if record.get(key) is not None
        }
        motions.append(motion)
    MotionLibrary.write(path, motions)
    library = MotionLibrary.open(path)
    return library, write_manifest(library)


def write_manifest(library: MotionLibrary, path: Path | None = None) -> Path:
    """Write what is in a library as a table for people: CSV, one line a motion.

    Args:
        library: an open one.
        path: by default the library's with the ending .csv.

    Returns:
        The manifest's path. Its first line names the columns; `content_sha256` is that of the frames as stored.
    """
    path = library.path.with_suffix(".csv") if path is None else path
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in library.entries:
        about, quality = entry.provenance, entry.provenance.get("quality") or {}
        row: dict[str, Any] = {key: about.get(key, "") for key in (*KEYS, "grade")}
        row |= {key: quality.get(key, "") for key in QUALITY}
        row |= {
            "name": entry.name,
            "frames": entry.frames,
            "seconds": f"{math.floor(entry.duration * 1000 + 0.5) / 1000:.3f}",
            "fps": f"{entry.fps:g}",
            "strokes": _counted(part.kind for part in entry.strokes),
            "moves": _counted(part.kind for part in entry.moves),
            "content_sha256": library.content_hash(entry.name),
        }
        writer.writerow([row[column] for column in COLUMNS])
    with atomic_write(path, "w") as file:
        file.write(text.getvalue())
    return path


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _counted(kinds: Iterable[str]) -> str:
    """ "2 forehand 1 serve"."""
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return " ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
