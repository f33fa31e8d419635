"""The messages between a controller and a simulated robot: small, versioned, length-checked, with a CRC.

Layout, little endian: magic ``RLLY`` (4), version u8, kind u8, payload length u16, session u64, sequence u64,
time f64 [s], payload, CRC-32 of everything before it u32. Numbers in payloads are float32.

=========  ================  ====================================================================
kind       from              payload
=========  ================  ====================================================================
HELLO      controller        nothing
WELCOME    robot             JSON: name, realtime, control_dt, joint_names, signals {name: size}
STATE      robot             sequence of the last command u64; the body's values, then the signals
COMMAND    controller        mode u8; target, kp, kd, 29 each
BYE        controller        nothing
SUMMARY    robot             JSON
=========  ================  ====================================================================
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from humanoid.joints import NUM_JOINTS
from humanoid.robot import BODY_TERMS, MODES, RobotCommand, RobotState

MAGIC = b"RLLY"
VERSION = 1
_HEADER = struct.Struct("<4sBBHQQd")
_CRC = struct.Struct("<I")
MAX_SIZE = 60_000

_BODY: dict[str, int] = {"torque": NUM_JOINTS, **BODY_TERMS}
"""Values of a STATE in their order."""


class MessageError(ValueError):
    """Bytes that are not a message of this protocol."""


class Kind(IntEnum):
    HELLO = 1
    WELCOME = 2
    STATE = 3
    COMMAND = 4
    BYE = 5
    SUMMARY = 6


@dataclass(frozen=True)
class Message:
    """One datagram.

    Attributes:
        kind: what it is.
        session: random number that the controller chose; both sides ignore other sessions.
        sequence: grows by one with each message of a sender's kind.
        time: the sender's clock, [s].
        payload: see the module's text.
    """

    kind: Kind
    session: int
    sequence: int
    time: float
    payload: bytes = b""


def encode(message: Message) -> bytes:
    """Bytes of a message.

    Raises:
        MessageError: the payload is too large.
    """
    if len(message.payload) + _HEADER.size + _CRC.size > MAX_SIZE:
        raise MessageError(f"payload of {len(message.payload)} bytes is too large for a datagram")
    head = _HEADER.pack(
        MAGIC,
        VERSION,
        message.kind,
        len(message.payload),
        message.session,
        message.sequence,
        message.time,
    )
    body = head + message.payload
    return body + _CRC.pack(zlib.crc32(body))


def decode(data: bytes) -> Message:
    """Message of some bytes, wherever they come from.

    Raises:
        MessageError: wrong magic, version, length, checksum or kind; nothing else is raised.
    """
    if len(data) < _HEADER.size + _CRC.size:
        raise MessageError("too short")
    magic, version, kind, length, session, sequence, time = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise MessageError("not of this protocol")
    if version != VERSION:
        raise MessageError(f"protocol version {version}, this side speaks {VERSION}")
    if len(data) != _HEADER.size + length + _CRC.size:
        raise MessageError("wrong length")
    if _CRC.unpack_from(data, len(data) - _CRC.size)[0] != zlib.crc32(data[: -_CRC.size]):
        raise MessageError("wrong checksum")
    try:
        known = Kind(kind)
    except ValueError:
        raise MessageError(f"unknown kind {kind}") from None
    return Message(known, session, sequence, time, data[_HEADER.size : -_CRC.size])


def pack_state(values: Mapping[str, np.ndarray], signals: Mapping[str, np.ndarray], ack: int) -> bytes:
    """Payload of a STATE: body values by name (``torque`` and :data:`BODY_TERMS`) and signals in order."""
    parts = [values[name] for name in _BODY] + list(signals.values())
    return struct.pack("<Q", ack) + np.concatenate(parts).astype("<f4").tobytes()


def unpack_state(
    message: Message, signals: Mapping[str, int], received: float = 0.0
) -> tuple[RobotState, int]:
    """State and the sequence of the last command it knows of.

    Args:
        message: of kind STATE.
        signals: name to size, as in WELCOME.
        received: see :class:`RobotState`.

    Raises:
        MessageError: the payload has another length.
    """
    sizes = {**_BODY, **signals}
    payload = message.payload
    if len(payload) != 8 + 4 * sum(sizes.values()):
        raise MessageError("state of another length")
    numbers = np.frombuffer(payload, dtype="<f4", offset=8)
    parts, start = {}, 0
    for name, size in sizes.items():
        parts[name] = numbers[start : start + size]
        start += size
    body = {name: parts.pop(name) for name in _BODY}
    state = RobotState(time=message.time, received=received, signals=parts, **body)
    return state, struct.unpack_from("<Q", payload)[0]


def pack_command(command: RobotCommand) -> bytes:
    """Payload of a COMMAND."""
    numbers = np.concatenate([command.target, command.kp, command.kd]).astype("<f4")
    return bytes([MODES.index(command.mode)]) + numbers.tobytes()


def unpack_command(payload: bytes) -> RobotCommand:
    """Inverse of :func:`pack_command`.

    Raises:
        MessageError: wrong length or mode, numbers not finite, or negative gains.
    """
    if len(payload) != 1 + 4 * 3 * NUM_JOINTS or payload[0] >= len(MODES):
        raise MessageError("command of another length or mode")
    target, kp, kd = np.frombuffer(payload, dtype="<f4", offset=1).astype(np.float64).reshape(3, NUM_JOINTS)
    if not (np.isfinite(target).all() and np.isfinite(kp).all() and np.isfinite(kd).all()):
        raise MessageError("command is not finite")
    if (kp < 0.0).any() or (kd < 0.0).any():
        raise MessageError("command has negative gains")
    return RobotCommand(target, kp, kd, MODES[payload[0]])


def pack_json(data: Any) -> bytes:
    """Payload of a WELCOME or SUMMARY."""
    return json.dumps(data, separators=(",", ":")).encode()


def unpack_json(payload: bytes) -> dict[str, Any]:
    """Inverse of :func:`pack_json`.

    Raises:
        MessageError: not a JSON object.
    """
    try:
        data = json.loads(payload.decode())
    except (ValueError, RecursionError):
        raise MessageError("not JSON") from None
    if not isinstance(data, dict):
        raise MessageError("not a JSON object")
    return data
