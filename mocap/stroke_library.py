"""Single strokes as a library: cut out of retargeted clips with preparation and follow-through.

A stroke is turned so that the racket moves toward +x when it strikes, and begins with the pelvis above the
origin. Its provenance holds the strike's figures and what a G1 is asked for (grade). The shipped libraries
are made again, bit for bit, with

    make library MOCAP=../shared/mocap
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from humanoid.joints import JOINT_NAMES, VELOCITY_LIMIT
from humanoid.motion import Move, RobotMotion, Stroke
from humanoid.motion_library import MotionLibrary
from mocap.clip import ClipError
from mocap.config import AppConfig
from mocap.dynamics_grade import grade_motion
from mocap.filters import velocity
from mocap.library import Sources, load_sources, source_of, write_manifest
from mocap.quality import PENETRATION_M
from mocap.robot import RobotModel, default_robot
from mocap.rotations import Array, axis_matrix, continuous, matrix_from_quat, quat_from_matrix
from mocap.strike import find_strikes

ARCHIVES = ("tennis_caldas", "tennis_snu")
"""Recordings of tennis that the shipped libraries are made of, one library each: their licences differ."""
FILE = "strokes.safetensors"
STRIKE_FIGURES = ("height_m", "right_m", "forward_m", "speed_m_s", "rise_deg", "turn_deg", "normal", "step_m")
"""Of `mocap.strike.Strike`, in the provenance of every stroke."""


@dataclass(frozen=True)
class StrokeRules:
    """Which strokes are good enough, and how they are cut. Thresholds are judgement, without a source.

    Attributes:
        pad_s: kept before the preparation and after the follow-through, s.
        before_s, after_s: least time before and after the strike, s.
        grades: what a G1 may be asked for, see `mocap.dynamics_grade`; of the stroke alone, not of its clip.
        speed_m_s: least and greatest racket speed at the strike.
        velocity_share: joints may use at most this share of their speed limits.
        slide_m_s: greatest mean speed of a sole that is held.
        per_minute: at most so many strokes of a clip for each minute of it, but one, the most feasible ones.
    """

    pad_s: float = 0.2
    before_s: float = 0.4
    after_s: float = 0.3
    grades: tuple[str, ...] = ("A", "B")
    speed_m_s: tuple[float, float] = (4.0, 25.0)
    velocity_share: float = 1.0
    slide_m_s: float = 0.03
    per_minute: float = 8.0


def cut_clip(motion: RobotMotion, robot: RobotModel, rules: StrokeRules | None = None) -> list[RobotMotion]:
    """The good strokes of a clip as motions of their own, named CLIP/NN_KIND, in order of time.

    A stroke is left out where a frame of it was mended ("spoiled_s" in the provenance: spans in seconds), and if it
    is of the left hand: the robot's racket is in its right.
    """
    rules = rules or StrokeRules()
    found: list[tuple[float, RobotMotion]] = []
    for number, stroke in enumerate(motion.strokes, start=1):
        span = _span(motion, stroke, rules)
        if span is None:
            continue
        piece = _cut(motion, stroke, span, number, robot)
        if not _good(piece, rules):
            continue
        judged = grade_motion(piece, robot)
        piece.provenance |= {"grade": judged.grade, "feasibility": round(judged.score, 4)}
        if judged.grade in rules.grades:
            found.append((round(judged.score, 4), piece))
    most = max(round(rules.per_minute * motion.duration / 60.0), 1)
    best = sorted(found, key=lambda pair: (-pair[0], pair[1].name))[:most]
    return sorted((piece for _, piece in best), key=lambda piece: piece.name)


def _good(piece: RobotMotion, rules: StrokeRules) -> bool:
    quality, strike = piece.provenance["quality"], piece.provenance["strike"]
    return (
        quality["velocity_share"] <= rules.velocity_share
        and quality["limit_violations"] == 0
        and quality["slide_m_s"] <= rules.slide_m_s
        and quality["penetration_fraction"] == 0.0
        and rules.speed_m_s[0] <= strike["speed_m_s"] <= rules.speed_m_s[1]
    )


def _span(motion: RobotMotion, stroke: Stroke, rules: StrokeRules) -> tuple[int, int] | None:
    """Frames [a, b) of a stroke with its margins; None where it is cut short, spoiled or left-handed."""
    if stroke.hand != "right":
        return None
    start = max(stroke.start_s - rules.pad_s, 0.0)
    end = min(stroke.end_s + rules.pad_s, motion.duration)
    if stroke.strike_s - start < rules.before_s or end - stroke.strike_s < rules.after_s:
        return None
    for a, b in motion.provenance.get("spoiled_s") or ():
        if a < end and b > start:
            return None
    return round(start * motion.fps), round(end * motion.fps) + 1


def _cut(
    motion: RobotMotion, stroke: Stroke, span: tuple[int, int], number: int, robot: RobotModel
) -> RobotMotion:
    """The stroke as a motion, with the figures of its strike and of its quality in the provenance."""
    a, b = span
    fps = motion.fps
    root_pos, root_rot = motion.root_pos[a:b], matrix_from_quat(motion.root_quat[a:b])
    q, contacts = motion.joint_pos[a:b], motion.contacts[a:b]
    start, duration = a / fps, (b - a - 1) / fps
    piece = RobotMotion(
        f"{motion.name}/{number:02d}_{stroke.kind}",
        fps,
        JOINT_NAMES,
        root_pos,
        motion.root_quat[a:b],
        q,
        contacts,
        (_moved(stroke, start, duration),),
        {
            **_source(motion),
            "cut": {"clip": motion.name, "start_s": round(start, 4), "end_s": round(b / fps, 4)},
        },
        tuple(
            Move(
                m.kind,
                round(max(m.start_s - start, 0.0), 4),
                round(min(m.end_s - start, duration), 4),
                m.direction,
            )
            for m in motion.moves
            if m.start_s - start < duration and m.end_s > start
        ),
    )
    strike = find_strikes(piece, robot)[0]
    piece.provenance["strike"] = {key: _rounded(getattr(strike, key)) for key in STRIKE_FIGURES}
    # Its x is the strike's direction: the pelvis' heading less how far the pelvis is turned from it.
    facing = root_rot[round(strike.strike_s * fps), :, 0]
    turn = axis_matrix("Z", np.array(np.radians(strike.turn_deg) - np.arctan2(facing[1], facing[0])))
    piece.root_pos = root_pos = (root_pos - root_pos[0] * [1.0, 1.0, 0.0]) @ turn.T
    root_rot = turn @ root_rot
    piece.root_quat = continuous(quat_from_matrix(root_rot))
    piece.provenance["quality"] = _quality(piece, root_rot, robot)
    return piece


def _quality(piece: RobotMotion, root_rot: Array, robot: RobotModel) -> dict[str, Any]:
    """As in report.json, of this stroke: mean speed of the soles that are held, frames with a sole more than 1 cm
    under the floor, joints beyond limits; and the largest share of a joint's speed limit that is used.
    """
    tree, fps, q = robot.tree, piece.fps, piece.joint_pos
    pos, rot = tree.forward(piece.root_pos, root_rot, q)
    slides, lowest = [0.0], np.full(len(q), np.inf)
    corners = np.array([[x, y, 0.0] for x in (-1, 1) for y in (-1, 1)]) * [*robot.foot_half_m, 0.0]
    for n, sole in enumerate(robot.soles):
        place, tilt = tree.place(sole, pos, rot)
        height = (place[:, None] + np.einsum("tij,cj->tci", tilt, corners))[..., 2]
        lowest = np.minimum(lowest, height.min(axis=1))
        held = piece.contacts[1:, n] & piece.contacts[:-1, n]
        slides += list(np.linalg.norm(np.diff(place[:, :2], axis=0), axis=1)[held] * fps)
    share = np.abs(velocity(q, fps)) / VELOCITY_LIMIT
    return {
        "slide_m_s": round(float(np.mean(slides)), 6),
        "penetration_fraction": round(float((lowest < -PENETRATION_M).mean()), 6),
        "limit_violations": int(((q < tree.lower - 1e-6) | (q > tree.upper + 1e-6)).sum()),
        "velocity_violations_fraction": round(float((share > 1.0).mean()), 7),
        "velocity_share": round(float(share.max()), 4),
    }


def _moved(stroke: Stroke, start: float, duration: float) -> Stroke:
    """The stroke in the piece's time."""
    times = (stroke.start_s, stroke.strike_s, stroke.end_s)
    times = [round(min(max(t - start, 0.0), duration), 4) for t in times]
    return Stroke(stroke.kind, stroke.hand, *times, side=stroke.side)


def _source(motion: RobotMotion) -> dict[str, Any]:
    keys = ("file", "content_sha256", "archive", "licence", "attribution", "scale", "mirrored")
    return {key: motion.provenance[key] for key in keys if key in motion.provenance}


def _rounded(value: Any) -> Any:
    return [round(v, 4) for v in value] if isinstance(value, tuple) else round(value, 4)


def strokes_of(
    folder: Path, records: Iterable[Mapping[str, Any]], archive: str, sources: Sources
) -> list[RobotMotion]:
    """The good strokes of all clips that rally-retarget wrote into a folder.

    Args:
        folder: with the motion files.
        records: entries of report.json. Failed clips and copies of others are left out.
        archive: put before the clips' names.
        sources: see `mocap.library.load_sources`.
    """
    strokes = []
    for record in sorted(records, key=lambda r: str(r["clip"])):
        if not record.get("ok") or record.get("duplicate_of"):
            continue
        motion = RobotMotion.load(folder / str(record["motion"]))
        motion.name = f"{archive}/{record['clip']}"
        motion.provenance |= source_of(motion.name, sources)
        strokes += cut_clip(motion, default_robot())
    return strokes


def build(archives: Path, output: Path, names: Sequence[str] = ARCHIVES, **options: Any) -> list[Path]:
    """Make the shipped libraries: unpack, retarget, cut, write `output/ARCHIVE/strokes.safetensors` and .csv.

    Args:
        archives: folder with ARCHIVE.tar.xz.
        output: folder of the libraries.
        names: which archives.
        options: of `mocap.config.AppConfig`, e.g. workers; the result does not depend on it.

    Returns:
        The libraries' paths.

    Raises:
        ClipError: an archive is missing, or a clip of it could not be retargeted.
    """
    from mocap.pipeline import run

    sources = load_sources("recordings")
    written = []
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            unpack(archives / f"{name}.tar.xz", Path(scratch) / "in")
            out = Path(scratch) / "out"
            config = AppConfig(input=str(Path(scratch) / "in" / name), output=str(out), **options)
            failed = [r for r in run(config, lambda line: None) if not r.ok]
            if failed:
                raise ClipError(f"{name}: {failed[0].clip} could not be retargeted: {failed[0].error}")
            records = json.loads((out / "report.json").read_text(encoding="utf-8"))
            strokes = strokes_of(out, records, name, sources)
        path = output / name / FILE
        MotionLibrary.write(path, strokes, storage="int16")
        write_manifest(MotionLibrary.open(path))
        written.append(path)
    return written


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive of clips.

    Raises:
        ClipError: missing or damaged.
    """
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ClipError(f"{archive}: cannot be unpacked ({error}); give the folder of the archives") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m mocap.stroke_library ARCHIVES OUTPUT`: make the shipped libraries again."""
    parser = argparse.ArgumentParser(prog="python -m mocap.stroke_library")
    parser.add_argument("archives", type=Path, help="folder with tennis_caldas.tar.xz and tennis_snu.tar.xz")
    parser.add_argument("output", type=Path, help="folder of the libraries, e.g. assets/motions")
    parser.add_argument("--only", choices=ARCHIVES, action="append", help="make only this one")
    parser.add_argument("--workers", type=int, help="processes; all cores when not given")
    options = parser.parse_args(arguments)
    try:
        names = options.only or ARCHIVES
        for path in build(options.archives, options.output, names, workers=options.workers):
            library = MotionLibrary.open(path)
            size = path.stat().st_size / 1e6
            print(f"{path}: {len(library)} strokes, {library.seconds:.0f} s, {size:.2f} MB")
    except ClipError as error:
        print(f"stroke_library: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
