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
from sim.sweep import turned

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


def strike(player: Player, terms: dict[str, Tensor], memory: Tensor) -> Tensor:
    """Scaled goals (N, GOAL_SIZE) that rackets meet at their strikes, less than a control period ahead: where the
    stroke leads, and as far off it as they are now.

    Args:
        terms: raw observation terms. memory: as `Player.advance` leaves it, of robots about to strike.
    """
    m = player.unpack(memory)
    left = m["time"]
    now = player.reference(m)
    later = {
        **m,
        "phase": m["phase"] + left * m["rate"],
        "since": m["since"] + left,
        "walked": m["walked"] + left,
    }
    then = player.reference(later)
    off, pace = player.deviation(player.state(terms, m), now)
    off = off + left * pace
    arm = player.arm
    end, move, _turn = player.racket.jacobian((then.joint_pos + off[:, 6:])[:, arm])
    speed = (then.joint_vel + pace[:, 6:])[:, arm].unsqueeze(-1)
    spin = then.root_ang_vel + pace[:, 3:6]
    # The pelvis: its axes in the stance frame.
    rot = then.root_rot @ turned(torch.eye(3).expand(len(off), 3, 3), off[:, None, 3:6]).transpose(1, 2)

    def seen(vector: Tensor) -> Tensor:
        return (rot @ vector.unsqueeze(-1))[..., 0]

    pos = then.root_pos + off[:, :3] + seen(end.pos)
    vel = then.root_lin_vel + pace[:, :3]
    vel = vel + seen(torch.linalg.cross(spin, end.pos, dim=1) + (move @ speed)[..., 0])
    stroke = m["stroke"][:, 0].round().to(torch.int64)
    normal = player.strokes.face[stroke][:, None] * seen(end.rot[..., 2])
    return player.strokes.scaled(stroke, pos, vel, normal)


@torch.no_grad()
def delivered(player: Player, pool: GoalPool, threads: int = 0) -> tuple[Tensor, Tensor]:
    """Strokes from the ready pose of a robot with a solid body, simulated as a player without network plays them.

    Args:
        player: the player. pool: goals. threads: of the physics, 0 for all cores.

    Returns:
        Scaled goals that the racket met at the strike, (G, GOAL_SIZE), and who fell within 0.6 s, (G,) bool.
    """
    n, dt = len(pool), player.dt
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
    for step in range(settle + math.ceil(float(pool.time.max()) / dt) + settle):
        terms = {**robot_terms(engine), **nothing}
        memory = player.plan(terms, memory, replan=False)
        if step == settle:
            m = {key: value.clone() for key, value in player.unpack(memory).items()}
            player.begin(m, everyone, pool)
            memory = player.pack(m)
        m = player.unpack(memory)
        left = m["time"][:, 0]
        now = (m["begun"][:, 0] > 0.5) & (left > 0) & (left <= dt) & met.isnan().any(dim=1)
        if step >= settle and bool(now.any()):
            met = torch.where(now[:, None], strike(player, terms, memory), met)
        targets, memory = player.act(terms, memory, torch.zeros(n, NUM_JOINTS))
        engine.ctrl.copy_(targets)
        engine.advance(substeps)
    return met, engine.qpos[:, 2] < 0.6


def medians(off: Tensor) -> dict[str, float]:
    """Medians of what strikes are off, (M, GOAL_SIZE) in m, m/s and rad: of place, velocity and face."""
    parts = {"miss_m": off[:, :3], "speed_error_m_s": off[:, 3:6], "face_error_rad": off[:, 6:]}
    sizes = {name: torch.linalg.vector_norm(part, dim=1) for name, part in parts.items()}
    return {name: round(float(size.median()), 4) for name, size in sizes.items()}


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
        figures.append({**medians(size), "falls": round(float(fallen.float().mean()), 4)})
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
