"""One clip from file to motion, and folders of clips: what `rally-retarget` does."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from humanoid.bodies import Bodies
from humanoid.motion import MotionError, RobotMotion
from mocap.clean import clean
from mocap.clip import Clip, ClipError
from mocap.clip_report import ClipReport, read_report, write_report
from mocap.config import AppConfig
from mocap.duplicates import OVERLAP_SHARE, RATE_HZ, Duplicate, Duplicates, Fingerprint, fingerprint
from mocap.dynamics_grade import demand, summarise
from mocap.filters import runs
from mocap.g1_skeleton import is_robot
from mocap.library import load_sources, write_library
from mocap.mirror import other_side
from mocap.overrides import overrides_for
from mocap.quality import Quality, assess
from mocap.readers import ENDINGS, find, read
from mocap.report import write_report_page
from mocap.retarget import Retargeted, retarget
from mocap.robot import RobotModel, default_robot
from mocap.skeleton import Mapping, describe, load_mapping, shipped_mappings
from mocap.strip import ENDING, make_strip
from mocap.strokeset import Cut, choose, cut_strokes, write_set
from mocap.take_over import take_over
from mocap.workers import WorkerError, ordered_map


class InputError(ClipError):
    """The input or output as a whole cannot be used."""


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
    # The robot's own motion is taken as it is.
    ours = is_robot(clip)
    untouched = replace(config.clean, trim_t_pose=False, repair_glitches=False, mirror="no")
    cleaned = clean(
        clip,
        untouched if ours else config.clean,
        fps=config.retarget.fps,
        mapping=mapping,
        unit_m=config.unit_m,
        up=config.up,
        hand=config.hand,
    )
    body = cleaned.body
    if cleaned.body.frames < 5 or (cleaned.body.frames - 1) / cleaned.body.fps < 0.2:
        raise ClipError(f"{clip.provenance.get('file', name)}: too short to retarget ({clip.frames} frames)")
    # A left-hander who was mirrored plays with the right hand.
    hand = other_side(config.hand) if config.hand and cleaned.mirrored else config.hand
    if ours:
        result = take_over(clip, robot, config.retarget, hand)
    else:
        result = retarget(cleaned.body, robot, config.retarget, hand)
    bodies = Bodies()
    quality = assess(result, robot, bodies)
    placed = result.joint_pos, result.joint_rot
    needs = demand(result.root_pos, result.root_rot, result.q, result.fps, robot, placed)
    report = ClipReport(
        clip=name,
        ok=True,
        frames=clip.frames,
        fps_in=clip.fps,
        unit_m=body.unit_m,
        trimmed_start_s=round(cleaned.trimmed_start_s, 4),
        glitch_frames=cleaned.glitch_frames,
        cleaning=cleaned.summary(),
        motion_frames=len(result.q),
        up=body.up,
        skeleton=body.mapping,
    )
    report.judge(quality, summarise(needs))
    provenance = {
        **clip.provenance,
        "content_sha256": clip.content_hash(),
        "skeleton": body.mapping,
        "unit_m": body.unit_m,
        "up": body.up,
        "read_as": describe(clip, body),
        "trimmed_start_s": report.trimmed_start_s,
        "glitch_frames": cleaned.glitch_frames,
        "cleaning": cleaned.provenance(),
        "scale": round(result.scale, 6),
        "grade": report.grade,
        "feasibility": report.feasibility,
    }
    report.strokes = [asdict(s) for s in result.motion(name, {}).strokes]
    spoiled = cleaned.glitches[: len(result.q)]
    # Spans in seconds: libraries of strokes leave out what was mended.
    provenance["spoiled_s"] = [[round(a / result.fps, 3), round(b / result.fps, 3)] for a, b in runs(spoiled)]
    return Processed(result, quality, report, provenance, spoiled)


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
    choose_mapping(config.skeleton)
    sources = load_sources(config.sources)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{output}: cannot be made ({e.strerror}); choose another output=") from None
    reports: list[ClipReport] = []
    seen = _Seen()
    cuts: list[Cut] = []
    before = read_report(output / "report.json") if config.resume else {}
    results = ordered_map(_one, clips, config.workers, _Run.begin, (config,))
    try:
        for outcome in results:
            report = outcome.report
            if report.ok:
                _name_copy(outcome, output, seen)
                if report.duplicate_of is None:
                    cuts += outcome.cuts
            if report.resumed:
                report.frames_per_s = before.get(report.clip, {}).get("frames_per_s")
            reports.append(report)
            say(report.line(outcome.read_as, outcome.quality, outcome.note))
            yield report
    except WorkerError as e:
        raise InputError(str(e)) from None
    finally:
        results.close()
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


@dataclass(frozen=True)
class _Run:
    """What a process keeps from clip to clip."""

    config: AppConfig
    robot: RobotModel
    mapping: Mapping | None
    root: Path
    output: Path

    @staticmethod
    def begin(config: AppConfig) -> _Run:
        source = Path(config.input)
        root = source if source.is_dir() else source.parent
        return _Run(config, default_robot(), choose_mapping(config.skeleton), root, Path(config.output))


@dataclass
class _Outcome:
    """What comes back of a clip: report, parts of its line, cut strokes, hash of the content, what its file says."""

    report: ClipReport
    read_as: str = ""
    quality: str = ""
    note: str | None = None
    cuts: list[Cut] = field(default_factory=list)
    digest: str = ""
    copy_of: str | None = None
    fingerprint: str = ""


def _one(run: _Run, path: Path) -> _Outcome:
    """One clip from file to file; errors of the clip become its report."""
    config, output = run.config, run.output
    name = path.relative_to(run.root).with_suffix("").as_posix()
    target = output / f"{name}.npz"
    start = time.perf_counter()
    wanted = _wanted(name, config)
    try:
        recipe = recipe_of(path, config)
        if config.resume and not wanted and (kept := _kept(target, recipe)) is not None:
            return kept
        clip = read_clip(path, config)
        made = process(clip, name, config, run.robot, run.mapping)
    except ClipError as e:
        return _Outcome(ClipReport(clip=name, error=str(e)))
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as e:
        # A clip that no rule foresaw must not stop the others; the message says that it is ours to mend.
        problem = f"{path}: retargeting failed ({type(e).__name__}: {e}); please report it"
        return _Outcome(ClipReport(clip=name, error=problem))
    report = made.report
    report.motion = target.relative_to(output).as_posix()
    quality, read_as = made.quality.line(), made.provenance["read_as"]
    shows = fingerprint(made.result.body).to_text()
    about = {**made.provenance, "recipe": recipe, "report": asdict(report), "quality_line": quality}
    about["fingerprint"] = shows
    try:
        # The motion comes last: where it is, the rest is too.
        make_strip(made.result, run.robot).save(output / f"{name}{ENDING}")
        for stale in target.parent.glob(f".{target.name}.*"):
            stale.unlink(missing_ok=True)
        made.result.motion(name, about).save(target)
    except OSError as e:
        raise InputError(
            f"{target}: cannot be written ({e.strerror}); what was written before is kept"
        ) from None
    cuts = cut_strokes(made.result, run.robot, config.cut, path.name, made.spoiled) if wanted else []
    report.frames_per_s = round(len(made.result.q) / max(time.perf_counter() - start, 1e-9), 1)
    note = made.provenance.get("note")
    return _Outcome(report, read_as, quality, note, cuts, made.provenance["content_sha256"], None, shows)


def recipe_of(path: Path, config: AppConfig) -> str:
    """SHA-256 of all that makes a clip's motion what it is: the file, what is said about it, the configuration and
    the package's version.

    Raises:
        ClipError: the clip cannot be read, or its clips.yaml is unusable.
    """
    told = overrides_for(path, Path(config.input))
    try:
        version = metadata.version("humanoid-rally")
    except metadata.PackageNotFoundError:
        version = "unknown"
    about = {
        "version": version,
        "retarget": asdict(config.retarget),
        "clean": asdict(config.clean),
        "told": asdict(told),
        "keys": [config.fps, config.unit_m, config.up, config.skeleton, config.hand],
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    # Files beside it count by their content: mapping, skeleton of an AMC clip, body model.
    said = [v for v in (*asdict(told).values(), config.skeleton) if isinstance(v, str)]
    beside = sorted(path.parent.glob("*.asf")) if path.suffix.lower() == ".amc" else []
    for file in (path, *beside, *(Path(v) for v in said if Path(v).is_file())):
        try:
            digest.update(file.read_bytes())
        except OSError as e:
            raise ClipError(f"{file}: cannot be read ({e.strerror})") from None
    return digest.hexdigest()


def _kept(target: Path, recipe: str) -> _Outcome | None:
    """The outcome of an earlier run whose motion is there and was made by the same recipe; None without one."""
    strip = target.with_name(target.name.removesuffix(".npz") + ENDING)
    if not target.is_file() or not strip.is_file():
        return None
    try:
        about = RobotMotion.load(target).provenance
        if about.get("recipe") != recipe:
            return None
        report = ClipReport(**{**about["report"], "resumed": True})
        digest, line, read_as = about["content_sha256"], about["quality_line"], about["read_as"]
    except (MotionError, KeyError, TypeError):
        return None
    return _Outcome(
        report,
        read_as,
        f"kept; {line}",
        about.get("note"),
        [],
        digest,
        about.get("duplicate_of"),
        about.get("fingerprint", ""),
    )


@dataclass
class _Seen:
    """What the clips so far were, by their numbers and by what they show."""

    digests: dict[str, str] = field(default_factory=dict)
    prints: Duplicates = field(default_factory=Duplicates)


def _name_copy(outcome: _Outcome, output: Path, seen: _Seen) -> None:
    """Say in report and motion of which earlier clip a clip is a copy, or with which it shares a part."""
    report = outcome.report
    first = seen.digests.setdefault(outcome.digest, report.clip)
    like: Duplicate | None = None
    if outcome.fingerprint:
        like = seen.prints.add(report.clip, Fingerprint.from_text(outcome.fingerprint))
    if like is not None:
        report.cleaning = {**report.cleaning, "like": asdict(like)}
    # A clip that goes on beyond an earlier one has something of its own.
    if first == report.clip and like is not None and like.overlap_s >= OVERLAP_SHARE * _seconds(outcome):
        first = like.first
    report.duplicate_of = None if first == report.clip else first
    if report.duplicate_of == outcome.copy_of:
        return
    target = output / str(report.motion)
    motion = RobotMotion.load(target)
    motion.provenance.pop("duplicate_of", None)
    motion.provenance.pop("like", None)
    if report.duplicate_of:
        motion.provenance["duplicate_of"] = report.duplicate_of
    if like is not None:
        motion.provenance["like"] = asdict(like)
    motion.save(target)


def _seconds(outcome: _Outcome) -> float:
    """How long what a clip shows lasts [s]."""
    return len(Fingerprint.from_text(outcome.fingerprint).features) / RATE_HZ
