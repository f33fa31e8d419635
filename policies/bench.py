"""How fast everything is on this machine: ``make bench``, or ``python -m policies.bench``.

Prints a table and writes bench.json:

| field | what |
| --- | --- |
| machine | processor, cores, load at the start, versions |
| retarget_frames_per_s_core | frames of mocap retargeted and judged a second on one core |
| env_vs_bare_physics | ball return over bare `mujoco.batch`, steps a second, one core, 512 robots |
| ball_steps_per_s | 5 ms steps of one ball a second, rackets and all, all cores |
| ball_share_of_step | share of balls, observations and rewards in an environment's step, as above |
| ball_share_of_physics | cost of three balls with rackets over that of the robot's physics, one core, 1024 robots |
| ball_vs_mujoco_ratio | simulated ball seconds a second over those of MuJoCo's own contact at 0.25 ms |
| engine_steps_per_s | physics steps of one robot a second, `cpu` on all cores, `warp`; null if not installed |
| warp | what `engine_steps_per_s.warp` was taken on: device, robots; null if not installed |
| safety_us | guard, monitor, self-collision, watch and shield in a control step of one robot, median, one core |
| safety_p99_us | the same, 99th percentile |
| env_steps_per_s | control steps of one robot a second, all cores; `num_envs`, `env_vs_bare_physics` |
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from humanoid.bundle import PolicyBundle
from humanoid.files import atomic_write
from mocap.benchmark import benchmark_retarget
from policies.safety_bench import benchmark_safety, play
from sim.ball_bench import benchmark_ball, benchmark_share
from sim.env_bench import (
    EnvSpeed,
    benchmark_ball_vs_mujoco,
    benchmark_engine,
    benchmark_env,
    benchmark_warp,
)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    name = platform.processor()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_at_start": None if load is None else round(load, 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "mujoco": mujoco.__version__,
        "torch": torch.__version__,
    }


def run(small: bool = False) -> dict[str, Any]:
    """All figures.

    Args:
        small: sizes that say nothing about speed, to see whether it runs.
    """
    result: dict[str, Any] = {"machine": machine()}
    threads = torch.get_num_threads()
    with torch.no_grad():
        torch.set_num_threads(1)
        result["retarget_frames_per_s_core"] = benchmark_retarget(
            2.0 if small else 20.0, repeats=1 if small else 3
        )
        safety = _safety("stand", 1, 1) if small else _safety("strike", 6, 9)
        core = _env(16, 4, 1) if small else _env(512, 40, 1)
        every = _env(16, 4, 0) if small else _env(2048, 10, 0)
        torch.set_num_threads(1 if small else result["machine"]["cores"] or 1)
        balls = benchmark_ball(256, 4) if small else benchmark_ball()
        share = benchmark_share(16, 2) if small else benchmark_share(1024)
        ratio = benchmark_ball_vs_mujoco(16, 0.05) if small else benchmark_ball_vs_mujoco()
        engine = benchmark_engine(16, 8) if small else benchmark_engine(1024)
        warp = benchmark_warp(16, 8) if small else benchmark_warp(1024)
    torch.set_num_threads(threads)
    result |= {
        "env_vs_bare_physics": core.ratio,
        "ball_steps_per_s": balls,
        "ball_share_of_step": core.ball_s / core.env_s,
        "ball_share_of_physics": share.share,
        "ball_vs_mujoco_ratio": ratio,
        "safety_us": float(np.median(safety)),
        "safety_p99_us": float(np.percentile(safety, 99)),
        "engine_steps_per_s": {"cpu": engine, "warp": warp and warp["steps_per_s"]},
        "warp": warp and {"device": warp["device"], "num_envs": warp["num_envs"]},
        "env_steps_per_s": {
            "steps_per_s": every.num_envs / every.env_s,
            "num_envs": every.num_envs,
            "env_vs_bare_physics": every.ratio,
        },
    }
    return result


def _env(num_envs: int, steps: int, threads: int) -> EnvSpeed:
    return benchmark_env(num_envs, steps, warm_up=4 if num_envs < 64 else 280, threads=threads)


def _safety(policy: str, trials: int, repeats: int) -> np.ndarray:
    bundle = PolicyBundle.load(policy)
    return benchmark_safety(bundle, play(bundle, trials), repeats)["all"]


TARGETS: dict[str, tuple[str, float | None, str]] = {
    "retarget_frames_per_s_core": ("retargeted frames a second, one core", 500.0, ",.0f"),
    "env_vs_bare_physics": ("environment over bare physics, one core", 0.85, ".1%"),
    "ball_share_of_step": ("balls, observations, rewards in a step", 0.15, ".1%"),
    "ball_share_of_physics": ("balls over the robots' physics, 1024 robots", 0.05, ".1%"),
    "ball_steps_per_s": ("ball steps a second, all cores", 2e6, ",.0f"),
    "ball_vs_mujoco_ratio": ("balls over MuJoCo's contact at 0.25 ms", None, ",.0f"),
    "safety_us": ("safety in a control step of one robot, µs", 50.0, ",.0f"),
}
"""Field → what to call it, aim, format."""
AT_MOST = ("ball_share_of_step", "ball_share_of_physics", "safety_us")
"""Fields whose aim is an upper bound."""


def table(result: dict[str, Any]) -> str:
    """The figures as text."""
    about = result["machine"]
    lines = [f"{about['processor']}, {about['cores']} cores, load {about['load_at_start']} at the start"]
    for key, (label, aim, form) in TARGETS.items():
        wanted = "" if aim is None else f"   aim {'≤' if key in AT_MOST else '≥'} {aim:{form}}"
        lines.append(f"  {label:<42}{result[key]:>14{form}}{wanted}")
    env = result["env_steps_per_s"]
    lines.append(f"  {'physics steps a second, all cores':<42}{result['engine_steps_per_s']['cpu']:>14,.0f}")
    warp = result["warp"]
    lines.append(
        "  MuJoCo Warp is not installed (extra gpu)"
        if warp is None
        else f"  {'the same by MuJoCo Warp':<42}{result['engine_steps_per_s']['warp']:>14,.0f}"
        f"   on {warp['device']}, {warp['num_envs']} robots"
    )
    lines.append(
        f"  {'environment steps a second, all cores':<42}{env['steps_per_s']:>14,.0f}"
        f"   {env['env_vs_bare_physics']:.1%} of bare physics, {env['num_envs']} robots"
    )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; see the module."""
    parser = argparse.ArgumentParser(description="How fast everything is on this machine.")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="file to write (bench.json)")
    parser.add_argument("--small", action="store_true", help="tiny sizes: only to see whether it runs")
    options = parser.parse_args(arguments)
    result = run(options.small)
    print(table(result))
    try:
        with atomic_write(options.output) as file:
            file.write((json.dumps(result, indent=2) + "\n").encode())
    except OSError as error:
        print(
            f"{options.output}: could not be written ({error.strerror}); give another --output",
            file=sys.stderr,
        )
        return 1
    print(f"written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
