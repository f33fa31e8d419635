"""A simulated robot in a process of its own, at the far end of a socket like a real one.

``python -m humanoid.simulated_robot`` listens on this computer only, prints one JSON line with its port, and
runs plain MuJoCo at 5 ms steps, in real time or in lockstep with the controller. Until the first command of
play the pelvis hangs in a gantry with the soles at the ground, as one begins with the real robot; then it is
let go until play ends. When commands stop coming the robot goes to damping by itself, as the real one does.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from humanoid.joints import JOINT_NAMES, KD, NUM_JOINTS, READY_JOINT_POS
from humanoid.message import (
    Kind,
    Message,
    MessageError,
    decode,
    encode,
    pack_json,
    pack_state,
    unpack_command,
)
from humanoid.model import build_model, touching_height
from humanoid.robot import CONTROL_DT, RobotCommand

TIMESTEP = 0.005
"""Physics step and, in real time, the period of states, [s]."""
COMMAND_TIMEOUT = 0.1
"""Silence after which a robot in real time goes to damping, [s]: five control periods."""

START_JOINT_POS = np.where(np.arange(NUM_JOINTS) < 12, READY_JOINT_POS, 0.0)
"""Joint angles at the start, [rad]: legs as in the ready pose, waist and arms straight."""


class SimulatedRobot:
    """The plant: one G1 with a racket on the ground, its motors' PD loops, and what it can measure.

    A subclass adds to the world by :meth:`advance`, :meth:`signals` and :meth:`summary`.

    Args:
        x, y: where it stands in the court frame, facing +x, [m].
        friction: of the feet on the ground.
    """

    name = "simulated G1"

    def __init__(self, x: float = 0.0, y: float = 0.0, friction: float = 0.8) -> None:
        self.model = build_model(timestep=TIMESTEP, friction=friction, self_collision=True)
        self.data = mujoco.MjData(self.model)
        self.mode = "stand"
        self.fallen = False
        self.warnings = 0
        mujoco.set_mju_user_warning(self._warned)
        self.data.qpos[:7] = [x, y, touching_height(), 1.0, 0.0, 0.0, 0.0]
        self.data.qpos[7:] = START_JOINT_POS
        self.data.ctrl[:] = START_JOINT_POS
        self._gantry: np.ndarray | None = self.data.qpos[:7].copy()
        mujoco.mj_forward(self.model, self.data)

    def command(self, command: RobotCommand) -> None:
        """Let the motors track a command until the next."""
        if command.mode == "play":
            self._gantry = None
        elif command.mode == "ramp" and self.mode == "play":
            self._gantry = self.data.qpos[:7].copy()
        self.mode = command.mode
        self.data.ctrl[:] = command.target
        self.model.actuator_gainprm[:, 0] = command.kp
        self.model.actuator_biasprm[:, 1] = -command.kp
        self.model.actuator_biasprm[:, 2] = -command.kd

    def advance(self) -> None:
        """One physics step of :data:`TIMESTEP`."""
        self.step_physics()

    def step_physics(self) -> None:
        """One physics step of the robot alone."""
        mujoco.mj_step(self.model, self.data)
        if self._gantry is not None:
            self.data.qpos[:7] = self._gantry
            self.data.qvel[:6] = 0.0
        x, y = self.data.qpos[4:6]
        if self.mode == "play" and (self.data.qpos[2] < 0.4 or 1.0 - 2.0 * (x * x + y * y) < 0.5):
            self.fallen = True

    def values(self) -> dict[str, np.ndarray]:
        """What the robot measures: ``torque`` and the terms that every state carries."""
        qpos, qvel = self.data.qpos, self.data.qvel
        return {
            "joint_pos": qpos[7:],
            "joint_vel": qvel[6:],
            "torque": self.data.actuator_force,
            "root_quat": qpos[3:7],
            "base_ang_vel": qvel[3:6],
            "root_pos": qpos[:3],
            "root_lin_vel": qvel[:3],
        }

    def signals(self) -> dict[str, np.ndarray]:
        """Further observation terms by name, always the same ones in the same order."""
        return {}

    def summary(self) -> dict[str, Any]:
        """The session as the simulation saw it, JSON-able."""
        return {"fell_while_playing": self.fallen, "physics_warnings": self.warnings}

    def _warned(self, *_: Any) -> None:
        # MuJoCo would write a log file into the working directory.
        self.warnings += 1


class Server:
    """Serves one robot to one controller at a time.

    Args:
        robot: the plant.
        realtime: states every :data:`TIMESTEP` by the clock; else each command advances the robot by
            :data:`CONTROL_DT` and is answered with the state after.
        host: address to listen on; leave it at this computer's own.
        port: 0 for any free one.
        once: end after the first session, or after ``patience`` without a controller.
        patience: [s].

    Attributes:
        port: where it listens.
        command_timeouts: how often commands stopped coming while the robot was driven.
        rejected: datagrams that were not used.
    """

    def __init__(
        self,
        robot: SimulatedRobot,
        *,
        realtime: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        once: bool = False,
        patience: float = 20.0,
    ) -> None:
        self.robot = robot
        self.realtime = realtime
        self.once = once
        self.patience = patience
        self.command_timeouts = 0
        self.rejected = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.port: int = self._socket.getsockname()[1]
        self._client: tuple[str, int] | None = None
        self._session = 0
        self._heard = time.monotonic()
        self._last_command = 0
        self._commanded: float | None = None
        self._state_sequence = 0
        self._clock = 0.0
        self._last_state = b""
        self._damped = False
        self._finished = False

    def run(self) -> None:
        """Serve until a session ends (with ``once``) or for ever."""
        if self.realtime:
            self._run_realtime()
        else:
            self._run_lockstep()
        self._socket.close()

    def _run_realtime(self) -> None:
        next_step = time.monotonic()
        while not self._done():
            self._handle_all()
            now = time.monotonic()
            driven = self._commanded is not None
            if driven and now - (self._commanded or 0.0) > COMMAND_TIMEOUT and not self._damped:
                self._damp()
            if driven:
                self.robot.advance()
            self._clock += TIMESTEP
            self._publish()
            next_step += TIMESTEP
            if now - next_step > 0.1:
                next_step = now  # the computer was away: go on from here rather than race
            while (left := next_step - time.monotonic()) > 0:
                if not select.select([self._socket], [], [], left)[0]:
                    break
                self._handle_all()

    def _run_lockstep(self) -> None:
        while not self._done():
            if select.select([self._socket], [], [], 0.2)[0]:
                self._handle_all()

    def _done(self) -> bool:
        if self._finished:
            return True
        return self.once and time.monotonic() - self._heard > self.patience

    def _handle_all(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # an earlier answer met a closed port
                continue
            try:
                self._handle(decode(data), sender)
            except MessageError:
                self.rejected += 1

    def _handle(self, message: Message, sender: tuple[str, int]) -> None:
        if message.kind is Kind.HELLO:
            silent = time.monotonic() - self._heard > 2.0
            if self._client is not None and message.session != self._session and not silent:
                self.rejected += 1
                return
            if message.session != self._session:
                self._client, self._session = sender, message.session
                self._last_command = 0
            self._heard = time.monotonic()
            self._send(Kind.WELCOME, 0, pack_json(self._welcome()))
            if not self.realtime:
                self._publish()
            return
        if message.session != self._session or sender != self._client:
            self.rejected += 1
            return
        self._heard = time.monotonic()
        if message.kind is Kind.COMMAND:
            self._take(message)
        elif message.kind is Kind.BYE:
            extra = {"command_timeouts": self.command_timeouts, "rejected": self.rejected}
            self._send(Kind.SUMMARY, 0, pack_json(self.robot.summary() | extra))
            self._damp(count=False)
            self._finished = self.once
            self._client, self._session = None, 0

    def _take(self, message: Message) -> None:
        if message.sequence == self._last_command and not self.realtime and self._last_state:
            self._transmit(self._last_state)  # its answer was lost
            return
        if message.sequence <= self._last_command:
            self.rejected += 1
            return
        command = unpack_command(message.payload)
        self._last_command = message.sequence
        self._commanded = time.monotonic()
        self._damped = False
        self.robot.command(command)
        if not self.realtime:
            for _ in range(round(CONTROL_DT / TIMESTEP)):
                self.robot.advance()
            self._clock += CONTROL_DT
            self._publish()

    def _damp(self, count: bool = True) -> None:
        self._damped = True
        self.command_timeouts += count
        self.robot.command(RobotCommand.damping(self.robot.values()["joint_pos"], KD))

    def _welcome(self) -> Mapping[str, Any]:
        return {
            "name": self.robot.name,
            "realtime": self.realtime,
            "control_dt": CONTROL_DT,
            "joint_names": list(JOINT_NAMES),
            "signals": {name: len(value) for name, value in self.robot.signals().items()},
        }

    def _publish(self) -> None:
        if self._client is None:
            return
        self._state_sequence += 1
        payload = pack_state(self.robot.values(), self.robot.signals(), self._last_command)
        self._last_state = self._send(Kind.STATE, self._state_sequence, payload)

    def _send(self, kind: Kind, sequence: int, payload: bytes) -> bytes:
        data = encode(Message(kind, self._session, sequence, self._clock, payload))
        self._transmit(data)
        return data

    def _transmit(self, data: bytes) -> None:
        if self._client is not None:
            try:
                self._socket.sendto(data, self._client)
            except OSError:
                self.rejected += 1


def arguments(description: str) -> argparse.ArgumentParser:
    """The command line that all simulated robots share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="UDP port on this computer, 0 for any free one")
    parser.add_argument("--lockstep", action="store_true", help="advance with each command, not by the clock")
    parser.add_argument("--once", action="store_true", help="end after the first session")
    parser.add_argument("--x", type=float, default=0.0, help="where the robot stands, m")
    parser.add_argument("--y", type=float, default=0.0)
    parser.add_argument("--friction", type=float, default=0.8, help="of the feet on the ground")
    return parser


def serve(robot: SimulatedRobot, options: argparse.Namespace) -> None:
    """Serve until told to end; the first line on stdout says where, as JSON."""
    server = Server(robot, realtime=not options.lockstep, port=options.port, once=options.once)
    print(json.dumps({"port": server.port, "robot": robot.name}), flush=True)
    try:
        server.run()
    except KeyboardInterrupt:
        sys.exit(130)


def main() -> None:
    options = arguments("A simulated G1 with a racket, without a court.").parse_args()
    serve(SimulatedRobot(options.x, options.y, options.friction), options)


if __name__ == "__main__":
    main()
