"""From optimised strokes to a family that a robot delivers: polynomials, torques that belong to them, and the lead.

weights    a ridge fit of pelvis and joints over the goal
torque     inverse dynamics of what the polynomials say, for goals all over the range, fitted again: so that the
           feed-forward belongs to the motion that is really asked for
lead       what the racket misses of its goal when a simulated robot plays the strokes, fitted over the goal
"""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor

from humanoid.dynamics import feedforward_torque
from humanoid.joints import NUM_JOINTS
from humanoid.model import build_model
from policies.goal_pool import GoalPool
from policies.player import MEMORY_SIZE, Player, PlayerConfig
from policies.strokes import COLUMNS, FEATURES, GOAL_SIZE, NUM_COLUMNS, StrokeSet, features
from sim.engine import CpuEngine
from sim.return_task import ready_state, robot_terms
from sim.sweep import pose_at, rotation_vector

TORQUE = slice(NUM_COLUMNS - COLUMNS["torque"], NUM_COLUMNS)
"""Where in a family's columns the torques are."""
JOINT_POS = slice(8, 8 + NUM_JOINTS)
SETTLE_S = 0.6
"""A simulated robot stands so long before its stroke, s."""


def ridge(
    known: np.ndarray, wanted: np.ndarray, strength: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """Ridge regression (F, M) of wanted (N, M) on features (N, F), the first of which is one; those of higher degree
    are held four times as much. `weights` (N,) of the rows: default all one."""
    weights = np.ones(len(known)) if weights is None else weights
    mean = np.average(wanted, axis=0, weights=weights)
    hold = np.full(known.shape[1], strength)
    hold[0] = 1e-6
    hold[1 + GOAL_SIZE :] *= 4.0
    weighed = known * weights[:, None]
    fit = np.linalg.solve(weighed.T @ known + weights.sum() * np.diag(hold), weighed.T @ (wanted - mean))
    fit[0] += mean
    return fit


def polynomial(scaled: np.ndarray) -> np.ndarray:
    """`policies.strokes.features` of numpy goals (N, GOAL_SIZE)."""
    return features(torch.as_tensor(scaled)).numpy()


def with_torque(weights: np.ndarray, asked: np.ndarray, fps: float, strength: float = 3e-4) -> np.ndarray:
    """Weights (T, FEATURES, NUM_COLUMNS) of a family with the torques that its motions need.

    Args:
        weights: of the family. asked: scaled goals that it is asked for, (N, GOAL_SIZE), all over its range.
        fps: frames a second. strength: of the fit's ridge.
    """
    known = polynomial(asked)
    parts = np.array_split(known, max(1, len(known) // 40))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_torques, [weights] * len(parts), parts, [fps] * len(parts)))
    torque = np.concatenate(found)
    fitted = ridge(known, torque.reshape(len(known), -1), strength)
    fitted = fitted.reshape(FEATURES, *torque.shape[1:]).transpose(1, 0, 2)
    out = weights.copy()
    out[1:-1, :, TORQUE] = fitted[1:-1]
    return out


def _torques(weights: np.ndarray, known: np.ndarray, fps: float) -> np.ndarray:
    """Feed-forward torques (N, T, 29) of the motions with features (N, FEATURES)."""
    out = []
    for row in np.einsum("nf,tfc->ntc", known, weights):
        half = 0.5 * row[:, 3]
        quat = np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=1)
        contacts = np.ones((len(row), 2), dtype=bool)
        out.append(feedforward_torque(row[:, :3], quat, row[:, JOINT_POS], contacts, fps)[0])
    return np.stack(out)


@torch.no_grad()
def delivered(player: Player, pool: GoalPool, threads: int = 0) -> tuple[Tensor, Tensor]:
    """Strokes from the ready pose of a robot with a solid body, simulated as a player without network plays them.

    Args:
        player: the player. pool: goals. threads: of the physics, 0 for all cores.

    Returns:
        Scaled goals that the racket met at the strike, (G, GOAL_SIZE), and who fell within 0.6 s, (G,) bool.
    """
    n, dt, strokes = len(pool), player.dt, player.strokes
    engine = CpuEngine(n, build_model(self_collision=True), threads)
    substeps = round(dt / engine.timestep)
    everyone = torch.arange(n)
    engine.reset(everyone, ready_state((0.0, 0.0))[0].repeat(n, 1), torch.zeros(n, 35, dtype=torch.float64))
    memory = torch.zeros(n, MEMORY_SIZE)
    nothing = {
        "ball_pos": torch.zeros(n, 3), "ball_vel": torch.zeros(n, 3), "ball_valid": torch.zeros(n, 1),
        "target": torch.zeros(n, 2),
    }  # fmt: skip
    settle = round(SETTLE_S / dt)
    met = torch.full((n, GOAL_SIZE), math.nan)
    racket_vel, racket_ang = torch.zeros(n, 3), torch.zeros(n, 3)
    for step in range(settle + math.ceil(float(pool.time.max()) / dt) + settle):
        terms = {**robot_terms(engine), **nothing}
        memory = player.plan(terms, memory, replan=False)
        if step == settle:
            m = {key: value.clone() for key, value in player.unpack(memory).items()}
            player.begin(m, everyone, pool)
            memory = player.pack(m)
        m = player.unpack(memory)
        left = m["time"][:, 0]
        now = (m["begun"][:, 0] > 0.5) & (left.abs() <= 0.5 * dt + 1e-6) & met.isnan().any(dim=1)
        if step >= settle and bool(now.any()):
            racket = (engine.racket_pos.float(), engine.racket_rot.float(), racket_vel, racket_ang)
            pos, rot = pose_at(racket, left)
            normal = strokes.face[pool.stroke][:, None] * rot[..., 2]
            place = {**m, "goal_pos": pos, "goal_vel": racket_vel, "goal_normal": normal}
            local = [player.to_stance(place, name) for name in ("pos", "vel", "normal")]
            met = torch.where(now[:, None], strokes.scaled(pool.stroke, *local), met)
        targets, memory = player.act(terms, memory, torch.zeros(n, NUM_JOINTS))
        engine.ctrl.copy_(targets)
        engine.advance(substeps - 1)
        before, rot = engine.racket_pos.clone(), engine.racket_rot.clone()
        engine.step()
        racket_vel = ((engine.racket_pos - before) / engine.timestep).float()
        racket_ang = (rotation_vector(rot, engine.racket_rot) / engine.timestep).float()
    return met, engine.qpos[:, 2] < 0.6


def teach_lead(
    strokes: StrokeSet, pools: list[GoalPool], threads: int = 0, share: float = 0.9
) -> tuple[StrokeSet, list[dict[str, float]]]:
    """Families whose lead makes up for what simulated strokes missed, one round for each pool of goals.

    Returns:
        The families, and for each round medians of what was missed before it: m, m/s, rad.
    """
    figures = []
    for pool in pools:
        player = Player(strokes, PlayerConfig(steps=False))
        met, fallen = delivered(player, pool, threads)
        scaled = strokes.scaled(pool.stroke, pool.pos, pool.vel, pool.normal)
        off = met - scaled
        sound = ~fallen & torch.isfinite(off).all(dim=1)
        size = (off * strokes.scale[pool.stroke])[sound]
        figures.append(
            {
                "miss_m": round(float(size[:, :3].norm(dim=1).median()), 4),
                "speed_error_m_s": round(float(size[:, 3:6].norm(dim=1).median()), 3),
                "face_error_rad": round(float(size[:, 6:].norm(dim=1).median()), 4),
                "falls": round(float(fallen.float().mean()), 4),
            }
        )
        lead = strokes.lead.clone()
        for kind in range(strokes.num_strokes):
            own = sound & (pool.stroke == kind)
            known, wanted = features(scaled[own]).double().numpy(), off[own].double().numpy()
            weights = np.ones(len(known))
            # Few strokes go far astray, and those shall not bend the others.
            for _ in range(4):
                fit = ridge(known, wanted, 0.003, weights)
                weights = 1 / (1 + (np.linalg.norm(wanted - known @ fit, axis=1) / 0.4) ** 2)
            lead[kind] += share * torch.as_tensor(fit, dtype=torch.float32)
        strokes = replace(strokes, lead=lead)
    return strokes, figures
