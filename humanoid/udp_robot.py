"""A robot at the other end of a UDP socket, e.g. :mod:`humanoid.simulated_robot`."""

from __future__ import annotations

import secrets
import select
import socket
import time
from typing import Any

from humanoid.joints import JOINT_NAMES
from humanoid.message import (
    Kind,
    Message,
    MessageError,
    decode,
    encode,
    pack_command,
    unpack_json,
    unpack_state,
)
from humanoid.observation import TERMS
from humanoid.robot import BODY_TERMS, CONTROL_DT, RobotCommand, RobotError, RobotInfo, RobotState

RESEND = 0.05
"""In lockstep, time after which an unanswered command is sent again, [s]."""


class UdpRobot:
    """Client of the protocol in :mod:`humanoid.message`; implements :class:`humanoid.robot.Robot`.

    States that are older than the newest one (reordered, duplicated) or whose clock stands still are dropped,
    as is everything from other addresses and sessions or damaged on the way.

    Args:
        host, port: where the robot listens.
        connect_timeout: how long to knock, [s].
        reply_timeout: in lockstep, how long to wait for the state that answers a command, [s].

    Attributes:
        dropped: datagrams that were not used.
    """

    def __init__(
        self, host: str, port: int, *, connect_timeout: float = 5.0, reply_timeout: float = 2.0
    ) -> None:
        self.address = (host, port)
        self.dropped = 0
        self._connect_timeout = connect_timeout
        self._reply_timeout = reply_timeout
        self._socket: socket.socket | None = None
        self._session = secrets.randbits(63)
        self._sequence = 0
        self._last_state_sequence = -1
        self._state: RobotState | None = None
        self._ack = 0
        self._last_command = b""
        self._signals: dict[str, int] = {}
        self._info: RobotInfo | None = None

    def connect(self) -> RobotInfo:
        """See :class:`humanoid.robot.Robot`."""
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.connect(self.address)
        except (OSError, OverflowError) as error:
            raise RobotError(f"no robot at {self._where()}: {error}") from None
        deadline = time.monotonic() + self._connect_timeout
        problem = "nobody answers"
        while time.monotonic() < deadline:
            self._send(Kind.HELLO, b"")
            messages = self._receive(0.1)
            for message in messages:
                if message.kind is Kind.WELCOME:
                    self._info = self._understand(message.payload)
                    self._take(messages)
                    return self._info
            if self._refused:
                problem = "nothing listens there"
                time.sleep(0.1)
        raise RobotError(
            f"no robot at {self._where()}: {problem}; start one with python -m humanoid.simulated_robot, "
            "or let rally-deploy start it with robot=simulated"
        )

    def read(self, timeout: float = 0.0) -> RobotState:
        """See :class:`humanoid.robot.Robot`. In lockstep, waits for the answer to the last command."""
        lockstep = self._info is not None and not self._info.realtime
        before = self._state
        now = time.monotonic()
        deadline = now + (self._reply_timeout if lockstep else timeout)
        resend = now + RESEND
        while True:
            self._take(self._receive(0.0))
            fresh = self._ack == self._sequence if lockstep else self._state is not before
            if self._state is not None and fresh:
                return self._state
            now = time.monotonic()
            if now >= deadline:
                break
            if lockstep and now >= resend:
                self._transmit(self._last_command)
                resend = now + RESEND
            self._wait(min(deadline, resend if lockstep else deadline) - now)
        if self._state is None:
            raise RobotError(f"the robot at {self._where()} sends no states")
        return self._state

    def write(self, command: RobotCommand) -> None:
        """See :class:`humanoid.robot.Robot`."""
        self._sequence += 1
        self._last_command = self._send(Kind.COMMAND, pack_command(command))

    def close(self) -> dict[str, Any]:
        """See :class:`humanoid.robot.Robot`."""
        summary: dict[str, Any] = {}
        if self._socket is None:
            return summary
        deadline = time.monotonic() + 1.0
        while self._info is not None and not summary and time.monotonic() < deadline:
            self._send(Kind.BYE, b"")
            for message in self._receive(0.1):
                if message.kind is Kind.SUMMARY:
                    try:
                        summary = unpack_json(message.payload)
                    except MessageError:
                        self.dropped += 1
            if self._refused:
                break
        self._socket.close()
        self._socket = None
        return summary

    def _understand(self, payload: bytes) -> RobotInfo:
        where = self._where()
        try:
            welcome = unpack_json(payload)
            names = tuple(welcome["joint_names"])
            signals = {str(name): int(size) for name, size in welcome["signals"].items()}
            name, realtime = str(welcome["name"]), bool(welcome["realtime"])
            period = float(welcome["control_dt"])
        except (MessageError, KeyError, TypeError, ValueError, AttributeError):
            raise RobotError(
                f"the robot at {where} introduces itself in a way this version does not know"
            ) from None
        if names != JOINT_NAMES:
            raise RobotError(
                f"the robot at {where} has other joints or another joint order than this version"
            )
        if abs(period - CONTROL_DT) > 1e-9:
            raise RobotError(
                f"the robot at {where} has a control period of {period} s, policies run at {CONTROL_DT} s"
            )
        for signal, size in signals.items():
            if signal in BODY_TERMS or signal not in TERMS or TERMS[signal].size != size:
                raise RobotError(
                    f"the robot at {where} supplies {signal!r} with {size} values, "
                    "which is no known observation term of that size"
                )
        self._signals = signals
        return RobotInfo(name, realtime, {**BODY_TERMS, **signals})

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            if message.kind is not Kind.STATE:
                continue
            try:
                state, ack = unpack_state(message, self._signals, time.monotonic())
            except MessageError:
                self.dropped += 1
                continue
            old = self._state is not None and not state.time > self._state.time
            if message.sequence <= self._last_state_sequence or old:
                self.dropped += 1
                continue
            self._last_state_sequence, self._state, self._ack = message.sequence, state, ack

    def _receive(self, timeout: float) -> list[Message]:
        """All messages that have arrived, after waiting for the first."""
        self._refused = False
        self._wait(timeout)
        messages = []
        while self._socket is not None:
            try:
                data = self._socket.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                self._refused = True
                break
            try:
                message = decode(data)
            except MessageError:
                self.dropped += 1
                continue
            if message.session == self._session:
                messages.append(message)
            else:
                self.dropped += 1
        return messages

    def _wait(self, timeout: float) -> None:
        if self._socket is not None and timeout > 0.0:
            select.select([self._socket], [], [], timeout)

    def _send(self, kind: Kind, payload: bytes) -> bytes:
        data = encode(Message(kind, self._session, self._sequence, time.monotonic(), payload))
        self._transmit(data)
        return data

    def _transmit(self, data: bytes) -> None:
        """Send; a robot that is gone shows as states that stop coming, not here."""
        if self._socket is not None and data:
            try:
                self._socket.send(data)
            except OSError:
                self._refused = True

    def _where(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"
