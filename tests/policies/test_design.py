"""Designing strokes: they meet their goals in simulation, and a family says what its strokes said."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import policies.design as design
from humanoid.joints import LOWER, UPPER
from humanoid.motion import RobotMotion
from humanoid.trajectory import FrameState, Solution
from mocap.plant import plant
from policies.chain import foot_chain
from policies.design import (
    AFTER_S,
    AGING,
    BEFORE_S,
    BOX,
    FACE,
    FASTEST,
    GOAL_SCALE,
    HUMAN_FOLDER,
    MANNER,
    PLANT,
    PLANTED_FOLDER,
    Designer,
    Guess,
    Round,
    Sample,
    Simulator,
    fit_family,
    miss,
    missed_goals,
    misses,
    reachable_goals,
    retimed,
    ridge,
    tables,
    write_family,
    write_motions,
)
from policies.goals import GoalError
from policies.strokes import COLUMNS, FEATURES, GOAL_SIZE, KINDS, features, load_strokes, provenance

LINEAR = Round(count=1, planned=False, cubic=False, joint=0.2, pelvis=0.4, ridge=1e-9, iterations=6)
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
    """Ninety short strokes, every frame but the ends linear in the goal."""
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
    samples = []
    for u in rng.standard_normal((90, GOAL_SIZE)):
        goal = np.append(GOAL_SCALE * u, 0.0)[[0, 1, 2, 3, 4, 5, 8, 6, 7]]
        goal[6] = 1.0
        joints = short.joint_pos.copy()
        joints[:, 12:] += bump * (u @ lever)
        motion = replace(short, joint_pos=joints)
        solution = Solution(motion, (u @ pull).reshape(21, 4), 1.0, (0.0, 0.0, 0.0), 0.5, 0.0, 0.05)
        samples.append(Sample(goal, solution))
    return samples


# Strokes


def test_a_designed_stroke_passes_its_goal_and_nearly_so_in_simulation(designed, simulator):
    _, first, second = designed
    for sample in (first, second):
        off, slow, angle = sample.solution.goal_error
        assert sample.sound
        assert off < 0.002
        assert slow < 0.05
        assert angle < np.deg2rad(0.5)
        replay = simulator.replay(sample.solution.motion, 1.0)
        off, angle, slow = miss(replay.racket, sample.goal)
        assert not replay.fallen
        assert off < 0.04
        assert angle < np.deg2rad(4)
        assert slow < 0.6
        assert replay.root_error < 0.05


def test_near_a_guess_a_stroke_is_designed_in_its_manner(designed):
    """The guess says the second stroke for every goal."""
    designer, first, second = designed

    class Same(Guess):
        def __init__(self) -> None:
            pass

        def __call__(self, goal):
            return second.solution.coefficients

    sample = designer.near(first.goal, Same(), replace(LINEAR, joint=0.02, pelvis=0.2), [second])
    assert sample.sound
    assert sample.solution.goal_error[0] < 0.01
    apart = np.abs(sample.solution.coefficients[7:14] - second.solution.coefficients[7:14]).max()
    assert apart < 0.1, "the idle arm does as the guess says"


def test_a_side_is_designed_round_by_round_and_the_last_two_make_its_family(monkeypatch, nonsense):
    """A designer that answers at once: what each round fits, how, and what is kept."""
    fits, gaps = [], []

    class Quick:
        def __init__(self, kind: str) -> None:
            self.number = -1

        def keep_apart(self, gap: float) -> None:
            gaps.append(gap)
            self.number += 1

        def first(self, goal, known):
            return Sample(goal, nonsense[0].solution)

        def near(self, goal, guess, plan, known):
            # One in three is not sound.
            cost = 1e3 if round(goal[0]) % 3 == 0 else 1.0
            return Sample(goal, replace(nonsense[0].solution, cost=cost, torque_share=0.1 * self.number))

    def reachable(kind, count, seed, box=None):
        return np.tile(np.arange(count)[:, None], (1, 9)).astype(float)

    def guess(samples, plan):
        fits.append(sorted({round(s.weight, 3) for s in samples}))

    monkeypatch.setattr(design, "Designer", Quick)
    monkeypatch.setattr(design, "reachable_goals", reachable)
    monkeypatch.setattr(design, "Guess", guess)
    plan = replace(LINEAR, count=6)
    planned = [replace(plan, planned=True, gap=gap) for gap in (0.03, 0.05, 0.06)]
    goals = 100.0 + np.tile(np.arange(18)[:, None], (1, 9))
    made = design.design_side("forehand", goals, (plan, *planned), first=10)
    assert gaps == [0.035, 0.03, 0.05, 0.06]
    # First alone; then the free ones alone, of little weight; then the planned ones of the last two rounds count more.
    assert fits == [[1.0], [0.1], [0.1, 1.0], [0.1, AGING, 1.0]]
    assert [[(s.goal[0], s.solution.torque_share) for s in group] for group in made] == [
        [(x, pytest.approx(0.1 * number)) for x in goals[6 * (number - 1) : 6 * number, 0] if x % 3]
        for number in (2, 3)
    ]
    # Further rounds go on from those, and all count.
    fits.clear()
    more = design.design_side("forehand", goals, tuple(planned[:2]), before=made)
    assert fits == [[AGING, 1.0], [round(AGING**2, 3), AGING, 1.0]]
    assert more[:2] == made
    assert [len(group) for group in more] == [4, 4, 4, 4]
    assert sorted({round(s.weight, 3) for s in design.weighed(more)}) == [
        round(AGING**age, 3) for age in (3, 2, 1, 0)
    ]


def test_goals_that_a_family_misses_come_first(monkeypatch):
    rng = np.random.default_rng(0)
    goals = rng.normal(size=(60, 9))
    monkeypatch.setattr(design, "planned_goals", lambda kind, count, seed: goals[:count])
    # Every fifth one is missed.
    monkeypatch.setattr(
        design, "misses", lambda strokes, kind, given: np.where(np.arange(len(given)) % 5, 0.0, 0.1)
    )
    found = missed_goals("forehand", 30)
    rows = [int(np.flatnonzero((goals == goal).all(axis=1))[0]) for goal in found]
    assert len(set(rows)) == 30
    assert sum(row % 5 == 0 for row in rows) == 12, "all that there are"


def test_what_a_family_misses_is_measured_at_the_racket():
    strokes = load_strokes()
    centre = np.concatenate([strokes.centre[0, :6], [0.0], strokes.centre[0, 6:]])
    centre[6] = np.sqrt(1 - (centre[7:] ** 2).sum())
    far = centre.copy()
    far[1] -= 1.0
    near, beyond = misses(strokes, 0, np.stack([centre, far]))
    assert near < 0.01
    assert beyond > 0.4


def test_a_quickened_stroke_strikes_earlier_in_the_same_pose(planted):
    quick = retimed(planted, PLANT.before_s, BEFORE_S, AFTER_S)
    strike = round(BEFORE_S * quick.fps)
    human = planted.joint_pos[round(PLANT.before_s * planted.fps)]
    np.testing.assert_allclose(quick.joint_pos[strike], human, atol=1e-6)
    assert quick.num_frames == round((BEFORE_S + AFTER_S) * quick.fps) + 1
    assert quick.strokes[0].strike_s == BEFORE_S
    for end in (0, -1):
        np.testing.assert_allclose(quick.joint_pos[end], planted.joint_pos[end], atol=1e-6)


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
    assert simulator.replay(replace(planted, joint_pos=wild), 1.0).fallen


@pytest.mark.parametrize(
    ("change", "sound"),
    [({}, True), ({"cost": 100.0}, False), ({"zmp_outside": 0.1}, False), ({"torque_share": 1.5}, False)],
)
def test_strokes_that_cannot_be_done_teach_nothing(nonsense, change, sound):
    sample = nonsense[0]
    assert replace(sample, solution=replace(sample.solution, **change)).sound == sound


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


def test_a_row_that_counts_nothing_changes_nothing():
    rng = np.random.default_rng(1)
    known = np.append(np.ones((120, 1)), rng.standard_normal((120, 3)), axis=1)
    wanted = known @ rng.standard_normal((4, 2))
    weights = np.ones(120)
    weights[100:] = 0.0
    spoilt = wanted.copy()
    spoilt[100:] += 100.0
    np.testing.assert_allclose(
        ridge(known, spoilt, 1e-6, weights), ridge(known[:100], wanted[:100], 1e-6), atol=1e-9
    )


def test_a_guess_finds_the_rule_behind_the_strokes(nonsense):
    guess = Guess(nonsense[:-1], LINEAR)
    np.testing.assert_allclose(guess(nonsense[-1].goal), nonsense[-1].solution.coefficients, atol=1e-4)


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


def test_a_written_family_can_be_played_and_tells_its_source(nonsense, tmp_path):
    wild = replace(nonsense[0], solution=replace(nonsense[0].solution, cost=1e6))
    write_family("forehand", [*nonsense, wild], tmp_path)
    assert load_strokes(folder=tmp_path).names == ("forehand",)
    source = provenance("forehand", tmp_path)
    assert source["licence"] == "CC BY-SA 3.0"
    assert source["human_stroke"] == MANNER["forehand"]
    assert source["design"] == {"strokes": 90, "of": 91}
    assert (tmp_path / "LICENSE").read_bytes() == (HUMAN_FOLDER / "LICENSE").read_bytes()


def test_too_few_sound_strokes_are_an_error(nonsense, tmp_path):
    with pytest.raises(GoalError, match=r"backhand: only 72 of 72 strokes are sound, a family needs 73"):
        write_family("backhand", nonsense[:72], tmp_path)
    assert not list(tmp_path.iterdir())


def test_goals_are_where_a_standing_robot_can_meet_balls():
    goals = reachable_goals("backhand", 30, 0)
    assert goals.shape == (30, 9)
    assert len(np.unique(goals, axis=0)) == 30
    low, high = np.array(BOX["backhand"]).T
    # The strings' centre is a ball's radius behind the ball.
    assert ((goals[:, :3] > low - 0.04) & (goals[:, :3] < high + 0.04)).all()
    np.testing.assert_allclose(np.linalg.norm(goals[:, 6:], axis=1), 1.0, atol=1e-5)
    assert (np.linalg.norm(goals[:, 3:6], axis=1) < FASTEST).all()
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
