"""``rally-train``: learn to strike."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import time
from pathlib import Path
from typing import Any

import hydra
import torch
import yaml
from omegaconf import DictConfig
from rsl_rl.runners import OnPolicyRunner
from tqdm import tqdm

from humanoid.files import atomic_write
from humanoid.motion import MotionError
from policies.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from policies.config import CONF, ConfigError, PpoConfig, TrainConfig, plain, typed
from policies.goals import draw_goals
from policies.player import Player
from policies.strike_task import StrikeTask
from policies.strokes import load_strokes


class _Stop(Exception):
    """Ends the runner's loop at a consistent point."""


class Trainer:
    """A training run in a folder: config.yaml, checkpoint.pt, curve.csv, TensorBoard events.

    Args:
        config: the run.

    Raises:
        CheckpointError: the checkpoint to resume or start from cannot be used.
        ConfigError: the folder belongs to a run with another configuration.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.folder = Path(config.output) / config.name
        self.checkpoint = self.folder / "checkpoint.pt"
        state = load_checkpoint(self.checkpoint) if config.resume and self.checkpoint.exists() else None
        if state is not None:
            self._check_same(state["config"])
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.player = Player(load_strokes(config.player.strokes), config.player, config.task.control_dt)
        pool = draw_goals(
            self.player, config.level, config.goals, torch.Generator().manual_seed(config.seed)
        )
        self.env = StrikeTask(self.player, pool, config.task, config.seed, config.threads)
        self.runner = OnPolicyRunner(self.env, runner_config(config.ppo), str(self.folder), device="cpu")
        self.samples = 0
        self.wall_s = 0.0
        if state is not None:
            self._restore(state)
        else:
            last = [m for m in self.runner.alg.actor.mlp if isinstance(m, torch.nn.Linear)][-1]
            with torch.no_grad():
                last.weight *= 0.01
                last.bias.zero_()
            if config.start_from:
                networks = load_checkpoint(Path(config.start_from))
                self.runner.alg.load(networks["learner"], {"actor": True, "critic": True}, True)
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.folder / "config.yaml", "w") as file:
                yaml.safe_dump(plain(config), file, sort_keys=False)
            (self.folder / "curve.csv").unlink(missing_ok=True)

    def run(self) -> None:
        """Train until the limit of iterations or minutes, or an interrupt; then write a last checkpoint."""
        config, runner = self.config, self.runner
        started = saved = time.monotonic()
        before = self.wall_s
        bar = tqdm(
            desc=config.name,
            unit="step",
            unit_scale=True,
            initial=self.samples,
            total=config.iterations * self._batch or None,
            disable=None,
        )
        write = runner.logger.log

        def log(**values: Any) -> None:
            nonlocal saved
            extras = list(runner.logger.ep_extras)
            with contextlib.redirect_stdout(io.StringIO()):
                write(**values)
            runner.current_learning_iteration = values["it"] + 1
            self.samples += self._batch
            now = time.monotonic()
            self.wall_s = before + now - started
            row = self._summary(extras)
            row["speed"] = self._batch / (values["collect_time"] + values["learn_time"])
            self._append_curve(values["it"], row)
            bar.update(self._batch)
            bar.set_postfix(
                {k: f"{row[k]:.3g}" for k in ("in_court", "racket_error", "fall_per_100", "speed") if k in row}
            )
            if now - saved > 60 * config.checkpoint_minutes:
                self.save()
                saved = now
            if config.minutes and now - started > 60 * config.minutes:
                raise _Stop

        runner.logger.log = log
        left = config.iterations - runner.current_learning_iteration if config.iterations else 10**9
        interrupted = False
        previous = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        try:
            if left > 0:
                with contextlib.redirect_stdout(io.StringIO()):
                    runner.learn(left)
        except _Stop:
            pass
        except KeyboardInterrupt:
            interrupted = True
        finally:
            signal.signal(signal.SIGTERM, previous)
            runner.logger.log = write
            bar.close()
        if interrupted:
            # The step under way is lost; the last checkpoint stands as it is.
            raise KeyboardInterrupt
        self.save()

    @property
    def _batch(self) -> int:
        return self.config.ppo.steps * self.config.task.num_envs

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(
            self.checkpoint,
            {
                "config": plain(self.config),
                "learner": self.runner.alg.save(),
                "task": self.env.state_dict(),
                "torch_rng": torch.get_rng_state(),
                "iteration": self.runner.current_learning_iteration,
                "samples": self.samples,
                "wall_s": self.wall_s,
            },
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.runner.alg.load(state["learner"], None, True)
        self.env.load_state_dict(state["task"])
        torch.set_rng_state(state["torch_rng"])
        self.runner.current_learning_iteration = state["iteration"]
        self.samples, self.wall_s = state["samples"], state["wall_s"]

    def _check_same(self, old: dict[str, Any]) -> None:
        new = plain(self.config)
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

    def _append_curve(self, iteration: int, row: dict[str, float]) -> None:
        path = self.folder / "curve.csv"
        columns = (
            "reward", "fall_per_100", "racket_error", "face_error_deg", "speed_error", "racket_speed",
            "touch", "clear", "in_court", "joint_error", "root_error", "speed",
        )  # fmt: skip
        new = not path.exists()
        with path.open("a") as file:
            if new:
                file.write("iteration,samples,wall_s," + ",".join(columns) + "\n")
            cells = ",".join(f"{row[c]:.5g}" if c in row else "" for c in columns)
            file.write(f"{iteration},{self.samples},{self.wall_s:.1f},{cells}\n")


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


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def _main(values: DictConfig) -> None:
    try:
        config = typed(TrainConfig, values)
        trainer = Trainer(config)
        print(f"{trainer.folder}: {trainer.samples / 1e6:.2f} million steps so far", file=sys.stderr)
        trainer.run()
        print(f"{trainer.checkpoint}: {trainer.samples / 1e6:.2f} million steps, {trainer.wall_s / 60:.1f} min")
    except (ConfigError, CheckpointError, MotionError) as error:
        print(f"rally-train: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        print(f"rally-train: {error.filename}: {error.strerror}; nothing written before is lost", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(
            "rally-train: interrupted; the last checkpoint stands, the same command goes on from it",
            file=sys.stderr,
        )
        raise SystemExit(130) from None


def main() -> None:
    """Console entry point of ``rally-train``."""
    _main()


if __name__ == "__main__":
    main()
