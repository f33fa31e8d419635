"""Teaches the planner what a stroke is worth: how likely the ball comes back, lands near its aim, and the robot falls.

Strokes for goals all over the families' ranges, and somewhat beyond, are played in simulation one after the other, with
pushes, noise and steps in between (`policies.strike_task`), and a network learns the chances from what came of them.

    python -m policies.train_worth        rebuilds assets/planner/worth.npz (about ten minutes, two cores)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from policies.checkpoint import load_checkpoint
from policies.export import trained_network
from policies.goal_pool import GoalPool
from policies.perceptron import PLANNER_FOLDER, fit, save
from policies.planner import WORTH_INPUTS, WORTH_OUTPUTS, Planner
from policies.player import Player, PlayerConfig
from policies.strike_task import StrikeTask, StrikeTaskConfig
from policies.strokes import load_strokes
from policies.train_aim import START_X, meetings

HIDDEN = (32, 32)
FARTHEST = 4.5
"""Goals of a larger distance from those a family knows are left out (Mahalanobis)."""
NEAR = 2.5
"""What counts as near the aim, m (the benchmark's)."""
PUSH = 0.05
"""Standard deviation of pushes while strokes are judged, m/s: a game has none but the ball's."""
BLAME = 1.6
"""A fall so soon after a stroke began is its fault, s."""


def candidates(planner: Planner, count: int, generator: torch.Generator) -> GoalPool:
    """About `count` goals all over the ranges of the families, for balls of all levels and all ways of return."""
    strokes, config = planner.strokes, planner.config
    known = meetings(generator, 3000)
    pick = torch.randint(0, len(known[0]), (4 * count,), generator=generator)
    pos, vel, spin = (value[pick] for value in known)
    n = len(pos)
    kind = torch.randint(0, strokes.num_strokes, (n,), generator=generator)
    low, high = strokes.low[kind] - config.margin, strokes.high[kind] + config.margin
    place = low + (high - low) * torch.rand(n, 3, generator=generator)
    # The ball passes there, at its own height.
    pos = torch.cat((place[:, :2] + torch.tensor([START_X, 0.0]), pos[:, 2:]), dim=1)
    chance = torch.rand(n, 3, generator=generator)
    target = chance[:, :2] * torch.tensor([6.5, 6.0]) + torch.tensor([4.0, -3.0])
    option = (chance[:, 2] * len(planner.clearance)).long()
    aim = planner.aims(target)[torch.arange(n), option]
    drag = torch.full((n, 1), float(planner.params.drag_per_metre))
    speed, normal = planner.racket_for(
        pos, vel, spin, aim, planner.clearance[option][:, None], drag, strokes.face[kind][:, None]
    )
    origin = torch.tensor([START_X, 0.0, 0.0])
    at = pos - planner.params.radius * normal - origin
    scaled = strokes.scaled(kind, at, speed, normal)
    sound = (strokes.distance(kind, scaled) < FARTHEST) & (pos[:, 2] > low[:, 2]) & (pos[:, 2] < high[:, 2])
    keep = sound.nonzero()[:count, 0]
    pool = GoalPool(
        stroke=kind, time=strokes.strike[kind].float() * strokes.dt, pos=at, vel=speed, normal=normal,
        ball_pos=pos - origin, ball_vel=vel, ball_spin=spin, aim=aim, start_x=START_X, met=1.0,
        clearance=planner.clearance[option],
    )  # fmt: skip
    return pool.at(keep)


@torch.no_grad()
def play(task: StrikeTask, network: nn.Module | None, strikes: int) -> tuple[Tensor, Tensor]:
    """Play until so many strokes have struck or fallen.

    Returns:
        Rows of the task's pool (M,), and whether the ball came back, near its aim, and the robot fell, (M, 3).
    """
    n = task.num_envs
    rows: list[Tensor] = []
    ends: list[Tensor] = []
    # The last stroke of each robot: its row, whether it is to be judged, and since when it runs.
    open_row = torch.full((n,), -1)
    result = torch.zeros(n, 3)
    since = torch.zeros(n)
    done = 0
    bar = tqdm(total=strikes, desc="strokes", disable=None)

    def close(ids: Tensor, fell: bool) -> None:
        nonlocal done
        ids = ids[open_row[ids] >= 0]
        if fell:
            result[ids, 2] = 1.0
        rows.append(open_row[ids].clone())
        ends.append(result[ids].clone())
        open_row[ids] = -1
        done += len(ids)
        bar.update(len(ids))

    seen = task.get_observations()["policy"]
    while done < strikes:
        m = task.player.unpack(task.memory)
        fresh = ((m["begun"][:, 0] > 0.5) & (m["phase"][:, 0] < 0.5 * task.player.dt)).nonzero()[:, 0]
        close(fresh, fell=False)
        open_row[fresh], result[fresh], since[fresh] = task.goal[fresh], torch.zeros(len(fresh), 3), 0.0
        action = torch.zeros(n, 29) if network is None else network(seen)
        seen, _, dones, extras = task.step(action)
        seen = seen["policy"]
        since += task.player.dt
        struck = task.struck
        if struck is not None:
            miss = torch.linalg.vector_norm(struck.landing - task.pool.aim[struck.rows], dim=1)
            result[struck.ids, 0] = struck.lands.float()
            result[struck.ids, 1] = (struck.touch & struck.clears & (miss < NEAR)).float()
        fallen = (dones & ~extras["time_outs"]).nonzero()[:, 0]
        close(fallen[since[fallen] < BLAME], fell=True)
        # Whoever starts anew takes nothing with him.
        open_row[dones.nonzero()[:, 0]] = -1
        close((since > BLAME).nonzero()[:, 0], fell=False)
    bar.close()
    return torch.cat(rows), torch.cat(ends)


def inputs(planner: Planner, pool: GoalPool) -> Tensor:
    """What the network sees of goals, (G, WORTH_INPUTS)."""
    strokes = planner.strokes
    scaled = strokes.scaled(pool.stroke, pool.pos, pool.vel, pool.normal)
    face = strokes.face[pool.stroke][:, None]
    return torch.cat((scaled, 0.2 * pool.ball_vel, 0.2 * pool.aim, pool.clearance[:, None], face), dim=1)


def chances(
    planner: Planner, x: Tensor, y: Tensor, steps: int, folder: Path = PLANNER_FOLDER, **figures
) -> None:
    """Fit and write the network."""
    held = len(x) // 10
    net, scales = fit(
        x[held:], y[held:], HIDDEN, steps, nn.functional.binary_cross_entropy_with_logits, scale_out=False,
        rate=2e-3, decay=0.02,
    )  # fmt: skip
    with torch.no_grad():
        said = net((x[:held] - scales[0]) / scales[1])
        loss = nn.functional.binary_cross_entropy_with_logits(said, y[:held], reduction="none").mean(0)
        share = y[held:].mean(0)
        blind = -(y[:held] * share.log() + (1 - y[:held]) * (1 - share).log()).mean(0)
    figures = {
        **figures,
        "strokes": len(x) - held,
        "shares": [round(float(v), 3) for v in share],
        "held_out_loss": [round(float(v), 4) for v in loss],
        "without_inputs": [round(float(v), 4) for v in blind],
    }
    print(figures)
    licence = "CC BY-SA 3.0, with the families it judges"
    save(folder / "worth.npz", net, scales, {"source": "policies.train_worth", "licence": licence, **figures})


def neutral() -> None:
    """Write a network that knows nothing, if there is none."""
    if (PLANNER_FOLDER / "worth.npz").exists():
        return
    net = nn.Sequential(nn.Linear(WORTH_INPUTS, 4), nn.SiLU(), nn.Linear(4, WORTH_OUTPUTS))
    with torch.no_grad():
        for value in net.parameters():
            value.zero_()
    ones, zeros = torch.ones, torch.zeros
    scales = (zeros(WORTH_INPUTS), ones(WORTH_INPUTS), zeros(WORTH_OUTPUTS), ones(WORTH_OUTPUTS))
    save(PLANNER_FOLDER / "worth.npz", net, scales, {"source": "nothing"})


def main(arguments: list[str] | None = None) -> None:
    """Rebuild what ships."""
    parser = argparse.ArgumentParser(description="Rebuild assets/planner/worth.npz.")
    parser.add_argument("--strokes", type=int, default=30_000, help="to be played")
    parser.add_argument(
        "--checkpoint", type=Path, help="of a training run whose network plays; default: none plays"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of the physics, 0 for all cores")
    args = parser.parse_args(arguments)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    neutral()
    generator = torch.Generator().manual_seed(args.seed)
    player, network = Player(load_strokes(), PlayerConfig()), None
    if args.checkpoint is not None:
        state = load_checkpoint(args.checkpoint)
        network = trained_network(state, player)
    pool = candidates(player.planner, args.strokes, generator)
    task = StrikeTask(player, pool, StrikeTaskConfig(num_envs=256, push=PUSH), args.seed, args.threads)
    rows, results = play(task, network, args.strokes)
    chances(player.planner, inputs(player.planner, pool.at(rows)), results, 6000)


if __name__ == "__main__":
    main()
