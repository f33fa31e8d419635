"""Cut single strokes out of retargeted clips, judge which a robot can best learn, and write them as a set.

A stroke in the set is turned so that balls are hit toward +x, starts with its root above the origin, and
stands on the ground at z = 0. It starts and ends in one common ready pose facing +x; a step of each foot
leads into the human's motion and out of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from humanoid.files import atomic_write
from humanoid.joints import JOINT_NAMES
from humanoid.motion import RobotMotion, Stroke
from mocap.balance import rebalance, support_error
from mocap.config import CutConfig
from mocap.filters import runs, velocity
from mocap.quality import assess
from mocap.racket import face_normal
from mocap.ready import pose_at, ready_pose, step_between
from mocap.retarget import Retargeted
from mocap.robot import RobotModel
from mocap.rotations import Array, axis_angle_from_matrix, axis_matrix, continuous, quat_from_matrix
from mocap.skeleton import SIDES
from mocap.strokes import HumanStroke, shot_direction


@dataclass(eq=False)
class Cut:
    """One stroke as arrays at the motion's rate, with the figures by which it is chosen.

    Attributes:
        name, kind, hand: which stroke.
        fps, root_pos, root_rot, q, contact: the motion, shooting toward +x.
        start_s, strike_s, end_s: times in the motion.
        strike: figures at the strike, in the motion's frame: racket_pos, racket_vel, face_normal …
        figures: quality of the motion (`score` is the lower the better).
        source: clip name and times in it.
    """

    name: str
    kind: str
    hand: str
    fps: float
    root_pos: Array
    root_rot: Array
    q: Array
    contact: np.ndarray
    start_s: float
    strike_s: float
    end_s: float
    strike: dict[str, Any]
    figures: dict[str, float]
    source: dict[str, Any] = field(default_factory=dict)


def cut_strokes(
    motion: Retargeted, robot: RobotModel, config: CutConfig, clip: str, spoiled: np.ndarray | None = None
) -> list[Cut]:
    """All right-handed groundstrokes of a clip that fit whole into it, judged.

    Args:
        motion: a retargeted clip.
        robot: the robot.
        config: lengths and thresholds.
        clip: the clip's name.
        spoiled: (T,) bool, frames that were repaired; strokes that contain one are left out.
    """
    way = shot_direction(motion.strokes)
    cuts = []
    for s in motion.strokes:
        if s.kind not in ("forehand", "backhand") or s.hand != "right":
            continue
        span = _span(motion, s, config)
        if span is None or (spoiled is not None and spoiled[span[0] : span[1]].any()):
            continue
        cuts.append(_cut(motion, robot, config, s, span, way if way is not None else s.direction, clip))
    return cuts


def _span(motion: Retargeted, stroke: HumanStroke, config: CutConfig) -> tuple[int, int] | None:
    """Where to cut [a, b): the calmest moments with both feet standing in the allowed ranges; None if there
    are none.
    """
    fps = motion.fps
    both = motion.contact.all(axis=1)
    # Both feet must have stood for two frames, so that the step in ends at rest.
    both = both & np.roll(both, 1) & np.roll(both, -1)
    unrest = np.linalg.norm(velocity(motion.root_pos, fps), axis=1) + 0.05 * np.linalg.norm(
        velocity(motion.q, fps), axis=1
    )
    ends = []
    for sign, (near, far) in ((-1, config.before_s), (1, config.after_s)):
        frames = stroke.strike + sign * np.arange(round(near * fps), round(far * fps) + 1)
        frames = frames[(frames >= 1) & (frames < len(both) - 1)]
        frames = frames[both[frames]]
        if not len(frames):
            return None
        # Later starts and earlier ends are worth a little unrest: a short stroke is a quick one.
        cost = unrest[frames] + 0.6 * np.abs(frames - stroke.strike) / fps
        ends.append(int(frames[np.argmin(cost)]))
    return ends[0], ends[1] + 1


def _cut(
    motion: Retargeted,
    robot: RobotModel,
    config: CutConfig,
    stroke: HumanStroke,
    span: tuple[int, int],
    way: Array,
    clip: str,
) -> Cut:
    tree, fps = robot.tree, motion.fps
    a, b = span
    turn = axis_matrix("Z", np.array(-np.arctan2(way[1], way[0])))
    root_pos, root_rot = motion.root_pos[a:b] @ turn.T, turn @ motion.root_rot[a:b]
    q, contact = motion.q[a:b].copy(), motion.contact[a:b].copy()
    body = replace(motion.body, points=motion.body.points[a:b])
    human = Retargeted(
        fps,
        root_pos,
        root_rot,
        q,
        contact,
        *tree.forward(root_pos, root_rot, q),
        [],
        replace(body, points=body.points @ turn.T),
        motion.clipped[a:b],
        motion.scale,
    )
    direction_error = assess(human, robot).direction_error_deg
    root_pos, root_rot, q, contact, before = with_ready_pose(
        robot, root_pos, root_rot, q, contact, fps, config
    )
    root_pos, q = rebalance(robot, root_pos, root_rot, q, contact, fps)
    root_pos = root_pos - root_pos[0] * [1.0, 1.0, 0.0]
    pos, rot = tree.forward(root_pos, root_rot, q)
    k = before + stroke.strike - a
    centre, attitude = tree.place(robot.racket, pos, rot)
    v = velocity(centre, fps)
    normal, sign = face_normal(attitude, v, k)
    points = np.repeat(body.points[:1], len(q), axis=0)
    piece = Retargeted(
        fps,
        root_pos,
        root_rot,
        q,
        contact,
        pos,
        rot,
        [],
        replace(body, points=points),
        np.zeros(len(q)),
        motion.scale,
    )
    quality = assess(piece, robot)
    speed = float(np.linalg.norm(v[k]))
    aim = float(np.degrees(np.arctan2(v[k, 1], v[k, 0])))
    offset = np.linalg.norm(support_error(robot, pos, rot, contact, fps, 0.0), axis=1)
    figures = {
        "direction_error_deg": direction_error,
        "slide_m_s": quality.slide_kept_m_s,
        "penetration_fraction": quality.penetration_fraction,
        "limit_violations": float(quality.limit_violations),
        "velocity_violations_fraction": quality.velocity_violations_fraction,
        "stance_fraction": quality.stance_fraction,
        "flight_fraction": float((~contact.any(axis=1)).mean()),
        "both_fraction": float(contact.all(axis=1).mean()),
        "travel_m": float(np.ptp(root_pos[:, :2], axis=0).max()),
        "steps": float(sum(len(runs(~contact[:, n])) for n in range(2))),
        "imbalance_m": float(offset.mean()),
        "imbalance_max_m": float(np.percentile(offset, 95)),
        "joint_speed_max_rad_s": float(np.abs(velocity(q, fps)).max()),
        "joint_acceleration_rad_s2": float(np.sqrt((velocity(velocity(q, fps), fps) ** 2).mean())),
        "root_height_min_m": float(root_pos[:, 2].min()),
        "racket_clearance_m": float(_clearance(robot, centre, attitude, pos, rot)),
        "duration_s": float((len(q) - 1) / fps),
    }
    strike = {
        "racket_pos_m": [round(float(x), 4) for x in centre[k]],
        "racket_vel_m_s": [round(float(x), 3) for x in v[k]],
        "face_normal": [round(float(x), 4) for x in normal],
        "face_sign": int(sign),
        "speed_m_s": round(speed, 3),
        "aim_deg": round(aim, 1),
        "square_deg": round(
            float(np.degrees(np.arccos(np.clip(normal @ v[k] / max(speed, 1e-9), -1, 1)))), 1
        ),
        "root_pos_m": [round(float(x), 4) for x in root_pos[k]],
        "lateral_reach_m": round(float(centre[k, 1] - root_pos[k, 1]), 4),
    }
    figures["score"] = _score(figures, strike)
    return Cut(
        name="",
        kind=stroke.kind,
        hand=stroke.hand,
        fps=fps,
        root_pos=root_pos,
        root_rot=root_rot,
        q=q,
        contact=contact,
        start_s=0.0,
        strike_s=k / fps,
        end_s=(len(q) - 1) / fps,
        strike=strike,
        figures=figures,
        source={
            "clip": clip,
            "start_s": round(a / fps, 3),
            "strike_s": round(stroke.strike / fps, 3),
            "end_s": round((b - 1) / fps, 3),
        },
    )


def with_ready_pose(
    robot: RobotModel,
    root_pos: Array,
    root_rot: Array,
    q: Array,
    contact: np.ndarray,
    fps: float,
    config: CutConfig,
) -> tuple[Array, Array, Array, np.ndarray, int]:
    """Put a step out of the ready pose before a motion, and a step back into it after.

    The ready poses face +x, each with its feet about the middle of the motion's first (last) stance.

    Returns:
        root_pos, root_rot, q, contact of the whole, and the number of frames put before.
    """
    steps, rest = round(config.step_s * fps), round(config.rest_s * fps)
    parts = []
    for end in (0, -1):
        there = pose_at(robot, root_pos, root_rot, q, end)
        ready = ready_pose(robot, there.soles[:, :2].mean(axis=0))
        k = 0 if end == 0 else len(q) - 1
        i, j = (0, 1) if end == 0 else (k - 1, k)
        w = axis_angle_from_matrix(root_rot[i].T @ root_rot[j]) * fps
        sign = 1.0 if end == 0 else -1.0
        speeds = (sign * (root_pos[j] - root_pos[i]) * fps, sign * w, sign * (q[j] - q[i]) * fps)
        p, r, joints, c = step_between(
            robot, ready, there, steps, fps, velocity_b=speeds, clearance_m=config.step_height_m
        )
        still = [np.repeat(x[:1], rest, axis=0) for x in (p, r, joints, c)]
        part = [np.concatenate([s, x]) for s, x in zip(still, (p, r, joints, c), strict=True)]
        parts.append(part if end == 0 else [x[::-1] for x in part])
    joined = [
        np.concatenate([first, middle, last])
        for first, middle, last in zip(parts[0], (root_pos, root_rot, q, contact), parts[1], strict=True)
    ]
    return joined[0], joined[1], joined[2], joined[3], steps + rest


def _clearance(robot: RobotModel, centre: Array, attitude: Array, pos: Array, rot: Array) -> float:
    """Least distance of the racket (points on its axis, handle to tip) to legs, trunk and head, less their
    thickness [m].
    """
    points = centre[:, None] + attitude[:, None, :, 0] * np.linspace(-0.35, 0.165, 6)[None, :, None]
    tree = robot.tree
    segments = []
    for side in SIDES:
        for a, b in (("hip_roll", "knee"), ("knee", "ankle_pitch")):
            start = pos[:, tree.index(f"{side}_{a}_joint")]
            segments.append((start, pos[:, tree.index(f"{side}_{b}_joint")] - start, 0.06))
    torso = robot.waist[2] + 1
    # Trunk and head as in humanoid.bodies.BODY_CAPSULES.
    for low, high, radius in ((0.06, 0.22, 0.09), (0.41, 0.45, 0.06)):
        start = pos[:, torso] + rot[:, torso] @ np.array([0.01, 0.0, low])
        segments.append((start, rot[:, torso] @ np.array([0.0, 0.0, high - low]), radius))
    least = np.inf
    for start, along, radius in segments:
        from_start = points - start[:, None]
        s = np.sum(from_start * along[:, None], axis=2) / np.sum(along * along, axis=1)[:, None]
        gap = np.linalg.norm(from_start - np.clip(s, 0.0, 1.0)[..., None] * along[:, None], axis=2) - radius
        least = min(least, float(gap.min()))
    return least


def _score(f: dict[str, float], strike: dict[str, Any]) -> float:
    """How hard the stroke will be for the robot: a weighted sum, the lower the better. The weights are
    judgement.
    """
    return (
        10.0 * f["imbalance_m"]
        + 3.0 * f["imbalance_max_m"]
        + 2.0 * f["flight_fraction"]
        + 1.0 * (1.0 - f["both_fraction"])
        + 1.0 * f["travel_m"]
        + 0.05 * f["steps"]
        + 0.1 * f["direction_error_deg"]
        + 20.0 * f["penetration_fraction"]
        + 0.02 * abs(float(strike["aim_deg"]))
        + 0.02 * float(strike["square_deg"])
        + 0.5 * f["duration_s"]
        + 0.004 * f["joint_acceleration_rad_s2"]
        + 0.5 * abs(float(strike["racket_vel_m_s"][2])) / max(float(strike["speed_m_s"]), 1e-6)
        + 0.25 * abs(float(strike["speed_m_s"]) - 9.5)
        + 5.0 * max(0.0, 0.05 - f["racket_clearance_m"])
    )


def fits(cut: Cut, config: CutConfig) -> bool:
    """Whether a stroke meets the thresholds: speed, height, aim, no racket in the legs, no velocity
    violations.
    """
    s = cut.strike
    return (
        config.speed_m_s[0] <= s["speed_m_s"] <= config.speed_m_s[1]
        and config.height_m[0] <= s["racket_pos_m"][2] <= config.height_m[1]
        and abs(s["aim_deg"]) <= config.aim_deg
        and s["square_deg"] <= 25.0
        and s["racket_vel_m_s"][0] >= 0.8 * s["speed_m_s"]
        and cut.figures["velocity_violations_fraction"] == 0.0
        and cut.figures["penetration_fraction"] == 0.0
        and cut.figures["slide_m_s"] < 0.005
        and cut.figures["imbalance_max_m"] < 0.15
        and cut.figures["racket_clearance_m"] > 0.0
    )


def choose(cuts: Iterable[Cut], config: CutConfig) -> list[Cut]:
    """The best strokes of each kind, spread over contact height, lateral reach and clips; named, in name
    order.
    """
    chosen: list[Cut] = []
    for kind, count in (("forehand", config.forehands), ("backhand", config.backhands)):
        pool = sorted(
            (c for c in cuts if c.kind == kind and fits(c, config)),
            key=lambda c: (c.figures["score"], c.source["clip"], c.source["strike_s"]),
        )
        # Only the better half is looked at for variety.
        pool = pool[: max(3 * count, len(pool) // 2)]
        picked: list[Cut] = []
        while pool and len(picked) < count:
            best = min(pool, key=lambda c: c.figures["score"] - _novelty(c, picked))
            pool.remove(best)
            if sum(c.source["clip"] == best.source["clip"] for c in picked) < config.per_clip:
                picked.append(best)
        for n, c in enumerate(sorted(picked, key=lambda c: c.figures["score"]), start=1):
            chosen.append(replace(c, name=f"{kind}_{n:02d}"))
    return chosen


def _novelty(cut: Cut, picked: list[Cut]) -> float:
    """How different a strike is from those already picked, in the unit of the score."""
    if not picked:
        return 0.0

    def place(c: Cut) -> Array:
        p = c.strike
        return np.array([p["racket_pos_m"][2] / 0.1, p["lateral_reach_m"] / 0.15, p["speed_m_s"] / 2.0])

    return 0.3 * min(float(np.linalg.norm(place(cut) - place(c))) for c in picked)


def to_motion(cut: Cut, provenance: dict[str, Any]) -> RobotMotion:
    """A stroke as the motion file holds it; its strike's figures stand in the provenance."""
    return RobotMotion(
        cut.name,
        cut.fps,
        JOINT_NAMES,
        cut.root_pos,
        continuous(quat_from_matrix(cut.root_rot)),
        cut.q,
        cut.contact,
        (Stroke(cut.kind, cut.hand, cut.start_s, cut.strike_s, cut.end_s),),
        {**provenance, "source": cut.source, "strike": cut.strike},
    )


def write_set(folder: Path, cuts: list[Cut], about: dict[str, Any]) -> Path:
    """Write one motion file a stroke and `manifest.json`; returns the manifest's path.

    Args:
        folder: made when missing; files of strokes that are not in the set any more are removed.
        cuts: the chosen strokes.
        about: licence, attribution and how the set was made; stands in the manifest and in every motion.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for cut in cuts:
        to_motion(cut, about).save(folder / f"{cut.name}.npz")
    keep = {f"{c.name}.npz" for c in cuts}
    for path in folder.glob("*.npz"):
        if path.name not in keep:
            path.unlink()
    manifest = {
        **about,
        "frame": "x toward the opponent, y left, z up; origin on the ground under the root's start; m, s",
        "strokes": [
            {
                "name": c.name,
                "file": f"{c.name}.npz",
                "kind": c.kind,
                "hand": c.hand,
                "fps": c.fps,
                "frames": len(c.q),
                "start_s": round(c.start_s, 4),
                "strike_s": round(c.strike_s, 4),
                "end_s": round(c.end_s, 4),
                "strike": c.strike,
                "quality": {k: round(v, 4) for k, v in c.figures.items()},
                "source": c.source,
            }
            for c in cuts
        ],
    }
    path = folder / "manifest.json"
    with atomic_write(path, "w") as file:
        json.dump(manifest, file, indent=1, ensure_ascii=False)
        file.write("\n")
    return path
