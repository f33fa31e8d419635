"""The simulated robot and its client over real sockets: both sides lose, damage and repeat what they like."""

import socket
import threading
import time

import numpy as np
import pytest

from humanoid import simulated_robot
from humanoid.joints import KD, KP, NUM_JOINTS, READY_JOINT_POS
from humanoid.message import Kind, Message, encode, pack_command
from humanoid.model import build_model, touching_height
from humanoid.robot import RobotCommand, RobotError
from humanoid.simulated_robot import START_JOINT_POS, Server, SimulatedRobot
from humanoid.udp_robot import UdpRobot


@pytest.fixture
def serve():
    """Start servers in threads of this process; returns (server, connected client's maker)."""
    stops = []

    def start(realtime: bool) -> Server:
        server = Server(SimulatedRobot(), realtime=realtime, once=True, patience=20.0)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        stops.append((server, thread))
        return server

    yield start
    for server, thread in stops:
        server.patience = 0.0
        thread.join(timeout=3.0)
        assert not thread.is_alive()


def client(server: Server) -> UdpRobot:
    return UdpRobot("127.0.0.1", server.port, connect_timeout=3.0, reply_timeout=0.5)


def test_the_soles_stand_on_the_ground():
    model = build_model()
    robot = SimulatedRobot()
    lowest = min(
        robot.data.geom_xpos[i, 2] - model.geom_size[i, 0]
        for i in range(model.ngeom)
        if "foot" in model.geom(i).name
    )
    assert lowest == pytest.approx(0.0, abs=1e-9)
    assert 0.6 < touching_height() < 0.8


def test_the_motors_track_commands_with_the_commanded_gains():
    robot = SimulatedRobot()
    robot.command(RobotCommand(READY_JOINT_POS, KP, KD, "ramp"))
    for _ in range(300):
        robot.advance()
    arms = np.arange(NUM_JOINTS) >= 15
    assert np.abs(robot.values()["joint_pos"] - READY_JOINT_POS)[arms].max() < 0.15
    robot.command(RobotCommand.damping(READY_JOINT_POS))
    robot.advance()
    torque = robot.values()["torque"]
    np.testing.assert_allclose(torque, -KD * robot.values()["joint_vel"], atol=2.0)


def test_the_gantry_holds_until_play_and_again_after():
    robot = SimulatedRobot(x=-11.9)
    robot.command(RobotCommand(READY_JOINT_POS, mode="ramp"))
    for _ in range(100):
        robot.advance()
    assert robot.values()["root_pos"][0] == -11.9
    robot.command(RobotCommand(READY_JOINT_POS, mode="play"))
    for _ in range(20):
        robot.advance()
    where = robot.values()["root_pos"].copy()
    assert where[0] != -11.9
    robot.command(RobotCommand(READY_JOINT_POS, mode="ramp"))
    robot.advance()
    np.testing.assert_array_equal(robot.values()["root_pos"], where)


def test_lockstep_advances_one_control_period_a_command(serve):
    robot = client(serve(realtime=False))
    info = robot.connect()
    assert not info.realtime
    assert info.supplies["joint_pos"] == 29
    first = robot.read()
    np.testing.assert_allclose(first.joint_pos, START_JOINT_POS, atol=1e-6)
    times = []
    for _ in range(5):
        robot.write(RobotCommand(READY_JOINT_POS, mode="ramp"))
        times.append(robot.read().time)
    np.testing.assert_allclose(times, 0.02 * np.arange(1, 6), atol=1e-9)
    assert robot.close()["fell_while_playing"] is False


def test_lockstep_gives_the_same_every_time(serve):
    runs = []
    for _ in range(2):
        robot = client(serve(realtime=False))
        robot.connect()
        for _ in range(30):
            robot.write(RobotCommand(READY_JOINT_POS))
            state = robot.read()
        robot.close()
        runs.append(np.concatenate([state.joint_pos, state.root_pos, state.torque]))
    np.testing.assert_array_equal(*runs)


def test_a_lost_answer_is_asked_for_again(serve, monkeypatch):
    server = serve(realtime=False)
    robot = client(server)
    robot.connect()
    robot.read()
    publish, losses = server._transmit, iter([True, True, False])
    monkeypatch.setattr(server, "_transmit", lambda data: None if next(losses, False) else publish(data))
    robot.write(RobotCommand(READY_JOINT_POS))
    state = robot.read()
    assert state.time == pytest.approx(0.02)
    robot.close()


def test_in_real_time_states_come_by_the_clock(serve):
    robot = client(serve(realtime=True))
    assert robot.connect().realtime
    first = robot.read(timeout=1.0)
    time.sleep(0.2)
    later = robot.read()
    assert later.time - first.time == pytest.approx(0.2, abs=0.1)
    assert time.monotonic() - later.received < 0.1
    robot.close()


def test_silence_damps_the_robot(serve):
    server = serve(realtime=True)
    robot = client(server)
    robot.connect()
    robot.write(RobotCommand(READY_JOINT_POS, mode="ramp"))
    deadline = time.monotonic() + 3.0
    while server.robot.mode != "damp" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.robot.mode == "damp"
    assert (server.robot.model.actuator_gainprm[:, 0] == 0.0).all()
    assert robot.close()["command_timeouts"] == 1


def test_a_robot_that_dies_shows_as_states_that_stop(serve):
    server = serve(realtime=True)
    robot = client(server)
    robot.connect()
    robot.read(timeout=1.0)
    server._finished = True
    time.sleep(0.1)
    old = robot.read()
    time.sleep(0.1)
    assert robot.read() is old
    assert robot.close() == {}


def test_nobody_there_is_an_error_that_says_what_to_do():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(RobotError, match=f"no robot at 127.0.0.1:{port}.*start one with"):
        UdpRobot("127.0.0.1", port, connect_timeout=0.3).connect()


def test_only_the_first_controller_is_listened_to(serve):
    server = serve(realtime=False)
    robot = client(server)
    robot.connect()
    robot.read()
    rival = UdpRobot("127.0.0.1", server.port, connect_timeout=0.3)
    with pytest.raises(RobotError):
        rival.connect()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        payload = pack_command(RobotCommand(np.zeros(29)))
        forger.sendto(
            encode(Message(Kind.COMMAND, robot._session, 99, 0.0, payload)), ("127.0.0.1", server.port)
        )
        forger.sendto(b"garbage", ("127.0.0.1", server.port))
    robot.write(RobotCommand(READY_JOINT_POS, mode="ramp"))
    assert robot.read().time == pytest.approx(0.02)
    assert server.rejected >= 3
    robot.close()


def test_old_and_repeated_commands_are_ignored(serve):
    server = serve(realtime=False)
    robot = client(server)
    robot.connect()
    for _ in range(2):
        robot.write(RobotCommand(READY_JOINT_POS, mode="ramp"))
        robot.read()
    old = Message(Kind.COMMAND, robot._session, 1, 0.0, pack_command(RobotCommand(np.zeros(29))))
    robot._transmit(encode(old))
    robot._transmit(robot._last_command)
    time.sleep(0.05)
    robot.write(RobotCommand(READY_JOINT_POS, mode="ramp"))
    assert robot.read().time == pytest.approx(0.06)
    robot.close()


def test_reordered_duplicated_and_damaged_states_are_dropped():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as fake:
        fake.bind(("127.0.0.1", 0))
        fake.settimeout(2.0)
        robot = UdpRobot("127.0.0.1", fake.getsockname()[1])
        plant = SimulatedRobot()
        welcome = Server(plant, realtime=True)._welcome()
        result = {}
        thread = threading.Thread(target=lambda: result.update(info=robot.connect()))
        thread.start()
        data, address = fake.recvfrom(65536)
        session = simulated_robot.decode(data).session
        send = lambda kind, sequence, clock, payload: fake.sendto(  # noqa: E731
            encode(Message(kind, session, sequence, clock, payload)), address
        )
        send(Kind.WELCOME, 0, 0.0, simulated_robot.pack_json(welcome))
        thread.join()
        payload = simulated_robot.pack_state(plant.values(), {}, 0)
        send(Kind.STATE, 5, 0.5, payload)
        send(Kind.STATE, 4, 0.4, payload)  # overtaken
        send(Kind.STATE, 5, 0.5, payload)  # twice
        send(Kind.STATE, 6, 0.5, payload)  # a clock that stands still
        send(Kind.STATE, 7, 0.7, payload[:-4])  # of another length
        fake.sendto(b"RLLYgarbage", address)
        time.sleep(0.05)
        assert robot.read().time == 0.5
        assert robot.dropped == 5
        send(Kind.STATE, 8, 0.8, payload)
        assert robot.read(timeout=0.5).time == 0.8
        robot._info = None
        robot.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint_names": ["tail"]}, "other joints"),
        ({"signals": {"ball_pos": 4}}, "'ball_pos' with 4 values"),
        ({"signals": {"ball_colour": 3}}, "'ball_colour'"),
        ({"signals": None}, "introduces itself"),
        ({"control_dt": 0.01}, "control period of 0.01 s"),
    ],
)
def test_a_robot_that_does_not_fit_is_refused(serve, monkeypatch, change, message):
    server = serve(realtime=False)
    welcome = dict(server._welcome()) | change
    monkeypatch.setattr(server, "_welcome", lambda: welcome)
    with pytest.raises(RobotError, match=message):
        client(server).connect()
