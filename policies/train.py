"""``rally-train``: learn to strike.

Several processes, each with robots of its own, learn one policy together by RSL-RL's distributed mode:

    torchrun --standalone --nproc-per-node 2 -m policies.train experiment=strike_cpu
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from rsl_rl.runners import OnPolicyRunner
from tqdm import tqdm

from humanoid.app import run_app
from humanoid.files import atomic_write
from humanoid.motion import MotionError
from policies.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from policies.config import ConfigError, PpoConfig, TrainConfig, plain, typed
from policies.goal_pool import GoalPool, join
from policies.goals import GoalError, draw_goals
from policies.player import Player
from policies.strike_task import StrikeTask, task_model
from policies.strokes import load_strokes
from sim.engine import BatchEngine, make_engine

MIXED = ("feed", "rally")
"""Launch levels of the goals of `level=mixed`."""


class _Stop(Exception):
    """Ends the runner's loop at a consistent point."""


@dataclass(frozen=True)
class Processes:
    """Which process of how many this is, as torchrun says in the environment.

    Attributes:
        rank: of all. local: of this machine's. world: number of all. here: of this machine's.
    """

    rank: int = 0
    local: int = 0
    world: int = 1
    here: int = 1

    @staticmethod
    def of_environment() -> Processes:
        names = (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_WORLD_SIZE", 1))
        return Processes(*(int(os.environ.get(name, default)) for name, default in names))

    def any(self, value: bool, device: torch.device) -> bool:
        """Whether it holds in any process; all must ask."""
        if self.world == 1:
            return value
        flag = torch.tensor(float(value), device=device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag > 0)


class _Runner(OnPolicyRunner):
    """Without files of its own: our checkpoint holds all that is needed, and is written whole or not at all."""

    def _configure_multi_gpu(self) -> None:
        """RSL-RL's, and the same on CPUs."""
        processes = Processes.of_environment()
        if processes.world == 1 or self.device.startswith("cuda"):
            super()._configure_multi_gpu()
            return
        self.gpu_world_size, self.is_distributed = processes.world, True
        self.gpu_local_rank, self.gpu_global_rank = processes.local, processes.rank
        self.cfg["multi_gpu"] = {
            "global_rank": processes.rank,
            "local_rank": processes.local,
            "world_size": processes.world,
        }
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo", rank=processes.rank, world_size=processes.world)

    def save(self, path: str, infos: dict | None = None) -> None:
        pass


class Trainer:
    """A training run in a folder: config.yaml, checkpoint.pt, curve.csv, TensorBoard events.

    Of several processes the first one writes; the others only keep their own robots, in checkpoint_RANK.pt.

    Args:
        config: the run.

    Raises:
        CheckpointError: the checkpoint to resume or start from cannot be used.
        ConfigError: the folder belongs to a run with another configuration, or there is no such engine or device.
        GoalError: no ball comes within reach of the strokes.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.folder = Path(config.output) / config.name
        self.processes = processes = Processes.of_environment()
        mark = f"_{processes.rank}" if processes.rank else ""
        self.checkpoint = self.folder / f"checkpoint{mark}.pt"
        state = load_checkpoint(self.checkpoint) if config.resume and self.checkpoint.exists() else None
        if state is not None:
            self._check_same(state.get("config"))
            if state.get("processes", 1) != processes.world:
                raise ConfigError(
                    f"{self.checkpoint}: this run was started with {state.get('processes', 1)} processes, not "
                    f"{processes.world}; give the run another name=, or start it anew with resume=false"
                )
        seed = config.seed + 7919 * processes.rank
        torch.manual_seed(seed)
        engine = _engine(config)
        # Half the cores for learning: threads that wait for one another on a busy core cost more than they bring.
        torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // (2 * processes.here)))
        self.player = Player(load_strokes(config.player.strokes), config.player, config.task.control_dt)
        pool = _goals(self.player, config)
        self.env = StrikeTask(self.player, pool, config.task, seed, engine=engine)
        self.runner = _Runner(
            self.env, runner_config(config.ppo), str(self.folder), device=str(engine.device)
        )
        self.samples = 0
        self.wall_s = 0.0
        iteration = -1 if state is None else state.get("iteration", -1)
        if processes.any(iteration != self._first(iteration), engine.device):
            raise CheckpointError(
                f"{self.folder}: the processes' checkpoints are not of one moment; start the run anew with "
                "resume=false"
            )
        if state is not None:
            self._restore(state)
        else:
            last = [m for m in self.runner.alg.actor.mlp if isinstance(m, torch.nn.Linear)][-1]
            with torch.no_grad():
                last.weight *= 0.01
                last.bias.zero_()
            if config.start_from:
                self._start_from(Path(config.start_from))
            if processes.rank:
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.folder / "config.yaml", "w") as file:
                yaml.safe_dump(plain(config), file, sort_keys=False)
            (self.folder / "curve.csv").unlink(missing_ok=True)

    def run(self) -> None:
        """Train until the limit of iterations or minutes, or an interrupt; then write a last checkpoint.

        SIGINT and SIGTERM let the update under way finish first; a second one ends the run at once, and the
        last checkpoint stands as it is.

        Raises:
            KeyboardInterrupt: the run was interrupted.
        """
        config, runner = self.config, self.runner
        started = saved = time.monotonic()
        before = self.wall_s
        bar = tqdm(
            desc=config.name,
            unit="step",
            unit_scale=True,
            initial=self.samples,
            total=config.iterations * self._batch or None,
            disable=True if self.processes.rank else None,
        )
        write = runner.logger.log

        def log(**values: Any) -> None:
            nonlocal saved, interrupted
            extras = list(runner.logger.ep_extras)
            with contextlib.redirect_stdout(io.StringIO()):
                write(**values)
            runner.current_learning_iteration = values["it"] + 1
            self.samples += self._batch
            now = time.monotonic()
            self.wall_s = before + now - started
            row = self._summary(extras)
            row["speed"] = self._batch / (values["collect_time"] + values["learn_time"])
            if not self.processes.rank:
                self._append_curve(values["it"], row)
            bar.update(self._batch)
            bar.set_postfix(
                {
                    k: f"{row[k]:.3g}"
                    for k in ("in_court", "racket_error", "fall_per_100", "speed")
                    if k in row
                }
            )
            device = self.env.engine.device
            if self.processes.any(now - saved > 60 * config.checkpoint_minutes, device):
                self.save()
                saved = now
            interrupted = self.processes.any(interrupted, device)
            late = bool(config.minutes) and now - started > 60 * config.minutes
            if self.processes.any(interrupted or late, device):
                raise _Stop

        def interrupt(*_: Any) -> None:
            nonlocal interrupted
            if interrupted:
                raise KeyboardInterrupt
            interrupted = True

        runner.logger.log = log  # pyright: ignore[reportAttributeAccessIssue]
        left = config.iterations - runner.current_learning_iteration if config.iterations else 10**9
        interrupted = False
        previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if left > 0:
                with contextlib.redirect_stdout(io.StringIO()):
                    runner.learn(left)
        except _Stop:
            pass
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            runner.logger.log = write
            bar.close()
        self.save()
        if interrupted:
            raise KeyboardInterrupt

    @property
    def _on_gpu(self) -> bool:
        return self.env.engine.device.type == "cuda"

    @property
    def _batch(self) -> int:
        return self.config.ppo.steps * self.config.task.num_envs * self.processes.world

    def _first(self, value: int) -> int:
        """The first process's value."""
        if self.processes.world == 1:
            return value
        shared = torch.tensor(value, device=self.env.engine.device)
        torch.distributed.broadcast(shared, 0)
        return int(shared)

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(
            self.checkpoint,
            {
                "config": plain(self.config),
                "learner": self.runner.alg.save(),
                "task": self.env.state_dict(),
                "torch_rng": torch.get_rng_state(),
                "device_rng": torch.cuda.get_rng_state(self.env.device) if self._on_gpu else None,
                "processes": self.processes.world,
                "iteration": self.runner.current_learning_iteration,
                "samples": self.samples,
                "wall_s": self.wall_s,
            },
        )

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.runner.alg.load(state["learner"], None, True)
            self.env.load_state_dict(state["task"])
            torch.set_rng_state(state["torch_rng"])
            if self._on_gpu:
                torch.cuda.set_rng_state(state["device_rng"], self.env.device)
            self.runner.current_learning_iteration = state["iteration"]
            self.samples, self.wall_s = state["samples"], state["wall_s"]
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise CheckpointError(
                f"{self.checkpoint}: does not fit this version ({_line(error)}); "
                "start the run anew with resume=false"
            ) from None
        if not self.processes.rank:
            self._cut_curve(state["iteration"])

    def _start_from(self, path: Path) -> None:
        state = load_checkpoint(path)
        try:
            self.runner.alg.load(state["learner"], {"actor": True, "critic": True}, True)
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise CheckpointError(
                f"{path}: its network does not fit this run ({_line(error)}); "
                "start_from needs the same ppo.hidden and the same number of strokes"
            ) from None

    def _check_same(self, old: Any) -> None:
        if not isinstance(old, dict):
            raise CheckpointError(
                f"{self.checkpoint}: holds no run's configuration; give the run another name="
            )
        new = plain(self.config)
        # A run from before a key was known had its default.
        old = {**plain(TrainConfig()), **old}
        free = {"iterations", "minutes", "checkpoint_minutes", "resume", "threads", "output", "start_from"}
        for key in new:
            if key not in free and new[key] != old.get(key):
                where = key
                if isinstance(new[key], dict) and isinstance(old.get(key), dict):
                    inner = [k for k in new[key] if new[key][k] != old[key].get(k)]
                    where = f"{key}.{inner[0]}" if inner else key
                raise ConfigError(
                    f"{self.checkpoint}: this run was started with another '{where}'; give the run another "
                    "name=, or start it anew with resume=false"
                )

    @staticmethod
    def _summary(extras: list[dict]) -> dict[str, float]:
        out: dict[str, list[float]] = {}
        for entry in extras:
            for key, value in entry.items():
                out.setdefault(key.rsplit("/", 1)[-1], []).append(float(value))
        return {key: sum(values) / len(values) for key, values in out.items()}

    def _cut_curve(self, iteration: int) -> None:
        """Drop the rows of updates that came after the checkpoint: they are done again."""
        path = self.folder / "curve.csv"
        if not path.exists():
            return
        head, *rows = path.read_text().splitlines(keepends=True) or [""]
        kept = [row for row in rows if row.endswith("\n") and int(row.partition(",")[0]) < iteration]
        with atomic_write(path, "w") as file:
            file.writelines([head, *kept])

    def score(self, updates: int = 20) -> float:
        """Share of strikes that came back into the court in the last updates, exploration included; NaN without any."""
        with (self.folder / "curve.csv").open() as file:
            rows = list(csv.DictReader(file))[-updates:]
        shares = [float(row["in_court"]) for row in rows if row["in_court"]]
        return sum(shares) / len(shares) if shares else math.nan

    def _append_curve(self, iteration: int, row: dict[str, float]) -> None:
        path = self.folder / "curve.csv"
        columns = (
            "reward", "fall_per_100", "racket_error", "face_error_deg", "speed_error", "racket_speed",
            "touch", "clear", "in_court", "near", "joint_error", "root_error", "speed",
        )  # fmt: skip
        new = not path.exists()
        with path.open("a") as file:
            if new:
                file.write("iteration,samples,wall_s," + ",".join(columns) + "\n")
            cells = ",".join(f"{row[c]:.5g}" if c in row else "" for c in columns)
            file.write(f"{iteration},{self.samples},{self.wall_s:.1f},{cells}\n")


def _line(error: BaseException) -> str:
    """An error's last line, which is where torch names the parameter, not too long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:160]


def _goals(player: Player, config: TrainConfig) -> GoalPool:
    generator = torch.Generator().manual_seed(config.seed)
    levels = MIXED if config.level == "mixed" else (config.level,)
    return join(*(draw_goals(player, level, config.goals // len(levels), generator) for level in levels))


def _engine(config: TrainConfig) -> BatchEngine:
    model = task_model(config.task)
    processes, device, threads = Processes.of_environment(), config.device, config.threads
    if processes.world > 1:
        device = f"cuda:{processes.local}" if device == "cuda" else device
        threads = threads or max(1, (os.cpu_count() or 1) // processes.here)
    try:
        return make_engine(config.engine, config.task.num_envs, model, device, threads)
    except (ImportError, ValueError, RuntimeError) as error:
        raise ConfigError(f"config keys 'engine' and 'device': {_line(error)}") from None


def runner_config(ppo: PpoConfig) -> dict[str, Any]:
    """RSL-RL's configuration of a run."""
    network = {
        "class_name": "MLPModel",
        "hidden_dims": list(ppo.hidden),
        "activation": "elu",
        "obs_normalization": False,
    }
    noise = {"class_name": "GaussianDistribution", "init_std": ppo.noise, "std_type": "log"}
    return {
        "num_steps_per_env": ppo.steps,
        "save_interval": 10**9,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "multi_gpu": None,
        "logger": "tensorboard",
        "actor": {**network, "distribution_cfg": noise},
        "critic": dict(network),
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": ppo.epochs,
            "num_mini_batches": ppo.minibatches,
            "clip_param": ppo.clip,
            "gamma": ppo.gamma,
            "lam": ppo.lam,
            "value_loss_coef": 1.0,
            "entropy_coef": ppo.entropy,
            "learning_rate": ppo.learning_rate,
            "max_grad_norm": ppo.max_grad_norm,
            "schedule": "adaptive",
            "desired_kl": ppo.desired_kl,
        },
    }


_scores: list[float] = []
"""Of the runs of this process, see `Trainer.score`."""


def _run(values: dict[str, Any]) -> int:
    config = typed(TrainConfig, values)
    trainer = Trainer(config)
    print(f"{trainer.folder}: {trainer.samples / 1e6:.2f} million steps so far", file=sys.stderr)
    try:
        trainer.run()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    except KeyboardInterrupt:
        print(
            "rally-train: interrupted; the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        return 130
    print(f"{trainer.checkpoint}: {trainer.samples / 1e6:.2f} million steps, {trainer.wall_s / 60:.1f} min")
    _scores.append(trainer.score())
    return 0


def main() -> None:
    """Console entry point of ``rally-train``."""
    code = run_app(
        "rally-train",
        _run,
        conf=Path(__file__).parent / "conf",
        schema=plain(TrainConfig()),
        config_name="train",
        expected=(CheckpointError, ConfigError, GoalError, MotionError),
        objective=lambda: _scores[-1],
    )
    raise SystemExit(code)


if __name__ == "__main__":
    main()
