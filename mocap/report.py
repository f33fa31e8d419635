"""`rally-retarget-report DIR`: the report page of a folder that rally-retarget wrote.

    rally-retarget-report OUT                       OUT/report.html: worst clips first, some at random
    rally-retarget-report OUT --worst 100 --random 0
    rally-retarget-report OUT --clip tennis_snu/tennis_KangTennisF15    also a page of this clip
    rally-retarget-report OUT --pages all           a page of every clip, in OUT/clips/

Pictures of the robot need OpenGL and OpenCV; without them it is drawn as a stick figure.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from humanoid.files import atomic_write
from humanoid.joints import VELOCITY_LIMIT
from humanoid.motion import MotionError, RobotMotion
from mocap.filters import velocity
from mocap.report_figures import Record, badness, empty_rows, graph, stick_strip, view_azimuth
from mocap.report_page import Card, clip_page, jpeg, page_name, set_page
from mocap.robot import RobotModel, default_robot
from mocap.robot_camera import NoPictures, RobotCamera
from mocap.rotations import matrix_from_quat
from mocap.strip import ENDING, Strip, choose_moments, robot_points

TILE = (144, 192)
"""Width and height of one figure [pixels]."""


class ReportError(ValueError):
    """No report can be made. The message names the file and what to do."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; exits with 0, or 2 when no report could be made."""
    sys.exit(execute(arguments))


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="rally-retarget-report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="the output folder of rally-retarget")
    parser.add_argument("--worst", type=int, default=40, help="how many of the worst clips have pictures")
    parser.add_argument("--random", type=int, default=16, help="how many clips at random")
    parser.add_argument("--seed", type=int, default=0, help="of the random ones")
    parser.add_argument("--clip", action="append", default=[], help="a clip that gets a page of its own")
    parser.add_argument(
        "--pages", choices=("none", "shown", "all"), default="none", help="clips with own pages"
    )
    parser.add_argument(
        "--sticks", action="store_true", help="draw the robot as a stick figure, which is quick"
    )
    options = parser.parse_args(arguments)
    try:
        path = write_report_page(
            options.folder,
            worst=options.worst,
            at_random=options.random,
            seed=options.seed,
            clips=options.clip,
            pages=options.pages,
            sticks=options.sticks,
        )
    except (ReportError, MotionError) as error:
        print(f"rally-retarget-report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"rally-retarget-report: {error.filename or options.folder}: {error.strerror}", file=sys.stderr)
        return 2
    print(path)
    return 0


def write_report_page(
    folder: Path,
    *,
    worst: int = 40,
    at_random: int = 16,
    seed: int = 0,
    clips: Sequence[str] = (),
    pages: str = "none",
    sticks: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Write `report.html` into a folder of retargeted clips.

    Args:
        folder: what rally-retarget wrote, with report.json.
        worst: clips with pictures from the bad end. at_random: from the others, drawn with `seed`.
        clips: names that get a page of their own, in the folder `clips`.
        pages: "shown" or "all": more clips that do.
        sticks: draw the robot as a stick figure even where it could be rendered.
        say: takes a line for people.

    Returns:
        The page's path.

    Raises:
        ReportError: no report.json, or an unknown clip.
        MotionError: a motion file is damaged.
    """
    records = read_records(folder / "report.json")
    good = {r["clip"]: r for r in records if r.get("ok")}
    unknown = [name for name in clips if name not in good]
    if unknown:
        raise ReportError(f"{folder}: no retargeted clip {unknown[0]!r} in report.json")
    ranked = sorted(good, key=lambda name: (-badness(good[name]), name))
    chosen = ranked[: max(worst, 0)]
    rest = sorted(ranked[len(chosen) :])
    drawn = random.Random(seed).sample(rest, min(max(at_random, 0), len(rest)))
    own = {"none": [], "shown": chosen + drawn, "all": ranked}[pages]
    own = list(dict.fromkeys([*clips, *own]))
    cards: dict[str, Card] = {}
    with _camera(sticks, say) as camera:
        for name in dict.fromkeys([*chosen, *drawn, *own]):
            card = make_card(folder, good[name], default_robot(), camera, name in own)
            if name in own:
                _write(folder / "clips" / page_name(name), clip_page(card))
            if name in chosen or name in drawn:
                cards[name] = card
    title = f"Retargeting of {len(records)} clips"
    page = set_page(records, [cards[n] for n in chosen], [cards[n] for n in drawn], set(own), title)
    path = folder / "report.html"
    _write(path, page)
    return path


def read_records(path: Path) -> list[Record]:
    """The entries of a report.json.

    Raises:
        ReportError: missing or not what rally-retarget writes.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReportError(f"{path}: no such file; give a folder that rally-retarget wrote") from None
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: not a readable report ({error}); run rally-retarget again") from None
    if not isinstance(records, list) or not all(isinstance(r, dict) and "clip" in r for r in records):
        raise ReportError(f"{path}: not a list of clips; run rally-retarget again")
    return records


def make_card(
    folder: Path, record: Record, robot: RobotModel, camera: RobotCamera | None, with_graphs: bool = False
) -> Card:
    """Pictures of one clip, and graphs over its time.

    Raises:
        MotionError: its motion file is missing or damaged.
    """
    motion = RobotMotion.load(folder / (record.get("motion") or f"{record['clip']}.npz"))
    strip = Strip.load(folder / f"{record['clip']}{ENDING}")
    if strip is None:
        times, labels = choose_moments(motion.duration, [(s.strike_s, s.kind) for s in motion.strokes])
    else:
        times, labels = strip.times, strip.labels
    rows = np.clip(np.rint(times * motion.fps).astype(int), 0, motion.num_frames - 1)
    q = np.concatenate([motion.root_pos, motion.root_quat, motion.joint_pos], axis=1)[rows]
    w, x, y, z = motion.root_quat[rows].T
    heading = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    azimuth = view_azimuth(heading)
    names, points = robot_points(robot, motion, rows)
    both = points if strip is None else np.concatenate([points, strip.points], axis=1)
    crop = empty_rows(both, TILE[1])
    human = ""
    if strip is not None and "pelvis" in strip.names:
        centre = strip.points[:, strip.names.index("pelvis"), :2]
        human = stick_strip(strip.names, strip.points, centre, azimuth, *TILE, crop)
    if camera is not None:
        drawn = jpeg(camera.strip(q, azimuth, crop), f"{record['clip']}, the robot")
    else:
        drawn = stick_strip(names, points, motion.root_pos[rows, :2], azimuth, *TILE, crop)
    captions = [f"{label + ', ' if label else ''}{t:.2f} s" for t, label in zip(times, labels, strict=True)]
    graphs = clip_graphs(robot, motion) if with_graphs else ()
    record = {**record, "moves": [asdict(move) for move in motion.moves]}
    return Card(record, human, drawn, captions, motion.provenance, graphs)


def clip_graphs(robot: RobotModel, motion: RobotMotion) -> list[tuple[str, str]]:
    """Heights of the soles, speed of the pelvis and use of the joints' speed limits over time: heading, SVG."""
    tree = robot.tree
    pos, rot = tree.forward(motion.root_pos, matrix_from_quat(motion.root_quat), motion.joint_pos)
    heights = [100.0 * tree.place(sole, pos, rot)[0][:, 2] for sole in robot.soles]
    root = np.linalg.norm(velocity(motion.root_pos, motion.fps), axis=1)
    racket = np.linalg.norm(velocity(tree.place(robot.racket, pos, rot)[0], motion.fps), axis=1)
    share = (np.abs(velocity(motion.joint_pos, motion.fps)) / VELOCITY_LIMIT).max(axis=1)
    standing = [np.where(motion.contacts[:, n], 0.0, np.nan_to_num(heights[n])) for n in range(2)]
    seconds = motion.duration
    return [
        (
            "Height of the soles, cm; 0 while a foot is held",
            graph([("left", standing[0], "#1971c2"), ("right", standing[1], "#e8590c")], seconds, "cm"),
        ),
        ("Speed of the pelvis, m/s", graph([("pelvis", root, "#495057")], seconds, "m/s")),
        ("Speed of the racket, m/s", graph([("racket", racket, "#9c36b5")], seconds, "m/s")),
        (
            "Fastest joint as a share of its speed limit",
            graph([("fastest joint", share, "#2b8a3e")], seconds, "of the limit", limit=1.0),
        ),
    ]


def _camera(sticks: bool, say: Callable[[str], None]) -> Any:
    if sticks:
        return nullcontext()
    try:
        return RobotCamera(*TILE)
    except NoPictures as error:
        say(f"stick figures instead of pictures: {error}")
        return nullcontext()


def _write(path: Path, text: str) -> None:
    with atomic_write(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
