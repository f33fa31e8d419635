"""Designing strokes: they meet their goals in simulation, and a family says what its strokes said."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from humanoid.joints import LOWER, UPPER
from humanoid.motion import RobotMotion
from humanoid.trajectory import FrameState, Solution
from mocap.plant import plant
from policies.chain import foot_chain
from policies.design import (
    BOX,
    FACE,
    GOAL_SCALE,
    HUMAN_FOLDER,
    MANNER,
    PLANT,
    PLANTED_FOLDER,
    Designer,
    Guess,
    Replay,
    Round,
    Simulator,
    Stroke,
    fit_family,
    miss,
    reachable_goals,
    ridge,
    tables,
    write_family,
    write_motions,
)
from policies.goals import GoalError
from policies.strokes import COLUMNS, FEATURES, GOAL_SIZE, KINDS, features, load_strokes, provenance

LINEAR = Round(
    quadratic=False, joint=0.2, pelvis=0.4, ridge=1e-9, iterations=6, replays=2, planned=False
)  # fmt: skip
NAMES = sorted(file.stem for file in PLANTED_FOLDER.glob("*.npz"))


@pytest.fixture(scope="module")
def simulator():
    return Simulator()


@pytest.fixture(scope="module")
def planted():
    human = RobotMotion.load(HUMAN_FOLDER / f"{MANNER['forehand']}.npz")
    return plant(human, human.strokes[0], PLANT)


def vector(state: FrameState) -> np.ndarray:
    return np.concatenate([state.pos, state.vel, state.normal])


@pytest.fixture(scope="module")
def designed():
    """A designer, and its strokes for a goal some centimetres, degrees and 0.6 m/s from the human one's and for a
    second one near it."""
    designer = Designer("forehand")
    human = vector(designer.optimizer.state(designer.optimizer.style))
    goal = human + np.array([0.02, 0.03, -0.05, -0.5, 0.3, 0.2, 0.0, 0.05, 0.05])
    goal[6:] /= np.linalg.norm(goal[6:])
    first = designer.first(goal, [])
    second = designer.first(goal + np.array([0.02, 0.0, 0.03, 0.2, 0, 0, 0, 0, 0]), [first])
    return designer, first, second


@pytest.fixture(scope="module")
def nonsense(planted):
    """Sixty short strokes, every frame but the ends linear in the goal, each of which delivers its goal."""
    rng = np.random.default_rng(0)
    frames = 7
    short = replace(
        planted,
        root_pos=planted.root_pos[:frames],
        root_quat=planted.root_quat[:frames],
        joint_pos=np.tile(planted.joint_pos[0], (frames, 1)),
        contacts=planted.contacts[:frames],
        strokes=(replace(planted.strokes[0], strike_s=0.06, end_s=0.12),),
    )
    lever, pull = 0.02 * rng.standard_normal((GOAL_SIZE, 17)), rng.standard_normal((GOAL_SIZE, 21 * 4))
    bump = np.sin(np.linspace(0, np.pi, frames))[:, None]
    strokes = []
    for u in rng.standard_normal((60, GOAL_SIZE)):
        goal = np.append(GOAL_SCALE * u, 0.0)[[0, 1, 2, 3, 4, 5, 8, 6, 7]]
        goal[6] = 1.0
        joints = short.joint_pos.copy()
        joints[:, 12:] += bump * (u @ lever)
        motion = replace(short, joint_pos=joints)
        racket = FrameState(goal[:3], goal[3:6], goal[6:])
        asked = FrameState(goal[:3] + 0.01, goal[3:6], goal[6:])
        solution = Solution(motion, (u @ pull).reshape(21, 4), 1.0, (0.0, 0.0, 0.0), 0.5, 0.0)
        strokes.append(Stroke(goal, asked, solution, Replay(racket, False, 0.01, 0.0, 0.0), (0.0, 0.0, 0.0)))
    return strokes


# Strokes


def test_a_designed_stroke_meets_its_goal_in_simulation(designed):
    _, first, second = designed
    for stroke in (first, second):
        off, angle, slow = miss(stroke.replay.racket, stroke.goal)
        assert stroke.sound
        assert off < 0.01
        assert angle < np.deg2rad(1.5)
        assert slow < 0.2
        assert stroke.miss == (off, angle, slow)
        assert stroke.replay.root_error < 0.05


def test_replays_teach_what_to_ask_for(designed, simulator):
    """Asked for the goal itself, the racket ends up farther from it."""
    designer, first, _ = designed
    naive = designer.optimizer.solve(
        FrameState(first.goal[:3], first.goal[3:6], first.goal[6:]), first.solution.coefficients, 6
    )
    off = miss(simulator.replay(naive.motion, 1.0).racket, first.goal)
    assert off[0] > 3 * first.miss[0]
    assert np.linalg.norm(vector(first.asked) - first.goal) > 0.01


def test_near_a_guess_a_stroke_is_designed_in_its_manner(designed):
    """The guess says the second stroke for every goal."""
    designer, first, second = designed

    class Same(Guess):
        def __init__(self) -> None:
            pass

        def __call__(self, goal):
            return second.solution.coefficients, vector(second.asked) - second.goal

    stroke = designer.near(first.goal, Same(), replace(LINEAR, joint=0.02, pelvis=0.2))
    assert stroke.sound
    assert stroke.miss[0] < 0.02

    def apart(other: Stroke) -> float:
        return float(np.abs(stroke.solution.coefficients[7:14] - other.solution.coefficients[7:14]).max())

    assert apart(second) < 0.1, "the idle arm does as the guess says"


def test_a_replayed_stroke_is_the_one_that_was_written(designed, simulator, tmp_path):
    _, first, second = designed
    (tmp_path / "old_01.npz").write_bytes(b"")
    write_motions({"forehand": [first, second]}, tmp_path, count=2)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "LICENSE", "forehand_01.npz", "forehand_02.npz", "manifest.json"
    ]  # fmt: skip
    rows = json.loads((tmp_path / "manifest.json").read_text())["strokes"]
    assert [row["name"] for row in rows] == ["forehand_01", "forehand_02"]
    for row in rows:
        motion = RobotMotion.load(tmp_path / f"{row['name']}.npz")
        said = motion.provenance["delivers"]
        assert said == row["delivers"]
        goal = np.concatenate([said["pos_m"], said["vel_m_s"], said["normal"]])
        replay = simulator.replay(motion, FACE[motion.strokes[0].kind])
        off, angle, slow = miss(replay.racket, goal)
        assert not replay.fallen
        assert off < 0.003
        assert angle < np.deg2rad(0.5)
        assert slow < 0.1


def test_a_robot_that_stands_still_stays(planted, simulator):
    still = replace(
        planted,
        root_pos=np.tile(planted.root_pos[0], (planted.num_frames, 1)),
        root_quat=np.tile(planted.root_quat[0], (planted.num_frames, 1)),
        joint_pos=np.tile(planted.joint_pos[0], (planted.num_frames, 1)),
    )
    replay = simulator.replay(still, 1.0)
    assert not replay.fallen
    assert replay.root_error < 0.01
    assert replay.joint_error < 0.01
    assert np.linalg.norm(replay.racket.vel) < 0.05


def test_a_robot_that_tips_over_has_fallen(planted, simulator):
    """Leaning half a metre to the side, it never comes to its strike."""
    wild = planted.joint_pos.copy()
    wild[5:, [1, 7]] = UPPER[1], LOWER[7]
    replay = simulator.replay(replace(planted, joint_pos=wild), 1.0)
    assert replay.fallen
    racket = FrameState(np.zeros(3), np.zeros(3), np.array([1.0, 0, 0]))
    stroke = Stroke(
        vector(racket), racket, Solution(planted, np.zeros(0), 0.0, (0, 0, 0), 0.5, 0.0), replay, (0, 0, 0)
    )
    assert not stroke.sound


@pytest.mark.parametrize(
    ("change", "sound"),
    [
        ({}, True),
        ({"miss": (0.1, 0.0, 0.0)}, False),
        ({"zmp_outside": 0.1}, False),
        ({"torque_share": 1.5}, False),
        ({"fallen": True}, False),
    ],
)
def test_strokes_that_cannot_be_done_teach_nothing(nonsense, change, sound):
    stroke = nonsense[0]
    stroke = replace(
        stroke,
        miss=change.get("miss", stroke.miss),
        replay=replace(stroke.replay, fallen=change.get("fallen", False)),
        solution=replace(
            stroke.solution,
            **{key: value for key, value in change.items() if key in ("zmp_outside", "torque_share")},
        ),
    )
    assert stroke.sound == sound


def test_a_miss_is_distance_angle_and_speed():
    goal = np.array([0, 0, 0, 8.0, 0, 0, 1.0, 0, 0])
    other = FrameState(np.array([0, 0.1, 0]), np.array([8.0, 0, 2.0]), np.array([0, 1.0, 0]))
    assert miss(other, goal) == pytest.approx((0.1, np.pi / 2, 2.0))


# Fits


def test_ridge_without_strength_is_least_squares_and_with_it_shrinks_to_the_mean():
    rng = np.random.default_rng(0)
    u = rng.standard_normal((200, GOAL_SIZE))
    known = features(torch.as_tensor(u)).numpy()
    wanted = known @ rng.standard_normal((FEATURES, 3)) + 0.1 * rng.standard_normal((200, 3))
    free = ridge(known, wanted, 0.0)
    np.testing.assert_allclose(free, np.linalg.lstsq(known, wanted, rcond=None)[0], atol=1e-3)
    held = ridge(known, wanted, 1e6)
    np.testing.assert_allclose(held[0], wanted.mean(axis=0), atol=1e-3)
    assert np.abs(held[1:]).max() < 1e-3
    # Of two that are as good, the quadratic one is held more.
    some = ridge(known, wanted, 0.3)
    shrunk = np.linalg.norm(some, axis=1) / np.linalg.norm(free, axis=1)
    assert np.median(shrunk[1 + GOAL_SIZE :]) < np.median(shrunk[1 : 1 + GOAL_SIZE])


def test_a_guess_finds_the_rule_behind_the_strokes(nonsense):
    guess = Guess(nonsense[:-1], LINEAR)
    coefficients, lead = guess(nonsense[-1].goal)
    np.testing.assert_allclose(coefficients, nonsense[-1].solution.coefficients, atol=1e-4)
    np.testing.assert_allclose(lead, np.repeat([0.01, 0.0], [3, 6]), atol=1e-4)


def test_tables_hold_the_motion_in_the_families_columns(designed):
    motion = designed[1].solution.motion
    said = dict(
        zip(COLUMNS, np.split(tables(motion), np.cumsum(list(COLUMNS.values()))[:-1], axis=1), strict=True)
    )
    np.testing.assert_array_equal(said["root_pos"], motion.root_pos)
    np.testing.assert_array_equal(said["joint_pos"], motion.joint_pos)
    moved = (motion.root_pos[2:] - motion.root_pos[:-2]) * motion.fps / 2
    np.testing.assert_allclose(said["root_lin_vel"][1:-1], moved, atol=0.02)
    turned = (said["heading"][2:] - said["heading"][:-2]) * motion.fps / 2
    np.testing.assert_allclose(said["heading_rate"][1:-1], turned, atol=1e-6)
    for name in ("root_lin_vel", "heading_rate", "joint_vel"):
        assert (said[name][[0, -1]] == 0).all()
    # The ready pose's legs carry the weight.
    assert np.abs(said["torque"][0, :12]).max() > 5.0


def test_a_family_says_what_its_strokes_said(nonsense):
    *known, last = nonsense
    family = fit_family(known, 1.0, strength=1e-9)
    u = (np.delete(last.goal, 6) - family["centre"]) / family["scale"]
    said = np.einsum("f,tfc->tc", features(torch.as_tensor(u)).numpy(), family["weights"])
    wanted = tables(last.solution.motion)
    columns = np.cumsum([0, *COLUMNS.values()])
    for name, start in zip(COLUMNS, columns[:-1], strict=True):
        if name == "torque":
            continue  # Not linear in the goal.
        tolerance = 2e-3 if name.endswith(("vel", "rate")) else 1e-4
        stop = start + COLUMNS[name]
        np.testing.assert_allclose(said[:, start:stop], wanted[:, start:stop], atol=tolerance, err_msg=name)
    np.testing.assert_allclose(family["low"], np.min([s.goal[:3] for s in known], axis=0))
    np.testing.assert_allclose(family["high"], np.max([s.goal[:3] for s in known], axis=0))
    assert int(family["strike"]) == 3
    assert int(family["end"]) == 6
    assert (family["weights"][[0, -1], 1:] == 0).all()
    assert np.linalg.norm(family["axis"]) == pytest.approx(1.0)


def test_a_familys_goal_is_what_a_stroke_delivers_not_what_it_was_made_for(nonsense):
    shift = np.array([0.05, 0.0, 0.0])
    moved = [
        replace(s, replay=replace(s.replay, racket=replace(s.replay.racket, pos=s.goal[:3] + shift)))
        for s in nonsense
    ]
    off = fit_family(moved, 1.0)["centre"] - fit_family(nonsense, 1.0)["centre"]
    np.testing.assert_allclose(off[:3], shift, atol=1e-6)


def test_a_written_family_can_be_played_and_tells_its_source(nonsense, tmp_path):
    strokes = [*nonsense, replace(nonsense[0], miss=(1.0, 0.0, 0.0))]
    write_family("forehand", strokes, tmp_path)
    assert load_strokes(folder=tmp_path).names == ("forehand",)
    source = provenance("forehand", tmp_path)
    assert source["licence"] == "CC BY-SA 3.0"
    assert source["human_stroke"] == MANNER["forehand"]
    assert source["design"]["strokes"] == 60
    assert source["design"]["of"] == 61
    assert (tmp_path / "LICENSE").read_bytes() == (HUMAN_FOLDER / "LICENSE").read_bytes()


def test_too_few_sound_strokes_are_an_error(nonsense, tmp_path):
    with pytest.raises(GoalError, match=r"backhand: only 44 of 44 strokes are sound, a family needs 45"):
        write_family("backhand", nonsense[:44], tmp_path)
    assert not list(tmp_path.iterdir())


def test_goals_are_where_a_standing_robot_can_meet_balls():
    goals = reachable_goals("backhand", 30, 0)
    assert goals.shape == (30, 9)
    assert len(np.unique(goals, axis=0)) == 30
    low, high = np.array(BOX["backhand"]).T
    # The strings' centre is a ball's radius behind the ball.
    assert ((goals[:, :3] > low - 0.04) & (goals[:, :3] < high + 0.04)).all()
    np.testing.assert_allclose(np.linalg.norm(goals[:, 6:], axis=1), 1.0, atol=1e-5)
    assert (np.linalg.norm(goals[:, 3:6], axis=1) < 10.5).all()
    assert (goals[:, 3] > 0).all(), "balls are sent back"
    # Spread over the box.
    assert (goals[:, :3].std(axis=0) > 0.1).all()


# What ships: strokes with planted feet, for tracking


def test_the_manifest_lists_every_planted_stroke():
    rows = json.loads((PLANTED_FOLDER / "manifest.json").read_text())["strokes"]
    assert sorted(row["name"] for row in rows) == NAMES
    assert {row["name"].split("_")[0] for row in rows} == set(KINDS)


@pytest.mark.parametrize("name", [name for kind in KINDS for name in NAMES if name.startswith(kind)][::6])
def test_a_replay_of_a_planted_stroke_delivers_what_it_says(name, simulator):
    motion = RobotMotion.load(PLANTED_FOLDER / f"{name}.npz")
    said = motion.provenance["delivers"]
    replay = simulator.replay(motion, FACE[motion.strokes[0].kind])
    off, angle, slow = miss(replay.racket, np.concatenate([said["pos_m"], said["vel_m_s"], said["normal"]]))
    assert not replay.fallen
    assert off < 0.01
    assert angle < np.deg2rad(2)
    assert slow < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_joints_stay_in_their_limits_and_feet_where_they_are(name):
    motion = RobotMotion.load(PLANTED_FOLDER / f"{name}.npz")
    assert (motion.joint_pos >= LOWER - 1e-5).all()
    assert (motion.joint_pos <= UPPER + 1e-5).all()
    w, x, y, z = torch.as_tensor(motion.root_quat).unbind(1)
    assert torch.allclose(x.abs() + y.abs(), torch.zeros_like(x), atol=1e-4), "the pelvis stays upright"
    for side in ("left", "right"):
        foot = foot_chain(side)
        pos = foot.forward(torch.as_tensor(motion.joint_pos[:, foot.index])).pos
        turn = torch.stack((1 - 2 * z * z, -2 * w * z, 2 * w * z, 1 - 2 * z * z), dim=1).view(-1, 2, 2)
        level = (turn @ pos[:, :2, None])[..., 0] + torch.as_tensor(motion.root_pos[:, :2])
        height = pos[:, 2] + torch.as_tensor(motion.root_pos[:, 2])
        assert (level - level[0]).abs().max() < 1e-3
        assert height.abs().max() < 1e-3
