"""Messages: what goes in comes out, and nothing else is let in."""

import contextlib
import struct
import zlib

import numpy as np
import pytest

from humanoid.joints import KD, KP, READY_JOINT_POS
from humanoid.message import (
    MAX_SIZE,
    Kind,
    Message,
    MessageError,
    decode,
    encode,
    pack_command,
    pack_json,
    pack_state,
    unpack_command,
    unpack_json,
    unpack_state,
)
from humanoid.robot import BODY_TERMS, RobotCommand

SIGNALS = {"ball_pos": np.array([1.0, 2.0, 3.0]), "ball_valid": np.array([1.0])}


def a_state() -> bytes:
    values = {name: np.arange(size) / 10 for name, size in {"torque": 29, **BODY_TERMS}.items()}
    return encode(Message(Kind.STATE, 7, 3, 1.5, pack_state(values, SIGNALS, ack=2)))


def a_command() -> bytes:
    return encode(Message(Kind.COMMAND, 7, 3, 1.5, pack_command(RobotCommand(READY_JOINT_POS))))


def test_a_state_survives_the_wire():
    message = decode(a_state())
    state, ack = unpack_state(message, {"ball_pos": 3, "ball_valid": 1}, received=9.0)
    assert (message.session, message.sequence, state.time, state.received, ack) == (7, 3, 1.5, 9.0, 2)
    for name, size in BODY_TERMS.items():
        np.testing.assert_allclose(getattr(state, name), np.arange(size) / 10, rtol=1e-6)
    np.testing.assert_array_equal(state.signals["ball_pos"], [1, 2, 3])
    assert state.terms()["joint_pos"].shape == (1, 29)


def test_a_command_survives_the_wire():
    command = RobotCommand(READY_JOINT_POS + 0.1, KP * 0.5, KD, "ramp")
    back = unpack_command(decode(encode(Message(Kind.COMMAND, 1, 1, 0.0, pack_command(command)))).payload)
    np.testing.assert_allclose(back.target, command.target, rtol=1e-6)
    np.testing.assert_allclose(back.kp, command.kp, rtol=1e-6)
    assert back.mode == "ramp"


def test_json_survives_the_wire():
    assert unpack_json(pack_json({"a": [1, None]})) == {"a": [1, None]}


@pytest.mark.parametrize("payload", [b"", b"[1]", b"{", b"\xff", b"[" * 50_000])
def test_other_than_a_json_object_is_refused(payload):
    with pytest.raises(MessageError):
        unpack_json(payload)


def resealed(data: bytes, **changes: int) -> bytes:
    """The message with header bytes changed and the checksum made right again."""
    body = bytearray(data[:-4])
    for position, value in changes.items():
        body[int(position[1:])] = value
    return bytes(body) + struct.pack("<I", zlib.crc32(bytes(body)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too short"),
        (a_state()[:20], "too short"),
        (a_state()[:-1], "wrong length"),
        (a_state() + b"x", "wrong length"),
        (b"HTTP" + a_state()[4:], "not of this protocol"),
        (resealed(a_state(), b4=2), "protocol version 2"),
        (resealed(a_state(), b5=99), "unknown kind 99"),
    ],
)
def test_damaged_messages_are_refused_with_the_reason(data, message):
    with pytest.raises(MessageError, match=message):
        decode(data)


def test_every_flipped_bit_is_noticed():
    good = a_command()
    for position in range(0, 8 * len(good), 7):
        data = bytearray(good)
        data[position // 8] ^= 1 << position % 8
        with pytest.raises(MessageError):
            decode(bytes(data))


def test_random_bytes_never_raise_anything_else():
    rng = np.random.default_rng(0)
    good = [a_state(), a_command()]
    for _ in range(5000):
        data = bytearray(good[rng.integers(2)])
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(len(data))] = rng.integers(256)
        data = data[: rng.integers(len(data) + 1)] if rng.random() < 0.3 else data
        if rng.random() < 0.5 and len(data) > 4:  # get past the checksum
            data = data[:-4] + struct.pack("<I", zlib.crc32(bytes(data[:-4])))
        with contextlib.suppress(MessageError):
            unpack_state(decode(bytes(data)), {"ball_pos": 3, "ball_valid": 1})
        with contextlib.suppress(MessageError):
            unpack_command(bytes(data))


def command_payload(**changes) -> bytes:
    fields = {"target": READY_JOINT_POS, "kp": KP, "kd": KD} | changes
    return pack_command(RobotCommand(**fields))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        command_payload()[:-1],
        b"\x09" + command_payload()[1:],
        command_payload(target=np.full(29, np.nan)),
        command_payload(kp=np.full(29, np.inf)),
        command_payload(kd=np.full(29, -1.0)),
    ],
)
def test_commands_that_no_motor_should_get_are_refused(payload):
    with pytest.raises(MessageError):
        unpack_command(payload)


def test_too_large_a_payload_is_not_sent():
    with pytest.raises(MessageError, match="too large"):
        encode(Message(Kind.SUMMARY, 1, 1, 0.0, b"x" * MAX_SIZE))
