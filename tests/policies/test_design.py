"""Designing strokes: they meet their goals and keep their balance."""

from dataclasses import replace

import numpy as np
import pinocchio as pin
import pytest

from humanoid.dynamics import velocities
from humanoid.joints import LOWER, UPPER
from humanoid.kinematics import default_pinocchio, to_pinocchio
from humanoid.motion import RobotMotion
from humanoid.racket import ARM_JOINTS
from mocap.plant import PlantConfig, ready_stance, zero_moment_point
from policies import design
from policies.design import RacketGoal, Replay, adapt, miss, score
from policies.strokes import STROKE_FOLDER

HUMAN = STROKE_FOLDER.parent / "strokes_caldas"


def racket_of(motion: RobotMotion, face: float) -> RacketGoal:
    """Racket at the strike by Pinocchio."""
    model = default_pinocchio()
    data = model.createData()
    t = round(motion.strokes[0].strike_s * motion.fps)
    v = velocities(motion.root_pos, motion.root_quat, motion.joint_pos, motion.fps)[t]
    q = to_pinocchio(motion.root_pos, motion.root_quat, motion.joint_pos)[t]
    pin.forwardKinematics(model, data, q, v)
    frame = model.getFrameId("racket")
    placement = pin.updateFramePlacement(model, data, frame)
    velocity = pin.getFrameVelocity(model, data, frame, pin.LOCAL_WORLD_ALIGNED).linear
    return RacketGoal(placement.translation.copy(), velocity.copy(), face * placement.rotation[:, 2])


@pytest.fixture(scope="module", params=["forehand", "backhand"])
def adapted(request):
    """The human stroke with most room to its joints' limits at the strike, planted, and adapted to a racket
    8 cm and 8° away that is 1 m/s slower."""
    face = 1.0 if request.param == "forehand" else -1.0

    def room(motion: RobotMotion) -> float:
        arm = motion.joint_pos[round(motion.strokes[0].strike_s * motion.fps), ARM_JOINTS]
        return np.minimum(arm - LOWER[ARM_JOINTS], UPPER[ARM_JOINTS] - arm).min()

    planted = max(design.plant_all(HUMAN, request.param), key=room)
    own = racket_of(planted, face)
    turn = pin.exp3(np.array([0.0, -0.1, 0.1]))
    slower = own.vel * (1 - 1 / np.linalg.norm(own.vel))
    goal = RacketGoal(own.pos + np.array([0.03, 0.02, -0.07]), slower, turn @ own.normal)
    return adapt(planted, goal, face), goal, face


def test_an_adapted_stroke_meets_its_goal(adapted):
    motion, goal, face = adapted
    got = racket_of(motion, face)
    assert np.linalg.norm(got.pos - goal.pos) < 0.01
    assert np.degrees(np.arccos(np.clip(got.normal @ goal.normal, -1, 1))) < 1.0
    assert np.linalg.norm(got.vel - goal.vel) < 0.5


def test_its_zero_moment_point_stays_over_the_feet(adapted):
    motion, *_ = adapted
    zmp = zero_moment_point(motion.root_pos, motion.root_quat, motion.joint_pos, motion.fps)
    middle = np.mean([sole.translation[:2] for sole in ready_stance()[1]], axis=0)
    assert (np.abs(zmp - middle).max(axis=0) < np.array(PlantConfig().support) + 0.01).all()


def test_its_joints_stay_in_their_limits(adapted):
    motion, *_ = adapted
    assert (motion.joint_pos >= LOWER - 1e-9).all()
    assert (motion.joint_pos <= UPPER + 1e-9).all()


def goal_at(x: float = 0.0) -> RacketGoal:
    return RacketGoal(np.array([x, 0, 0]), np.array([8.0, 0, 0]), np.array([1.0, 0, 0]))


def replayed(goal: RacketGoal, fallen: bool = False, root_error: float = 0.0) -> Replay:
    return Replay(goal, np.zeros((2, 29)), fallen, root_error, 0.0, 0.0)


def test_a_miss_is_distance_angle_and_speed():
    other = RacketGoal(np.array([0, 0.1, 0]), np.array([8.0, 0, 2.0]), np.array([0, 1.0, 0]))
    assert miss(replayed(other), goal_at()) == pytest.approx((0.1, np.pi / 2, 2.0))


def test_scores_order_replays_and_falls_come_last():
    goal = goal_at()
    marks = [
        score(replayed(goal), goal),
        score(replayed(goal, root_error=0.01), goal),
        score(replayed(goal_at(0.2)), goal),
        score(replayed(goal, fallen=True), goal),
    ]
    assert marks[0] == pytest.approx(0.0, abs=1e-6)
    assert marks == sorted(marks)
    assert score(replayed(goal_at(0.1)), goal) == pytest.approx(1.0, abs=1e-6)


def test_a_set_is_replaced_but_keeps_its_licence(tmp_path):
    motion = RobotMotion.load(sorted(STROKE_FOLDER.glob("*.npz"))[0])
    (tmp_path / "LICENSE").write_text("share alike")
    motion.save(tmp_path / "old_01.npz")
    design.clear(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["LICENSE"]
    goal = goal_at()
    design.write(tmp_path, "forehand_07", replace(motion, name="human"), replayed(goal), goal, 0.5)
    design.manifest(tmp_path)
    written = RobotMotion.load(tmp_path / "forehand_07.npz")
    assert written.name == "forehand_07"
    assert written.provenance["designed_from"] == "human"
    assert written.provenance["delivers"]["vel_m_s"] == [8.0, 0.0, 0.0]
    assert '"name": "forehand_07"' in (tmp_path / "manifest.json").read_text()
