"""The simulated robot on a court with a ball machine, for a controller in another process.

``python -m sim.simulated_court`` is `humanoid.simulated_robot` with a ball: it adds the observation terms
``ball_pos``, ``ball_vel``, ``ball_valid`` and ``target``, and its summary counts outcomes. Balls come by the
protocol of `sim.return_task` from the first command of play on, until play ends.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from humanoid.racket import RACKET, SITE
from humanoid.simulated_robot import TIMESTEP, SimulatedRobot, arguments, serve
from sim.launcher import LEVELS
from sim.return_task import OUTCOMES, ReturnConfig, ReturnTask

ENDLESS = 1 << 30
"""More balls than any session lasts for."""


class SimulatedCourt(SimulatedRobot):
    """See the module's text.

    Args:
        level: of the launches, see `sim.launcher.LEVELS`.
        seed: of launches and targets.
        x, y: where the robot stands, m.
        friction: of the feet on the court.
    """

    name = "simulated G1 on a court"

    def __init__(
        self, level: str = "feed", seed: int = 0, x: float = -11.9, y: float = 0.0, friction: float = 0.8
    ) -> None:
        super().__init__(x, y, friction)
        config = ReturnConfig(
            level=level, control_dt=TIMESTEP, timestep=TIMESTEP, start=(x, y), balls_per_episode=ENDLESS
        )
        self.task = ReturnTask(1, config, seed, engine=PlantEngine(self), pool=64)

    def advance(self) -> None:
        """One physics step of the robot and, while it plays, of the balls."""
        if self.mode == "play":
            self.task.step(torch.from_numpy(self.data.ctrl[None].copy()))
        else:
            self.step_physics()

    def signals(self) -> dict[str, np.ndarray]:
        """Ball and target; see :mod:`humanoid.observation`."""
        terms = self.task.terms()
        return {name: terms[name][0].numpy() for name in ("ball_pos", "ball_vel", "ball_valid", "target")}

    def summary(self) -> dict[str, Any]:
        """Adds the finished balls, racket contacts and outcomes to the robot's own summary."""
        record = self.task.record
        counts = Counter(OUTCOMES[outcome] for outcome in record.outcome)
        outcomes = {name: counts[name] for name in OUTCOMES if name != "pending"}
        balls = {"balls": len(record), "contacts": sum(record.contact), "outcomes": outcomes}
        return super().summary() | balls


class PlantEngine:
    """`sim.engine.Engine` over the one robot of a `SimulatedRobot`: its motors have the commanded gains."""

    def __init__(self, robot: SimulatedRobot) -> None:
        self._robot = robot
        model, data = robot.model, robot.data
        self.num_envs = 1
        self.device = torch.device("cpu")
        self.timestep = float(model.opt.timestep)
        self.qpos = torch.from_numpy(data.qpos[None])
        self.qvel = torch.from_numpy(data.qvel[None])
        self.ctrl = torch.from_numpy(data.ctrl[None])
        self.torque = torch.from_numpy(data.actuator_force[None])
        racket = model.site(SITE).id
        self.racket_pos = torch.from_numpy(data.site_xpos[racket][None])
        self.racket_rot = torch.from_numpy(data.site_xmat[racket].reshape(1, 3, 3))
        feet = [model.site(name).id for name in ("left_foot", "right_foot")]
        self.foot_pos = torch.from_numpy(data.site_xpos[feet[0] : feet[1] + 1 : feet[1] - feet[0]][None])
        self._body = int(model.site_bodyid[racket])
        self._com = torch.as_tensor(RACKET.com)
        self._pushed = False

    def step(self, ids: Tensor | None = None) -> None:
        """See `sim.engine.Engine.step`."""
        robot = self._robot
        robot.step_physics()
        # Positions and velocities of the new state; mj_step leaves those of the old one.
        mujoco.mj_kinematics(robot.model, robot.data)
        if self._pushed:
            robot.data.xfrc_applied[self._body] = 0.0
            self._pushed = False

    def advance(self, steps: int, ids: Tensor | None = None) -> None:
        """See `sim.engine.Engine.advance`."""
        for _ in range(steps):
            self.step()

    def reset(self, ids: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """The robot stands where its controller left it: nothing is put anywhere."""

    def push_racket(self, ids: Tensor, impulse: Tensor, point: Tensor) -> None:
        """See `sim.engine.Engine.push_racket`."""
        force = impulse[0].double() / self.timestep
        com = self.racket_pos[0] + self.racket_rot[0] @ self._com
        push = torch.cat((force, torch.linalg.cross(point[0].double() - com, force)))
        self._robot.data.xfrc_applied[self._body] = push.numpy()
        self._pushed = True


def main() -> None:
    parser = arguments("A simulated G1 on a court with a ball machine.")
    parser.set_defaults(x=-11.9)
    parser.add_argument("--level", choices=sorted(LEVELS), default="feed", help="of the balls")
    parser.add_argument("--seed", type=int, default=0, help="of launches and targets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    serve(SimulatedCourt(options.level, options.seed, options.x, options.y, options.friction), options)


if __name__ == "__main__":
    main()
