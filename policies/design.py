"""Designs the strokes a player chooses from: human strokes, adapted to the racket states that balls ask for.

For each goal (racket position, velocity and face normal at the strike) every human stroke of the right side is
planted, bent so that its racket meets the goal, balanced again (zero-moment point over the feet), and replayed in
simulation with feed-forward torques and the balance regulator. What the racket misses is added to the goal and the
stroke designed anew (iterative learning in task space), so that torque limits and servo lag are paid for in
advance. The human stroke that ends nearest to the goal without strain is kept.

    python -m policies.design        rebuilds assets/motions/strokes_planted
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
import pinocchio as pin
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from humanoid.balance import balance_gain, ready_height
from humanoid.dynamics import feedforward_torque, velocities
from humanoid.files import atomic_write
from humanoid.joints import EFFORT_LIMIT, KD, KP, LOWER, UPPER
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.model import build_model
from humanoid.motion import RobotMotion
from humanoid.racket import ARM_JOINTS
from mocap.plant import PlantConfig, balance, plant, ready_stance

EFFORT = np.array([0.5, 0.25, 0.25, 1.0, 1.0, 1.0, 1.0, 1.0, 0.05, 0.05])
"""How readily each joint of waist and right arm bends; the weak wrist motors hardly."""
WRIST = np.array([27, 28])
"""Wrist pitch and yaw: 5 N·m motors that a swing overpowers."""


@dataclass(frozen=True)
class RacketGoal:
    """Racket at the strike in the stance frame: position (3,), m, velocity (3,), m/s, hitting face's normal (3,)."""

    pos: np.ndarray
    vel: np.ndarray
    normal: np.ndarray


@dataclass(frozen=True)
class Replay:
    """What a replayed stroke did: racket at the strike, joint angles (T, 29), fallen, largest deviation of the
    pelvis, m, and mean one of the joints, rad, share of control steps with a motor at its limit."""

    racket: RacketGoal
    joint_pos: np.ndarray
    fallen: bool
    root_error: float
    joint_error: float
    saturated: float


def adapt(planted: RobotMotion, goal: RacketGoal, face: float, rounds: int = 3) -> RobotMotion:
    """Bend a planted stroke so that its racket meets a goal at the strike, and balance it again.

    Args:
        planted: from `mocap.plant.plant`.
        goal: wanted racket.
        face: +1 if the racket's +z face hits, -1 otherwise.
        rounds: how often arm and balance are solved in turn.
    """
    model = default_pinocchio()
    data = model.createData()
    frame = model.getFrameId("racket")
    fps = planted.fps
    strike = round(planted.strokes[0].strike_s * fps)
    base = planted.joint_pos
    tau = (np.arange(planted.num_frames) - strike) / fps
    bump, swing = _window(tau, 0.6), tau * _window(tau, 0.45)
    bend, whip = np.zeros(10), np.zeros(10)
    root_pos, joint_pos = planted.root_pos, base
    _, soles = ready_stance()
    lower, upper = LOWER[ARM_JOINTS] + 0.05, UPPER[ARM_JOINTS] - 0.05
    for _ in range(rounds):
        q = to_pinocchio(root_pos, planted.root_quat, joint_pos)[strike].copy()
        for _ in range(30):
            q[7 + ARM_JOINTS] = np.clip(base[strike, ARM_JOINTS] + bend, lower, upper)
            pin.computeJointJacobians(model, data, q)
            placement = pin.updateFramePlacement(model, data, frame)
            jacobian = pin.getFrameJacobian(model, data, frame, pin.LOCAL_WORLD_ALIGNED)[:, 6 + ARM_JOINTS]
            z = face * placement.rotation[:, 2]
            rows = np.vstack([jacobian[:3], 0.3 * (jacobian[3:] - np.outer(z, z @ jacobian[3:]))])
            error = np.concatenate([goal.pos - placement.translation, 0.3 * np.cross(z, goal.normal)])
            weighted = rows * EFFORT
            inverse = np.linalg.inv(weighted @ rows.T + 1e-3 * np.eye(6))
            pull = -0.1 * bend
            step = pull + EFFORT * (rows.T @ (inverse @ (error - rows @ pull)))
            bend = (
                np.clip(base[strike, ARM_JOINTS] + bend + np.clip(step, -0.2, 0.2), lower, upper)
                - base[strike, ARM_JOINTS]
            )
        bent = base.copy()
        bent[:, ARM_JOINTS] += bump[:, None] * bend
        v = velocities(root_pos, planted.root_quat, joint_pos, fps)[strike]
        rates = np.gradient(bent[:, ARM_JOINTS], 1 / fps, axis=0)[strike]
        v[6:][ARM_JOINTS] = rates
        full = pin.getFrameJacobian(model, data, frame, pin.LOCAL_WORLD_ALIGNED)
        missing = goal.vel - (full @ v)[:3]
        weighted = jacobian[:3] * EFFORT
        whip = EFFORT * (
            jacobian[:3].T @ np.linalg.solve(weighted @ jacobian[:3].T + 1e-3 * np.eye(3), missing)
        )
        bent[:, ARM_JOINTS] += swing[:, None] * np.clip(whip, -10, 10)
        bent[:, 12:] = np.clip(bent[:, 12:], LOWER[12:], UPPER[12:])
        root_pos, joint_pos = balance(planted.root_pos, planted.root_quat, bent, soles, fps, PlantConfig())
    return replace(planted, root_pos=root_pos, joint_pos=joint_pos)


class Simulator:
    """Replays strokes with feed-forward and balance feedback, as a player does without a network."""

    def __init__(self) -> None:
        self.model = build_model()
        self.height = ready_height(self.model)
        self.gain = balance_gain(0.02)

    def replay(self, motion: RobotMotion, face: float, hold: int = 40) -> Replay:
        """Replay a planted stroke from its first frame, then hold its last for `hold` control steps."""
        model, data = self.model, mujoco.MjData(self.model)
        torque, _ = feedforward_torque(
            motion.root_pos, motion.root_quat, motion.joint_pos, motion.contacts, motion.fps
        )
        v = velocities(motion.root_pos, motion.root_quat, motion.joint_pos, motion.fps)
        rotations = np.stack([pin.Quaternion(*row).toRotationMatrix() for row in motion.root_quat])
        v[:, :3] = np.einsum("tij,tj->ti", rotations, v[:, :3])
        qpos = np.concatenate([motion.root_pos, motion.root_quat, motion.joint_pos], axis=1)
        qpos[:, 2] += self.height - motion.root_pos[0, 2]
        data.qpos[:] = qpos[0]
        mujoco.mj_forward(model, data)
        strike = round(motion.strokes[0].strike_s * motion.fps)
        site = model.site("racket").id
        error = np.zeros(35)
        drive = motion.joint_pos + KD / KP * v[:, 6:] + torque / KP
        drive[-1] -= KD / KP * v[-1, 6:]
        root, joints, saturated, meeting = 0.0, [], 0, None
        path = np.tile(motion.joint_pos[-1], (motion.num_frames, 1))
        previous = data.site_xpos[site].copy()
        for t in range(motion.num_frames + hold):
            i = min(t, motion.num_frames - 1)
            if t == strike:
                mujoco.mj_kinematics(model, data)
                rot = data.site_xmat[site].reshape(3, 3)
                meeting = RacketGoal(
                    data.site_xpos[site].copy(),
                    (data.site_xpos[site] - previous) / model.opt.timestep,
                    face * rot[:, 2].copy(),
                )
            if t < motion.num_frames:
                path[t] = data.qpos[7:]
            mujoco.mj_differentiatePos(model, error, 1.0, qpos[i], data.qpos)
            rate = v[i] if t < motion.num_frames - 1 else np.zeros(35)
            correction = self.gain @ np.concatenate([error, data.qvel - rate])
            # The command is held for a control period: what it asks for belongs to the period's middle.
            j = min(i + 1, motion.num_frames - 1)
            data.ctrl[:] = 0.5 * (drive[i] + drive[j]) - np.clip(correction, -0.6, 0.6)
            for _ in range(4):
                mujoco.mj_kinematics(model, data)
                previous = data.site_xpos[site].copy()
                mujoco.mj_step(model, data)
            mujoco.mj_kinematics(model, data)
            root = max(root, float(np.linalg.norm(error[:3])))
            joints.append(np.abs(error[6:]).mean())
            saturated += bool((np.abs(data.actuator_force) > 0.999 * EFFORT_LIMIT).any())
            if data.qpos[2] < 0.5:
                break
        fallen = bool(data.qpos[2] < 0.5)
        racket = meeting or RacketGoal(np.full(3, np.inf), np.full(3, np.inf), np.array([0, 0, 1.0]))
        return Replay(racket, path, fallen, root, float(np.mean(joints)), saturated / motion.num_frames)


def miss(replay: Replay, goal: RacketGoal) -> tuple[float, float, float]:
    """Distance, m, angle of the face, rad, and velocity error, m/s, of a replay."""
    angle = np.arccos(np.clip(replay.racket.normal @ goal.normal, -1, 1))
    return (
        float(np.linalg.norm(replay.racket.pos - goal.pos)),
        float(angle),
        float(np.linalg.norm(replay.racket.vel - goal.vel)),
    )


def score(replay: Replay, goal: RacketGoal) -> float:
    """How far a replay is from what is wanted, the lower the better; 1 is a miss by 10 cm, 0.15 rad or 2 m/s."""
    off, angle, slow = miss(replay, goal)
    if replay.fallen or not np.isfinite(off):
        return 1e3
    return off / 0.1 + angle / 0.15 + slow / 2.0 + 3.0 * replay.root_error / 0.1


def design(
    planted: RobotMotion, goal: RacketGoal, face: float, simulator: Simulator, rounds: int = 6
) -> tuple[RobotMotion, Replay, float]:
    """Adapt a stroke to a goal and correct it by replays; the best of all rounds with its replay and score.

    In the first rounds the wrist's path is replaced by the one it took in the replay, so that the reference asks no
    more of its motors than they have; the other joints then make up for it.
    """
    asked = goal
    best: tuple[RobotMotion, Replay, float] | None = None
    for number in range(rounds):
        motion = adapt(planted, asked, face)
        replay = simulator.replay(motion, face)
        value = score(replay, goal)
        if best is None or value < best[2]:
            best = (motion, replay, value)
        if value < 0.6 or (value >= 1e3 and best[2] >= 1e3):
            break
        if number < 4 and value < 1e3:
            joint_pos = planted.joint_pos.copy()
            joint_pos[:, WRIST] += 0.7 * (replay.joint_pos[:, WRIST] - motion.joint_pos[:, WRIST])
            joint_pos[:, WRIST] = gaussian_filter1d(joint_pos[:, WRIST], 1.5, axis=0, mode="nearest")
            planted = replace(planted, joint_pos=np.clip(joint_pos, LOWER, UPPER))
            continue
        got = replay.racket
        normal = asked.normal + 0.5 * (goal.normal - got.normal)
        asked = RacketGoal(
            asked.pos + np.clip(0.6 * (goal.pos - got.pos), -0.1, 0.1),
            asked.vel + np.clip(0.5 * (goal.vel - got.vel), -2, 2),
            normal / np.linalg.norm(normal),
        )
    assert best is not None
    return best


def _window(tau: np.ndarray, half: float) -> np.ndarray:
    x = np.clip(tau / half, -1, 1)
    return (1 - x * x) ** 3


def write(
    folder: Path, name: str, motion: RobotMotion, replay: Replay, goal: RacketGoal, value: float
) -> None:
    """Write a designed stroke with the racket it was measured to deliver."""
    achieved = {
        "pos_m": replay.racket.pos.round(5).tolist(),
        "vel_m_s": replay.racket.vel.round(4).tolist(),
        "normal": replay.racket.normal.round(5).tolist(),
    }
    off, angle, slow = miss(replay, goal)
    provenance = {
        **motion.provenance,
        "designed_from": motion.name,
        "delivers": achieved,
        "design": {
            "goal_pos_m": goal.pos.round(4).tolist(),
            "goal_vel_m_s": goal.vel.round(3).tolist(),
            "goal_normal": goal.normal.round(4).tolist(),
            "miss_m": round(off, 4),
            "face_error_rad": round(angle, 4),
            "speed_error_m_s": round(slow, 3),
            "root_error_m": round(replay.root_error, 4),
            "joint_error_rad": round(replay.joint_error, 4),
            "saturated_fraction": round(replay.saturated, 3),
            "score": round(value, 2),
        },
    }
    replace(motion, name=name, provenance=provenance).save(folder / f"{name}.npz")


def clear(folder: Path) -> None:
    """Remove an earlier set, keeping its licence."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.npz"):
        file.unlink()


def manifest(folder: Path) -> None:
    """Write manifest.json: each stroke's source, what it delivers and how well."""
    rows = []
    for file in sorted(folder.glob("*.npz")):
        motion = RobotMotion.load(file)
        rows.append(
            {
                "name": motion.name,
                "kind": motion.strokes[0].kind,
                "strike_s": motion.strokes[0].strike_s,
                "source": motion.provenance.get("designed_from"),
                "delivers": motion.provenance["delivers"],
                "design": motion.provenance["design"],
            }
        )
    with atomic_write(folder / "manifest.json", "w") as out:
        json.dump({"licence": "CC BY-SA 3.0, see LICENSE", "strokes": rows}, out, indent=1)


def design_set(
    goals: dict[str, list[RacketGoal]],
    source: Path,
    folder: Path,
    worst: float = 1.5,
    processes: int = 2,
) -> None:
    """Design a stroke for every goal and write those that score better than `worst`.

    Args:
        goals: by kind, "forehand" and "backhand".
        source: folder of human strokes. folder: where the set goes; an earlier one is replaced.
        worst: see `score`.
        processes: at work at once.
    """
    tasks = [
        (kind, number, goal, plant_all(source, kind))
        for kind, chosen in goals.items()
        for number, goal in enumerate(chosen)
    ]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        results = list(tqdm(pool.imap(_design_task, tasks), total=len(tasks), desc="strokes", disable=None))
    clear(folder)
    copy_licence(source, folder)
    counts: dict[str, int] = {}
    for (kind, _, goal, _), (motion, replay, value) in zip(tasks, results, strict=True):
        if value < worst:
            counts[kind] = counts.get(kind, 0) + 1
            write(folder, f"{kind}_{counts[kind]:02d}", motion, replay, goal, value)
    manifest(folder)


def _design_task(task: tuple) -> tuple[RobotMotion, Replay, float]:
    kind, _, goal, candidates = task
    face = 1.0 if kind == "forehand" else -1.0
    simulator = Simulator()
    # The strokes that come nearest at the first try are worth more work.
    first = []
    for planted in candidates:
        motion = adapt(planted, goal, face)
        first.append(score(simulator.replay(motion, face), goal))
    order = np.argsort(first)[:2]
    best = min((design(candidates[i], goal, face, simulator, 11) for i in order), key=lambda item: item[2])
    return best


def plant_all(folder: Path, kind: str) -> list[RobotMotion]:
    """Plant every stroke of one kind in a folder of motions."""
    out = []
    for file in sorted(folder.glob("*.npz")):
        motion = RobotMotion.load(file)
        for stroke in motion.strokes:
            if stroke.kind == kind:
                out.append(plant(motion, stroke))
    return out


def copy_licence(source: Path, folder: Path) -> None:
    """The designed strokes keep their source's licence."""
    shutil.copy(source / "LICENSE", folder / "LICENSE")


def cluster(pool, face: float, strokes, count: int, seed: int = 0) -> list[RacketGoal]:
    """Typical goals of one side: k-means over position, velocity and face of a `policies.goals.GoalPool`."""
    from scipy.cluster.vq import kmeans2

    rows = strokes.face[pool.stroke] == face
    scale = np.array([0.08] * 3 + [1.2] * 3 + [0.10] * 3)
    data = np.concatenate([pool.pos[rows].numpy(), pool.vel[rows].numpy(), pool.normal[rows].numpy()], axis=1)
    _, label = kmeans2(data / scale, count, seed=seed, minit="++")  # pyright: ignore[reportCallIssue]
    out = []
    for k in range(count):
        if (label == k).sum() < 3:
            continue
        middle = data[label == k].mean(axis=0)
        out.append(RacketGoal(middle[:3], middle[3:6], middle[6:] / np.linalg.norm(middle[6:])))
    return out


def main(count: int = 40, balls: int = 4000) -> None:
    """Rebuild the shipped set: two strokes first, then a few, then one for each typical goal of feed balls."""
    import torch

    from policies.goals import draw_goals
    from policies.planner import PlannerConfig
    from policies.player import Player, PlayerConfig
    from policies.strokes import STROKE_FOLDER, load_strokes

    source = STROKE_FOLDER.parent / "strokes_caldas"
    goals = {
        "forehand": [
            RacketGoal(np.array([0.1, -0.85, 0.85]), np.array([8.3, 0.3, 2.8]), np.array([0.8, 0.04, 0.6]))
        ],
        "backhand": [
            RacketGoal(np.array([0.15, 0.72, 0.85]), np.array([8.3, -0.3, 2.8]), np.array([0.8, -0.04, 0.6]))
        ],
    }
    design_set(goals, source, STROKE_FOLDER)
    for number in (14, count):
        strokes = load_strokes()
        player = Player(strokes, PlayerConfig(planner=PlannerConfig(limit=4.0)))
        pool = draw_goals(player, "feed", balls, torch.Generator().manual_seed(11))
        goals = {
            kind: cluster(pool, face, strokes, number)
            for kind, face in (("forehand", 1.0), ("backhand", -1.0))
        }
        design_set(goals, source, STROKE_FOLDER)


if __name__ == "__main__":
    main()
