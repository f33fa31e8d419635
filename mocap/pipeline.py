"""One clip from file to motion, and folders of clips: what `rally-retarget` does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from humanoid.files import atomic_write
from mocap.clean import clean
from mocap.clip import Clip, ClipError
from mocap.config import AppConfig
from mocap.filters import resample_cubic
from mocap.library import load_sources, write_library
from mocap.quality import Quality, assess
from mocap.readers import ENDINGS, find, read
from mocap.report import write_report_page
from mocap.retarget import Retargeted, retarget
from mocap.robot import RobotModel, default_robot
from mocap.skeleton import Mapping, describe, load_mapping, shipped_mappings, to_body
from mocap.strip import ENDING, make_strip
from mocap.strokeset import Cut, choose, cut_strokes, write_set


class InputError(ClipError):
    """The input or output as a whole cannot be used."""


@dataclass
class ClipReport:
    """One entry of report.json; the fields are a contract with other people's scripts.

    Attributes:
        clip: the clip's path under the input, without its ending.
        ok: whether a motion was written; error: why not.
        frames: frames of the file; fps_in: its rate; unit_m: metres per unit as used.
        trimmed_start_s: T-pose cut off at the start [s].
        glitch_frames: frames in which a marker jumped, repaired.
        duplicate_of: an earlier clip with the same content.
        slide_m_s … velocity_violations_fraction: see `mocap.quality.Quality`.
        frames_per_s: frames of the motion over the time from opening the clip to its written motion.
        strokes: {kind, hand, start_s, strike_s, end_s} each, in the motion's time.
        motion, motion_frames, up, skeleton, wrist_correlation: beyond the contract.
    """

    clip: str
    ok: bool = False
    error: str | None = None
    frames: int | None = None
    fps_in: float | None = None
    unit_m: float | None = None
    trimmed_start_s: float | None = None
    glitch_frames: int | None = None
    duplicate_of: str | None = None
    slide_m_s: float | None = None
    penetration_fraction: float | None = None
    float_fraction: float | None = None
    direction_error_deg: float | None = None
    limit_violations: int | None = None
    velocity_violations_fraction: float | None = None
    frames_per_s: float | None = None
    strokes: list[dict[str, Any]] = field(default_factory=list)
    motion: str | None = None
    motion_frames: int | None = None
    up: str | None = None
    skeleton: str | None = None
    wrist_correlation: float | None = None


@dataclass
class Processed:
    """A clip after retargeting: the motion, its quality, and what is needed to cut strokes from it."""

    result: Retargeted
    quality: Quality
    report: ClipReport
    provenance: dict[str, Any]
    spoiled: np.ndarray


def find_clips(path: Path) -> list[Path]:
    """The clips at a path: the file itself, or all files under a folder with a known ending, sorted.

    Raises:
        InputError: nothing there.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; give input=FILE or input=FOLDER")
    found = find(path)
    if not found:
        raise InputError(f"{path}: no clips there; files ending in {', '.join(ENDINGS)} are read")
    return found


def choose_mapping(name: str | None) -> Mapping | None:
    """The skeleton mapping that the user names: a shipped one, a file, or none (found by joint names).

    Raises:
        ClipError: no such mapping, or an unusable file.
    """
    if name is None:
        return None
    for mapping in shipped_mappings():
        if mapping.name == name:
            return mapping
    if not Path(name).is_file():
        known = ", ".join(m.name for m in shipped_mappings())
        raise InputError(f"skeleton={name}: neither a file nor one of the shipped skeletons {known}")
    return load_mapping(name)


def read_clip(path: Path, config: AppConfig) -> Clip:
    """Read a clip of any known format; a clips.yaml counts from the input folder down.

    Raises:
        ClipError: unreadable or of an unknown format.
    """
    return read(path, fps=config.fps, nan=config.clean.nan_frames, root=config.input)


def process(
    clip: Clip, name: str, config: AppConfig, robot: RobotModel, mapping: Mapping | None = None
) -> Processed:
    """Map, clean, retarget and judge one clip.

    Raises:
        ClipError: unknown skeleton, no plausible unit, or too short a clip.
    """
    body = to_body(clip, mapping=mapping, unit_m=config.unit_m, up=config.up)
    cleaned = clean(body, trim_t_pose=config.clean.trim_t_pose, repair_glitches=config.clean.repair_glitches)
    if cleaned.body.frames < 5 or (cleaned.body.frames - 1) / cleaned.body.fps < 0.2:
        raise ClipError(f"{clip.provenance.get('file', name)}: too short to retarget ({clip.frames} frames)")
    result = retarget(cleaned.body, robot, config.retarget, config.hand)
    quality = assess(result, robot)
    glitches = int(cleaned.glitches.sum())
    report = ClipReport(
        clip=name,
        ok=True,
        frames=clip.frames,
        fps_in=clip.fps,
        unit_m=body.unit_m,
        trimmed_start_s=round(cleaned.trimmed_start_s, 4),
        glitch_frames=glitches,
        slide_m_s=round(quality.slide_m_s, 6),
        penetration_fraction=round(quality.penetration_fraction, 6),
        float_fraction=round(quality.float_fraction, 6),
        direction_error_deg=round(quality.direction_error_deg, 3),
        limit_violations=quality.limit_violations,
        velocity_violations_fraction=round(quality.velocity_violations_fraction, 7),
        motion_frames=len(result.q),
        up=body.up,
        skeleton=body.mapping,
        wrist_correlation=round(quality.wrist_correlation, 4),
    )
    provenance = {
        **clip.provenance,
        "content_sha256": clip.content_hash(),
        "skeleton": body.mapping,
        "unit_m": body.unit_m,
        "up": body.up,
        "read_as": describe(clip, body),
        "trimmed_start_s": report.trimmed_start_s,
        "glitch_frames": glitches,
        "scale": round(result.scale, 6),
    }
    report.strokes = [asdict(s) for s in result.motion(name, {}).strokes]
    spoiled = resample_cubic(cleaned.glitches.astype(float), cleaned.body.fps, result.fps) > 0.01
    return Processed(result, quality, report, provenance, spoiled[: len(result.q)])


def run(config: AppConfig, say: Callable[[str], None] = print) -> Iterator[ClipReport]:
    """Process all clips of the input; yields each clip's report as soon as its motion is written.

    `report.json` is written after the last clip; then a stroke set, a library and the page `report.html` where
    the configuration asks for them.

    Args:
        config: the run.
        say: takes lines for people.

    Raises:
        InputError: nothing to read, or the output cannot be written.
        MotionError: the library cannot be written.
    """
    source, output = Path(config.input), Path(config.output)
    clips = find_clips(source)
    mapping = choose_mapping(config.skeleton)
    sources = load_sources(config.sources)
    robot = default_robot()
    root = source if source.is_dir() else source.parent
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{output}: cannot be made ({e.strerror}); choose another output=") from None
    reports: list[ClipReport] = []
    seen: dict[str, str] = {}
    cuts: list[Cut] = []
    try:
        for path in clips:
            report, made = _one(path, root, output, config, robot, mapping, seen)
            if made is not None and report.duplicate_of is None and _wanted(report.clip, config):
                cuts += cut_strokes(made.result, robot, config.cut, path.name, made.spoiled)
            reports.append(report)
            say(line(report, made))
            yield report
    finally:
        # What was done stands in the report even if the run is interrupted.
        write_report(output / "report.json", reports)
    if config.cut.output:
        chosen = choose(cuts, config.cut)
        about = {"licence": config.cut.licence, "attribution": config.cut.attribution}
        write_set(Path(config.cut.output), chosen, about)
        say(f"{len(chosen)} of {len(cuts)} strokes written to {config.cut.output}")
    if config.library and any(r.ok for r in reports):
        library, manifest = write_library(Path(config.library), output, map(asdict, reports), sources)
        say(f"{len(library)} motions, {library.seconds / 3600.0:.2f} h, in {library.path}; {manifest}")
    if config.report:
        say(f"report with pictures in {write_report_page(output, say=say)}")


def _wanted(name: str, config: AppConfig) -> bool:
    """Whether strokes are to be cut from this clip."""
    patterns = config.cut.only
    return bool(config.cut.output) and (not patterns or any(fnmatch(Path(name).name, p) for p in patterns))


def _one(
    path: Path,
    root: Path,
    output: Path,
    config: AppConfig,
    robot: RobotModel,
    mapping: Mapping | None,
    seen: dict[str, str],
) -> tuple[ClipReport, Processed | None]:
    """One clip from file to file; errors of the clip become its report."""
    name = path.relative_to(root).with_suffix("").as_posix()
    start = time.perf_counter()
    try:
        clip = read_clip(path, config)
        made = process(clip, name, config, robot, mapping)
    except ClipError as e:
        return ClipReport(clip=name, error=str(e)), None
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as e:
        # A clip that no rule foresaw must not stop the others; the message says that it is ours to mend.
        return ClipReport(
            clip=name, error=f"{path}: retargeting failed ({type(e).__name__}: {e}); please report it"
        ), None
    report = made.report
    digest = made.provenance["content_sha256"]
    report.duplicate_of = seen.setdefault(digest, name)
    if report.duplicate_of == name:
        report.duplicate_of = None
    else:
        made.provenance["duplicate_of"] = report.duplicate_of
    target = output / f"{name}.npz"
    try:
        made.result.motion(name, made.provenance).save(target)
        make_strip(made.result, robot).save(output / f"{name}{ENDING}")
    except OSError as e:
        raise InputError(
            f"{target}: cannot be written ({e.strerror}); what was written before is kept"
        ) from None
    report.motion = target.relative_to(output).as_posix()
    report.frames_per_s = round(len(made.result.q) / max(time.perf_counter() - start, 1e-9), 1)
    return report, made


def write_report(path: Path, reports: list[ClipReport]) -> None:
    """Write the reports as a JSON list, whole or not at all."""
    with atomic_write(path, "w") as file:
        json.dump([asdict(r) for r in reports], file, indent=1, allow_nan=False)
        file.write("\n")


def line(report: ClipReport, made: Processed | None) -> str:
    """One line for people about a clip."""
    if made is None:
        return f"FAILED {report.clip}: {report.error}"
    extras = [made.provenance["note"]] if "note" in made.provenance else []
    if report.trimmed_start_s:
        extras.append(f"T-pose {report.trimmed_start_s:.1f} s cut")
    if report.glitch_frames:
        extras.append(f"{report.glitch_frames} glitch frames")
    if report.duplicate_of:
        extras.append(f"same as {report.duplicate_of}")
    if report.strokes:
        extras.append(f"{len(report.strokes)} strokes")
    tail = f" ({', '.join(extras)})" if extras else ""
    return (
        f"{report.clip}: {report.frames} frames at {made.provenance['read_as']}: "
        f"{made.quality.line()}, {report.frames_per_s:.0f} frames/s{tail}"
    )
