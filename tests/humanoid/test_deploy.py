"""rally-deploy as a user runs it: other processes, real sockets, honest exit codes."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from humanoid.approval import approve
from humanoid.bundle import PolicyBundle, write_bundle
from humanoid.controller import Controller, Schedule
from humanoid.deploy import Timing, drive, undisturbed
from humanoid.joints import READY_JOINT_POS
from humanoid.observation import Layout
from humanoid.robot import BODY_TERMS, RobotInfo, RobotState

from .conftest import LENIENT, StandPolicy, tiny_manifest, tiny_onnx

ROOT = Path(__file__).parents[2]
BLIND = ("joint_pos", "joint_vel", "base_ang_vel", "root_quat")
BLOCKED = ("torch", "mujoco", "pinocchio", "cv2", "gymnasium", "scipy", "tqdm", "onnx")


def environment(**changes):
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | changes


def deploy(folder, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "humanoid.deploy", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


QUICK = ("robot=simulated_bare", "robot.realtime=false", "schedule.ramp_in=0.4", "schedule.settle=0.2")


@pytest.fixture(scope="module")
def blind_bundle(tmp_path_factory):
    """A policy of the body alone, so that it plays without court and ball."""
    manifest = tiny_manifest()
    layout = Layout.of(BLIND)
    manifest["observation"] = layout.to_dict()
    return write_bundle(tmp_path_factory.mktemp("bundle") / "blind", tiny_onnx(layout.size), manifest)


def test_a_bundle_plays_on_a_simulated_robot_in_another_process(tmp_path, blind_bundle):
    result = deploy(tmp_path, f"policy={blind_bundle}", "duration=0.4", *QUICK)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "tiny on simulated G1" in result.stdout
    report = json.loads((tmp_path / "runs" / "deploy.json").read_text())
    assert report["safety"]["steps"] == 20
    assert report["phase"] == "done"
    assert report["faults"] == []
    assert len(report["bundle_sha256"]) == 64
    assert len(report["cycles"]["start_s"]) == report["timing"]["cycles"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]


def test_a_layout_that_the_robot_does_not_supply_is_refused(tmp_path, bundle_folder):
    result = deploy(tmp_path, f"policy={bundle_folder}", *QUICK)
    assert result.returncode == 2
    assert (
        "'tiny' observes ball_pos, ball_valid, which the robot (simulated G1) does not supply"
        in result.stderr
    )
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["policy=nonesuch"], "'nonesuch' is not among the released ones"),
        (["polcy=stand"], "unknown setting 'polcy'; did you mean policy?"),
        (["policy=stand", "duration=-1"], "duration=-1.0: give a positive"),
        (["policy=stand", "robot=udp"], "robot.port=0: give the UDP port"),
        (["policy=stand", "robot=udp", "robot.port=9"], "nobody approved bundle "),
        (["policy=stand", "robot.module=tests.humanoid.a_bridge"], "nobody approved bundle "),
        (["policy=stand", "robot.module=humanoid.no_such_robot"], "does not start: "),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, arguments, message):
    result = deploy(tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("rally-deploy: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_reads_well_and_leaves_nothing_behind(tmp_path):
    result = deploy(tmp_path, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("rally-deploy: run a policy on a robot at 50 Hz")
    assert "policy=strike robot=simulated duration=20" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_damps_the_robot_and_keeps_the_log(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "humanoid.deploy", "policy=stand", "robot=simulated_bare", "duration=30"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=20)
    assert process.returncode == 130, error
    assert "damped: interrupt: stopped by Ctrl-C" in output
    report = json.loads((tmp_path / "runs" / "deploy.json").read_text())
    assert report["phase"] == "damped"


def test_a_robot_that_dies_is_a_fault_and_ends_damped(tmp_path):
    robot = subprocess.Popen(
        [sys.executable, "-m", "humanoid.simulated_robot"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert robot.stdout is not None
        port = json.loads(robot.stdout.readline())["port"]
        stand = PolicyBundle.load("stand").bundle_sha256
        approve(tmp_path / "log", person="A", policy="stand", bundle_sha256=stand, use="tethered", days=1)
        allowed = ["approvals=log", "use=tethered"]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "humanoid.deploy",
                "policy=stand",
                "robot=udp",
                f"robot.port={port}",
                *allowed,
            ],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.3)
        robot.kill()
        output, error = process.communicate(timeout=20)
        assert process.returncode == 1, error
        assert "damped: stale: state is " in output
    finally:
        robot.kill()
        robot.wait()
        robot.stdout.close()


def test_the_robots_side_runs_without_trainer_renderer_and_physics():
    script = f"""
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ImportError(f"{{name}} must not be needed on the robot")
sys.meta_path.insert(0, Blocked())
import humanoid.deploy, humanoid.bundle, humanoid.controller, humanoid.safety, humanoid.udp_robot
print(sorted(name for name in sys.modules if name.split(".")[0] in {BLOCKED}))
"""
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "[]", result.stderr


# The loop, with a robot and a clock of our own


class QuietRobot:
    """Stands still; states get old when told to."""

    def __init__(self):
        self.commands = []
        self.silent_from = None
        self.reads = 0

    def read(self, timeout=0.0):
        silent = self.silent_from is not None and len(self.commands) >= self.silent_from
        self.reads += not silent
        return RobotState(
            time=float(self.reads),
            received=time.monotonic() - (1.0 if silent else 0.0),
            joint_pos=READY_JOINT_POS,
            joint_vel=np.zeros(29),
            torque=np.zeros(29),
            root_quat=np.array([1.0, 0, 0, 0]),
            base_ang_vel=np.zeros(3),
            root_pos=np.zeros(3),
            root_lin_vel=np.zeros(3),
        )

    def write(self, command):
        self.commands.append(command)


def a_controller(**schedule):
    times = {"ramp_in": 0.1, "play": 0.4, "ramp_out": 0.1, "settle": 0.1} | schedule
    robot = RobotInfo("quiet", True, dict(BODY_TERMS))
    return Controller(StandPolicy(), robot, Schedule(**times), watch=LENIENT)


def test_the_loop_keeps_its_rate():
    robot, controller = QuietRobot(), a_controller()
    timing = drive(robot, controller, realtime=True).report()
    assert timing["cycles"] == 36
    assert timing["rate_hz"] == pytest.approx(50.0, rel=0.05)


def test_late_states_end_in_damping_and_the_robot_hears_of_it():
    robot, controller = QuietRobot(), a_controller()
    robot.silent_from = 10
    drive(robot, controller, realtime=False)
    assert controller.phase == "damped"
    assert controller.faults[0].kind == "stale"
    assert [command.mode for command in robot.commands[:10]].count("damp") == 0
    assert {command.mode for command in robot.commands[10:]} == {"damp"}
    assert len(robot.commands) == 60


def test_a_cycle_that_overruns_is_not_hurried_after():
    robot, controller = QuietRobot(), a_controller()
    act, calls = controller.policy.act, []

    def slow(*arguments):
        calls.append(time.monotonic())
        if len(calls) == 5:
            time.sleep(0.11)
        return act(*arguments)

    controller.policy.act = slow
    timing = drive(robot, controller, realtime=True)
    assert timing.missed >= 4
    assert np.diff(calls).min() > 0.005


def test_the_garbage_collector_and_the_scheduler_are_put_back():
    before = os.sched_getscheduler(0)
    with undisturbed(True):
        assert not gc.isenabled()
    assert gc.isenabled()
    assert os.sched_getscheduler(0) == before


def test_timing_keeps_to_its_memory():
    timing = Timing(0.02, capacity=3)
    for cycle in range(10):
        timing.add(0.02 * cycle, 0.001, 0.0)
    report = timing.report()
    assert report["cycles"] == 10
    assert report["rate_hz"] == pytest.approx(50.0)
    assert report["compute_ms"]["max"] == pytest.approx(1.0)
    assert len(timing.series()["start_s"]) == 3
