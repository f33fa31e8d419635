"""Teaches the families what a robot's racket adds to a stroke in the middle of a game.

A stroke in a game begins where the last one or a step has left the robot, with the network's say in it. What the
racket then misses of its goal is mostly a matter of the goal, but no polynomial of it. So games are played, every
strike's miss is noted, and a ridge regression on bells around some of the goals (`policies.strokes`) joins the lead.

    python -m policies.train_lead --checkpoint FILE        teaches assets/motions/stroke_family (half an hour, one core)
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from humanoid.model import build_model
from policies.checkpoint import load_checkpoint
from policies.export import trained_network
from policies.family import medians, strike
from policies.player import MEMORY_SIZE, Player, PlayerConfig
from policies.strokes import (
    FAMILY_FOLDER,
    GOAL_SIZE,
    KNOTS,
    StrokeSet,
    change_family,
    load_strokes,
    near_knots,
)
from sim.engine import CpuEngine
from sim.return_protocol import ReturnConfig
from sim.return_task import ReturnTask

STRENGTH = 0.5
"""Of the ridge regression, beside the noise of a strike."""
ASTRAY = np.array([0.03] * 3 + [0.8] * 3 + [0.03] * 2)
"""What a strike misses by without much to be learned from it: m, m/s, 1."""
FARTHEST_ASTRAY = 4.0
"""Strikes that miss by more, in those units, weigh less and less."""


@dataclass(frozen=True)
class Strikes:
    """What was noted of M strikes: families (M,), scaled goals as they were asked for and met, (M, GOAL_SIZE)."""

    stroke: Tensor
    goal: Tensor
    met: Tensor


@torch.no_grad()
def watch(player: Player, network: nn.Module, level: str, envs: int, seed: int, threads: int = 0) -> Strikes:
    """Play an episode in each of `envs` environments and note every strike."""
    protocol = ReturnConfig(level=level)
    model = build_model(timestep=protocol.timestep, friction=protocol.friction, self_collision=True)
    task = ReturnTask(envs, protocol, seed, engine=CpuEngine(envs, model, threads), pool=max(512, envs))
    memory = torch.zeros(envs, MEMORY_SIZE)
    seconds = protocol.balls_per_episode * protocol.ball_interval + 4.0
    strokes, config = player.strokes, player.planner.config
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in tqdm(range(round(seconds / protocol.control_dt)), desc=level, disable=None):
        terms = {key: value.float() for key, value in task.observed().items()}
        memory, ref = player.advance(terms, memory)
        m = player.unpack(memory)
        left = m["time"][:, 0]
        now = ((m["begun"][:, 0] > 0.5) & (left > 0) & (left <= player.dt)).nonzero()[:, 0]
        if len(now):
            own = {key: value[now] for key, value in m.items()}
            stroke = own["stroke"][:, 0].round().to(torch.int64)
            goal = strokes.scaled(stroke, *(player.to_stance(own, name) for name in ("pos", "vel", "normal")))
            met = strike(player, {key: value[now] for key, value in terms.items()}, memory[now])
            rows.append((stroke, strokes.within(stroke, goal, config.strain), met))
        targets, memory = player.act(terms, memory, network(player.observe(terms, memory, ref)), ref)
        task.step(targets.double())
        fallen = task.fallen.nonzero()[:, 0]
        if len(fallen):
            task.place(fallen)
            memory[fallen] = 0.0
        if bool(task.finished.all()):
            break
    return Strikes(*(torch.cat(column) for column in zip(*rows, strict=True)))


def teach(strokes: StrokeSet, found: Strikes, share: float = 1.0, seed: int = 0) -> StrokeSet:
    """Families whose bells make up for what the strikes missed. `share`: of that."""
    rng = np.random.default_rng(seed)
    knots, bells = strokes.knots.clone(), strokes.bells.clone()
    for kind in range(strokes.num_strokes):
        own = (found.stroke == kind) & torch.isfinite(found.met).all(dim=1)
        goal, met = found.goal[own].double(), found.met[own].double()
        if not bool(strokes.bells[kind].any()):
            chosen = rng.permutation(len(goal))[:KNOTS]
            knots[kind, : len(chosen)] = goal[chosen].float()
        at = knots[kind].double()
        near, among = near_knots(goal, at), near_knots(at, at)
        unit = torch.as_tensor(ASTRAY) / strokes.scale[kind]
        wanted = (met - goal) / unit
        weights = torch.ones(len(goal), 1, dtype=torch.float64)
        fit = torch.zeros(KNOTS, GOAL_SIZE, dtype=torch.float64)
        for _ in range(4):
            inner = near.T @ (weights * near) + STRENGTH * among + 1e-6 * torch.eye(KNOTS)
            fit = torch.linalg.solve(inner, near.T @ (weights * wanted))
            rest = torch.linalg.vector_norm(wanted - near @ fit, dim=1, keepdim=True)
            weights = 1 / (1 + (rest / FARTHEST_ASTRAY) ** 2)
        bells[kind] += (share * fit * unit).float()
    return replace(strokes, knots=knots, bells=bells)


def misses(strokes: StrokeSet, found: Strikes) -> dict[str, dict[str, float]]:
    """Medians of what strikes missed, by family: m, m/s, and of the face's direction."""
    out = {}
    for kind, name in enumerate(strokes.names):
        own = found.stroke == kind
        off = (found.met - found.goal)[own] * strokes.scale[kind]
        out[name] = {"strikes": int(own.sum()), **medians(off)}
    return out


def write(strokes: StrokeSet, figures: dict, folder: Path = FAMILY_FOLDER) -> None:
    """Write the bells into the families of a folder, with what the games showed."""
    for kind, name in enumerate(strokes.names):
        arrays = {"knots": strokes.knots[kind].numpy(), "bells": strokes.bells[kind].numpy()}
        change_family(name, folder, arrays, {"in_play": figures[name]})


def main(arguments: list[str] | None = None) -> None:
    """Teach what ships."""
    parser = argparse.ArgumentParser(description="Teach the lead of assets/motions/stroke_family in games.")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="of a training run whose network plays"
    )
    parser.add_argument("--rounds", type=int, default=2, help="of playing and teaching")
    parser.add_argument(
        "--envs", type=int, default=256, help="robots at feed in a round, and half as many at rally"
    )
    parser.add_argument("--seed", type=int, default=1000, help="of the first round's balls")
    parser.add_argument("--threads", type=int, default=0, help="of the physics, 0 for all cores")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    state = load_checkpoint(args.checkpoint)
    strokes = load_strokes()
    strokes = replace(strokes, bells=torch.zeros_like(strokes.bells))
    for turn in range(args.rounds + 1):
        player = Player(strokes, PlayerConfig())
        network = trained_network(state, player)
        found = [
            watch(player, network, level, envs, args.seed + 2 * turn + more, args.threads)
            for more, (level, envs) in enumerate((("feed", args.envs), ("rally", args.envs // 2)))
        ]
        both = Strikes(*(torch.cat([getattr(f, name) for f in found]) for name in ("stroke", "goal", "met")))
        figures = misses(strokes, both)
        print(figures, flush=True)
        if turn < args.rounds:
            strokes = teach(strokes, both, share=1.0 if turn == 0 else 0.6, seed=args.seed)
        else:
            write(strokes, figures)


if __name__ == "__main__":
    main()
