"""The controller: phases in their order, and damping for good when anything is wrong."""

import json
from dataclasses import replace
from itertools import count, pairwise

import numpy as np
import pytest

from humanoid.bundle import PolicyBundle
from humanoid.controller import Controller, ControllerError, Schedule
from humanoid.joints import EFFORT_LIMIT, JOINT_INDEX, NUM_JOINTS, READY_JOINT_POS
from humanoid.robot import BODY_TERMS, RobotInfo, RobotState
from humanoid.safety import pd_torque

from .conftest import LENIENT, StandPolicy

INFO = RobotInfo("test robot", False, dict(BODY_TERMS))
SCHEDULE = Schedule(ramp_in=0.4, play=0.2, ramp_out=0.1, settle=0.1)
KNEE = JOINT_INDEX["left_knee_joint"]


ALIVE = np.random.default_rng(0)
CYCLE = count()


def state(joint_pos=READY_JOINT_POS, **changes) -> RobotState:
    """The next state of a robot that stands; like that of any sensor, no reading is quite the one before."""
    still = RobotState(
        time=0.02 * next(CYCLE),
        received=0.0,
        joint_pos=np.asarray(joint_pos, dtype=np.float32),
        joint_vel=ALIVE.normal(0, 1e-6, 29).astype(np.float32),
        torque=np.zeros(29),
        root_quat=np.array([1.0, 0, 0, 0]),
        base_ang_vel=ALIVE.normal(0, 1e-6, 3),
        root_pos=np.array([0, 0, 0.75]),
        root_lin_vel=ALIVE.normal(0, 1e-6, 3),
    )
    return replace(still, **changes)


def follow(controller, cycles, start=READY_JOINT_POS):
    """Commands to a robot that reaches every target at once."""
    commands, q = [], np.asarray(start)
    for _ in range(cycles):
        commands.append(controller.step(state(q)))
        q = commands[-1].target
    return commands


class Wild(StandPolicy):
    """Whatever its function gives."""

    name = "wild"

    def __init__(self, function):
        super().__init__()
        self.function = function

    def act(self, observation, memory=None):
        return self.function(), np.zeros((1, 0))


def test_phases_follow_the_schedule():
    controller = Controller(StandPolicy(), INFO, SCHEDULE)
    phases = []
    for _ in range(42):
        controller.step(state())
        phases.append(controller.phase)
    assert phases == ["ramp_in"] * 20 + ["play"] * 10 + ["ramp_out"] * 5 + ["settle"] * 5 + ["done"] * 2
    assert controller.finished
    assert controller.faults == []


def test_the_ramp_begins_where_the_robot_is_and_has_no_jumps():
    start = READY_JOINT_POS * 0.0 + np.where(np.arange(29) == KNEE, 1.2, 0.0)
    commands = follow(Controller(StandPolicy(), INFO, replace_schedule(ramp_in=2.0)), 100, start)
    targets = np.array([command.target for command in commands])
    np.testing.assert_allclose(targets[0], start, atol=1e-6)
    np.testing.assert_allclose(targets[-1], READY_JOINT_POS, atol=2e-3)
    assert np.abs(np.diff(targets, axis=0)).max() < 0.02


def replace_schedule(**changes):
    return replace(SCHEDULE, **changes)


def test_stiffness_fades_at_the_end_and_damping_stays():
    controller = Controller(StandPolicy(), INFO, SCHEDULE)
    commands = follow(controller, 42)
    stiffness = [command.kp[KNEE] for command in commands]
    assert stiffness[:35] == [stiffness[0]] * 35
    assert all(a >= b for a, b in pairwise(stiffness[35:]))
    assert stiffness[-1] == 0.0
    assert [command.mode for command in commands[:31:10]] == ["ramp", "ramp", "play", "ramp"]
    assert commands[-1].mode == "damp"
    assert (commands[-1].kd > 0).all()


@pytest.mark.parametrize("phase_cycle", [3, 25, 32, 37])
@pytest.mark.parametrize(
    ("changes", "age", "kind"),
    [
        ({"root_quat": np.array([0.7, 0.0, 0.714, 0.0])}, 0.0, "tilt"),
        ({"joint_vel": np.full(29, np.nan)}, 0.0, "non_finite"),
        ({}, 0.5, "stale"),
    ],
)
def test_a_fault_damps_for_good_in_every_phase(phase_cycle, changes, age, kind):
    controller = Controller(StandPolicy(), INFO, SCHEDULE)
    follow(controller, phase_cycle)
    command = controller.step(state(**changes), age)
    assert controller.phase == "damped"
    assert [fault.kind for fault in controller.faults] == [kind]
    assert (command.kp == 0.0).all()
    again = controller.step(state())
    assert again.mode == "damp"
    assert (again.kp == 0.0).all()
    assert len(controller.faults) == 1


def test_a_measured_pose_that_is_not_finite_gives_a_finite_command():
    controller = Controller(StandPolicy(), INFO, SCHEDULE)
    command = controller.step(state(np.full(29, np.nan)))
    assert np.isfinite(command.target).all()
    assert command.mode == "damp"


def _raise():
    raise RuntimeError("no such tensor\nsecond line")


def test_a_policy_that_fails_damps_the_robot():
    controller = Controller(Wild(_raise), INFO, replace_schedule(ramp_in=0.0))
    assert controller.step(state()).mode == "damp"
    (fault,) = controller.faults
    assert fault.kind == "policy"
    assert fault.detail == "the policy failed (no such tensor"


def test_a_policy_of_another_action_size_damps_the_robot():
    controller = Controller(Wild(lambda: np.zeros((1, 26))), INFO, replace_schedule(ramp_in=0.0))
    assert controller.step(state()).mode == "damp"
    assert controller.faults[0].kind == "policy"


def test_a_wild_policy_meets_the_shield():
    rng = np.random.default_rng(0)
    wild = Wild(lambda: np.where(rng.random((1, 29)) < 0.1, np.nan, rng.normal(0, 100, (1, 29))))
    controller = Controller(wild, INFO, replace_schedule(ramp_in=0.0, play=2.0), watch=LENIENT)
    for _ in range(100):
        measured = state(joint_vel=rng.normal(0, 3, 29))
        command = controller.step(measured)
        torque = pd_torque(command.target, measured.joint_pos, measured.joint_vel, command.kp, command.kd)
        assert np.isfinite(command.target).all()
        # What a joint travels in a period may be asked for beforehand.
        ahead = command.kp * 0.02 * measured.joint_vel
        assert (torque <= EFFORT_LIMIT * (1 + 1e-6) + np.maximum(ahead, 0)).all()
        assert (torque >= -EFFORT_LIMIT * (1 + 1e-6) + np.minimum(ahead, 0)).all()
    assert controller.phase == "play"
    report = controller.report()
    assert report["interventions"]["non_finite"] > 100
    assert report["interventions"]["torque"] > 0
    assert report["safety"]["torque_violations"] > 0
    assert report["safety"]["non_finite"] == report["interventions"]["non_finite"]
    assert report["safety"]["steps"] == 100


def test_a_policy_that_observes_more_than_the_robot_supplies_is_refused(bundle_folder):
    with pytest.raises(
        ControllerError, match=r"'tiny' observes ball_pos, ball_valid, which the robot \(test"
    ):
        Controller(PolicyBundle.load(bundle_folder), INFO)


def test_a_signal_of_another_size_is_refused(bundle_folder):
    info = RobotInfo("test robot", False, {**BODY_TERMS, "ball_pos": 2, "ball_valid": 1})
    with pytest.raises(ControllerError, match="ball_pos with 3 values"):
        Controller(PolicyBundle.load(bundle_folder), info)


def test_a_bundle_plays_with_its_memory_carried_on(bundle_folder):
    info = RobotInfo("test robot", False, {**BODY_TERMS, "ball_pos": 3, "ball_valid": 1})
    controller = Controller(
        PolicyBundle.load(bundle_folder), info, replace_schedule(ramp_in=0.0), watch=LENIENT
    )
    ball = {"ball_pos": np.zeros(3), "ball_valid": np.zeros(1)}
    for _ in range(5):
        assert controller.step(state(signals=ball)).mode == "play"
    np.testing.assert_array_equal(controller._memory, np.full((1, 4), 5.0))


def test_a_lying_ball_damps_only_a_policy_that_looks_at_it(bundle_folder):
    nonsense = {"ball_pos": np.full(3, np.nan), "ball_valid": np.ones(1)}
    info = RobotInfo("test robot", False, {**BODY_TERMS, "ball_pos": 3, "ball_valid": 1})
    blind = Controller(StandPolicy(), info, SCHEDULE)
    blind.step(state(signals=nonsense))
    assert blind.faults == []
    seeing = Controller(PolicyBundle.load(bundle_folder), info, SCHEDULE)
    seeing.step(state(signals=nonsense))
    assert [fault.kind for fault in seeing.faults] == ["non_finite"]


def test_only_play_is_monitored():
    controller = Controller(StandPolicy(), INFO, SCHEDULE)
    follow(controller, 42)
    assert controller.monitor.steps == 10
    assert len(controller.report()["safety"]["by_joint"]) == NUM_JOINTS


def test_what_the_watch_finds_ends_the_play_with_its_reason():
    controller = Controller(StandPolicy(), INFO, replace_schedule(ramp_in=0.0, play=2.0))
    for _ in range(10):
        assert controller.step(state()).mode == "play"
    for _ in range(8):
        # A motor that pulls though nothing was asked of it.
        controller.step(state(torque=np.where(np.arange(29) == KNEE, EFFORT_LIMIT, 0.0)))
    assert controller.phase == "damped"
    (fault,) = controller.faults
    assert fault.kind == "servo"
    assert fault.detail.startswith("servo is 1 (left_knee_joint), above 0.5 for 8 control steps: ")
    watch = controller.report()["watch"]
    assert watch["level"] == "stop"
    assert watch["steps"] == 18
    assert watch["worst"]["servo"] == pytest.approx(1.0, abs=1e-3)
    assert [
        (cause["check"], cause["level"], cause["step"])
        for cause in watch["causes"]
        if cause["check"] == "servo"
    ] == [
        ("servo", "warn", 10),
        ("servo", "stop", 17),
    ]
    json.dumps(watch, allow_nan=False)


def test_ramps_are_not_watched():
    """A robot that hangs in its gantry has no soles on the ground."""
    controller = Controller(StandPolicy(), INFO, replace_schedule(play=0.0))
    for _ in range(42):
        controller.step(state(root_pos=np.array([0, 0, 1.5])))
    assert controller.phase == "done"
    assert controller.report()["watch"]["steps"] == 0
