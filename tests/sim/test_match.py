"""Matches: rallies between scripted players, the coupling of two robots by one ball, and what is refused."""

import math

import mujoco
import numpy as np
import pytest
import torch

from humanoid.joints import READY_JOINT_POS
from sim.aim import aim
from sim.ball import GRAVITY, BallParams, BallState
from sim.court import in_service_box, in_singles_court
from sim.court_side import turned
from sim.engine import CpuEngine
from sim.launcher import LEVELS
from sim.match import Match, MatchConfig
from sim.openings import Server, Wall, stream
from sim.rally_rules import feed
from sim.return_task import ReturnConfig
from sim.stringbed import Racket

READY = torch.as_tensor(READY_JOINT_POS.copy())


@pytest.fixture(autouse=True)
def _few_feeds(monkeypatch):
    """Solve for no more feeds than a test needs."""
    monkeypatch.setattr("sim.openings.BLOCK", 2)
    monkeypatch.setattr("sim.openings.PAGE", 4)


class Script:
    """Strikes each ball at the top of its bounce to the targets of a list, one after the other; the last one for ever.

    A target is a landing point (x, y) in the striker's frame, a velocity (vx, vy, vz), or None: let it pass.
    """

    def __init__(self, *targets, volley: bool = False) -> None:
        self.targets, self.volley, self.count = targets, volley, 0

    def play(self, match, ball, landed, params):
        near = ball.pos[0, 0] < -2.0
        ready = (near and not landed) if self.volley else (landed and ball.vel[0, 2] <= 0)
        target = self.targets[min(self.count, len(self.targets) - 1)]
        if not ready or target is None:
            return None
        self.count += 1
        if len(target) == 3:
            return BallState(ball.pos, torch.tensor([target]), torch.zeros(1, 3))
        plan = aim(ball.pos, torch.tensor([target]), params, clearance=0.8)
        return BallState(ball.pos, plan.vel, torch.zeros(1, 3))


def play(near, far, seed: int = 0, num: int = 1, seconds: float = 120.0, **options) -> Match:
    match = Match(
        (None, None),
        MatchConfig(**{"points": 1, "pause": 0.1, **options}),
        (near, far),
        num=num,
        seed=seed,
        first=0,
    )
    while not bool(match.finished.all()) and match.time < seconds:
        match.step()
    return match


def only(match: Match):
    assert len(match.record.points) == 1
    return match.record.points[0]


# Rallies


@pytest.mark.parametrize(
    ("near", "far", "winner", "reason", "ending", "length"),
    [
        # The feed of the first point comes to the near side.
        (Script(None), Script(None), 1, "not returned", "missed feed", 0),
        (Script((7.0, 2.0)), Script(None), 0, "not returned", "winner", 1),
        (Script((7.0, 2.0)), Script((7.0, 0.0), None), 0, "not returned", "winner", 3),
        (Script((13.5, 0.0)), Script(None), 1, "out", "out", 0),
        (Script((7.0, 5.0)), Script(None), 1, "out", "out", 0),
        (Script((19.0, 0.0, 0.3)), Script(None), 1, "net", "net", 0),
        (Script((1.0, 0.0, 1.0)), Script(None), 1, "short", "short", 0),
        (Script((7.0, 0.0), None), Script((6.0, 0.0), volley=True), 1, "not returned", "winner", 2),
    ],
)
def test_rallies_between_scripts(near, far, winner, reason, ending, length):
    match = play(near, far)
    point = only(match)
    assert (point.winner, point.reason, point.ending, point.length) == (winner, reason, ending, length)
    assert match.scores[0].winner == winner


def test_a_long_rally_ends_at_its_limit_without_a_winner():
    match = play(Script((7.0, 1.0)), Script((7.0, -1.0)), max_strokes=12, level="rally")
    point = only(match)
    assert (point.winner, point.reason, point.length) == (None, "cut", 11)
    assert match.scores[0].winner is None
    strokes = point.shots[1:]
    assert [shot.side for shot in strokes] == [0, 1] * 6
    for shot in strokes[:-1]:
        assert shot.good
        assert (
            math.dist(shot.landing, turned(torch.tensor([[7.0, 1.0 - 2 * shot.side, 0]]), shot.side)[0, :2])
            < 0.2
        )
        assert 3.0 < shot.net_speed < shot.speed_out


def test_two_walls_play_on():
    walls = [Wall("rally", [stream(3, side)]) for side in (0, 1)]
    match = play(*walls, level="rally", max_strokes=6)
    assert only(match).reason == "cut"
    assert walls[0].stuck == walls[1].stuck == 0
    for shot in only(match).shots[1:-1]:
        assert LEVELS["rally"].speed[0] <= shot.speed_out <= LEVELS["match"].speed[1]
        side = "far" if shot.side == 0 else "near"
        assert bool(in_singles_court(torch.tensor(shot.landing), side))


def test_feeds_come_to_the_sides_by_turns():
    match = play(Script(None), Script(None), points=4)
    assert [point.opener for point in match.record.points] == [1, 0, 1, 0]
    assert [point.winner for point in match.record.points] == [1, 0, 1, 0]


def test_against_a_machine_every_feed_comes_to_the_player():
    match = play(Script((7.0, 0.0), (20.0, 0.0)), None, points=2)
    assert [point.opener for point in match.record.points] == [1, 1]
    assert [point.ending for point in match.record.points] == ["winner", "out"]


def test_serves_land_in_their_box_and_an_ace_counts():
    match = play(Script(None), Script(None), points=4, opening="serve", level="rally")
    assert [point.ending for point in match.record.points] == ["ace"] * 4
    for point, box in zip(match.record.points, ("deuce", "deuce", "ad", "ad"), strict=True):
        half = "near" if point.opener == 1 else "far"
        assert bool(in_service_box(torch.tensor(point.shots[0].landing), half, box))
        assert point.length == 1


def test_a_scattered_serve_is_sometimes_a_fault_and_gets_a_second():
    match = play(Script(None), Script(None), points=8, opening="serve", serve_spread=1.5)
    points = match.record.points
    assert any(point.faults == 1 and point.reason == "not returned" for point in points)
    assert any(point.reason == "double fault" and point.faults == 1 for point in points)
    for point in points:
        assert point.winner == (1 - point.opener if point.reason == "double fault" else point.opener)


def test_a_serve_that_no_speed_reaches_is_an_error():
    with pytest.raises(RuntimeError, match="deuce box at 4 m/s"):
        Server((-11.9, 0.0), 4.0, None, stream(0)).draw("deuce")


def test_a_game_is_won_by_points():
    match = play(Script((7.0, 0.0)), Script(None), scoring="game")
    # The far side serves the game: all feeds come to the near side, which returns each for a winner.
    assert match.scores[0].winner == 0
    assert match.scores[0].called() == ("Game", "")
    assert len(match.record.points) == 4


def test_a_game_without_end_is_stopped():
    match = play(Script((7.0, 0.0)), Script((7.0, 0.0)), scoring="game", max_points=2, max_strokes=2)
    assert (match.scores[0].over, match.scores[0].winner, len(match.record.points)) == (True, None, 2)


# Seeds


def test_the_same_seed_is_the_same_match_in_any_batch():
    def points(match, number):
        return [
            (p.winner, p.reason, p.duration_s, p.shots[0].speed_out)
            for p in match.record.points
            if p.match == number
        ]

    one = play(Script((7.0, 0.0)), Script(None), points=2)
    two = play(Script((7.0, 0.0)), Script(None), points=2, num=3)
    other = play(Script((7.0, 0.0)), Script(None), points=2, seed=1)
    assert points(one, 0) == points(two, 0)
    assert points(one, 0) != points(other, 0)
    assert points(two, 0) != points(two, 1)


# Robots


def robots(num: int = 1, **options) -> Match:
    engines = [CpuEngine(num, threads=1) for _ in (0, 1)]
    return Match(engines, MatchConfig(**options), seed=0)


def strike(match: Match, side: int) -> None:
    """Put the ball in front of the racket of a side, flying into its strings."""
    team = match.robots[side]
    normal = team.engine.racket_rot[:, :, 2].float()
    pos = team.engine.racket_pos.float() + 0.15 * normal
    ball = turned(pos, side), turned(-12.0 * normal, side)
    match.balls.reset(torch.arange(match.num), *ball)
    match.referee.rallies[0] = feed(1 - side)
    match.referee.receiver[0] = side


def test_either_side_meets_the_ball_alike():
    """The far side is the near one turned by 180°: ball and robots do the same, bit for bit."""
    results, kinds = [], set()
    for side in (0, 1):
        match = robots()
        strike(match, side)
        for _ in range(15):
            match.step((READY[None], READY[None]))
        shots = match.referee.points[0].shots
        assert [shot.side for shot in shots[1:]] == [side]
        kinds.add(shots[1].kind)
        mine, other = match.robots[side].engine, match.robots[1 - side].engine
        ball = match.balls.state
        results.append(
            [turned(ball.pos, side), turned(ball.vel, side), mine.qpos.clone(), other.qpos.clone()]
        )
    for near, far in zip(*results, strict=True):
        assert torch.equal(near, far)
    assert len(kinds) == 1


def test_robots_out_of_reach_are_stepped_at_once_and_nothing_changes(monkeypatch):
    """A robot that no ball can reach within a control period takes it in one call."""
    results = []
    for always in (False, True):
        if always:
            monkeypatch.setattr(
                "sim.court_side.Robots.reachable",
                lambda self, ball, active, duration: torch.ones_like(active),
            )
        match = robots()
        for step in range(90):
            if step == 40:
                strike(match, 0)
            match.step((READY[None], READY[None]))
        states = [match.balls.state.pos, match.balls.state.vel, *(team.engine.qpos for team in match.robots)]
        results.append([state.clone() for state in states])
        assert len(match.referee.points[0].shots) == 2
    for quick, slow in zip(*results, strict=True):
        assert torch.equal(quick, slow)


def test_the_recoil_reaches_the_robot_that_struck_and_no_other():
    struck, idle = robots(), robots()
    idle.balls.reset(torch.arange(1), torch.tensor([[0.0, 30.0, 5.0]]), torch.zeros(1, 3))
    strike(struck, 1)
    for match in (struck, idle):
        for _ in range(3):
            match.step((READY[None], READY[None]))
    change = [(struck.robots[s].engine.qvel - idle.robots[s].engine.qvel).abs().max() for s in (0, 1)]
    assert change[0] == 0.0
    assert change[1] > 0.05


def test_a_player_sees_its_own_court_frame():
    match = robots(points=2)
    far, near = match.terms(1), match.terms(0)
    # The first feed comes from the far side to the near one: only that sees a ball, and ahead of itself.
    assert near["ball_valid"].item() == 1.0
    assert far["ball_valid"].item() == 0.0
    assert near["ball_pos"][0, 0] > 8.0
    assert near["ball_vel"][0, 0] < 0.0
    assert far["ball_pos"].abs().sum() == 0.0
    for terms in (near, far):
        assert terms["root_pos"][0, 0] == pytest.approx(-11.9)
    match.referee.receiver[0] = 1
    assert torch.equal(match.terms(1)["ball_pos"], near["ball_pos"] * torch.tensor([-1.0, -1.0, 1.0]))


def test_a_robot_that_falls_loses_the_point_and_is_put_back():
    match = robots(points=2, pause=0.2)
    limp = READY.clone()
    limp[[0, 6]] = 1.5  # the far robot kicks both legs away
    team = match.robots[1]
    for _ in range(300):
        match.step((READY[None], limp[None]))
        if match.record.points:
            break
    point = match.record.points[0]
    assert (point.winner, point.reason) == (0, "fall")
    assert match.record.falls == [0, 1]
    assert bool(team.fallen[0])
    team.placed.fill_(False)
    while not bool(match.referee.playing[0]):
        match.step((READY[None], READY[None]))
    assert bool(team.placed[0])
    assert not bool(team.fallen[0])
    assert torch.equal(team.engine.qpos[0], team.ready_qpos)


def test_robots_on_court_face_each_other():
    match = robots()
    near, far = (match.robots[side].court_qpos(0) for side in (0, 1))
    assert near[0] == pytest.approx(-11.9)
    assert far[0] == pytest.approx(11.9)
    assert abs(far[6]) == pytest.approx(1.0)  # half a turn about z
    racket = match.robots[1].racket()
    assert racket.pos[0, 0] > 11.0
    assert torch.allclose(racket.rot[0].T @ racket.rot[0], torch.eye(3), atol=1e-6)
    assert torch.linalg.det(racket.rot[0]) == pytest.approx(1.0, abs=1e-6)


# Rackets


RACKET = Racket.from_specs()
FREE_FALL = 4.0
"""Height at which robots float, so that nothing but the ball pushes them, m."""


def floating(racket_side: int = -1, **racket) -> Match:
    """Two robots high in the air, out of each other's and the ground's reach; one with a racket of its own."""
    engines = [CpuEngine(1, threads=1) for _ in (0, 1)]
    rackets = [Racket.from_specs(**racket) if side == racket_side else None for side in (0, 1)]
    match = Match(engines, MatchConfig(task=ReturnConfig(control_dt=0.005)), seed=0, rackets=rackets)
    for team in match.robots:
        qpos = team.ready_qpos.clone()
        qpos[2] += FREE_FALL
        team.engine.reset(torch.arange(1), qpos[None], team.ready_qvel[None])
        team._root, team._last = team.engine.qpos[:, :3].clone(), team.engine.racket_pos.clone()
    return match


def struck_by(match: Match, side: int, monkeypatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Let a ball into a side's strings; its velocity after, and the impulse that the robots of that side got."""
    got = []
    team = match.robots[side]
    push = team.engine.push_racket

    def pushed(ids, impulse, point):
        got.append(impulse.clone())
        push(ids, impulse, point)

    monkeypatch.setattr(team.engine, "push_racket", pushed)
    strike(match, side)
    for _ in range(6):
        match.step((READY[None], READY[None]))
    assert len(got) == 1
    return match.balls.state.vel[0].clone(), turned(got[0], side)[0]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("racket", [{"mass": 0.40, "swingweight": 0.040}, {"restitution": 0.6}])
def test_a_match_is_played_with_the_rackets_held(side, racket, monkeypatch):
    """A heavier racket returns the ball faster, dead strings slower; the other side's racket makes no difference."""
    nominal, own, other = (
        torch.linalg.vector_norm(struck_by(floating(holder, **racket), side, monkeypatch)[0])
        for holder in (-1, side, 1 - side)
    )
    assert other == nominal
    assert own > nominal + 0.1 if "mass" in racket else own < nominal - 0.5


def test_rackets_change_hands_with_the_ball(monkeypatch):
    match = floating(1, restitution=0.6)
    alone = floating(1, restitution=0.6)
    struck_by(match, 0, monkeypatch)
    for team in match.robots:
        team.place(torch.arange(1))
    for team in alone.robots:
        team.place(torch.arange(1))
    after = [struck_by(played, 1, monkeypatch)[0] for played in (match, alone)]
    assert torch.equal(*after)


@pytest.mark.parametrize("side", [0, 1])
def test_a_match_conserves_momentum_whatever_the_racket(side):
    """What the ball loses in a vacuum the struck robot gains: beside a twin that is not struck, its centre of mass
    moves on as much faster."""
    held = {"mass": 0.40, "swingweight": 0.040, "restitution": 0.86}
    match, idle = (floating(side, **held) for _ in range(2))
    idle.balls.active.fill_(False)
    match.balls.set_params(BallParams(air_density=0.0))
    strike(match, side)
    mass, before = float(match.balls.params.mass[0]), torch.zeros(3)
    engines = [played.robots[side].engine for played in (match, idle)]
    while not bool(match.robots[side].pushed[0]):
        before = match.balls.state.vel[0].clone()
        for played in (match, idle):
            played._advance()
    before[2] -= GRAVITY * match.config.task.control_dt
    lost = mass * (before - match.balls.state.vel[0])
    model = engines[0].model
    data = mujoco.MjData(model)
    data.qpos[:], jacobian = engines[0].qpos[0], np.zeros((3, model.nv))
    mujoco.mj_forward(model, data)
    mujoco.mj_jacSubtreeCom(model, data, jacobian, 1)
    assert torch.equal(engines[0].qvel, engines[1].qvel)
    for played in (match, idle):
        played._advance()
    gained = model.body_subtreemass[1] * torch.from_numpy(jacobian) @ (engines[0].qvel - engines[1].qvel)[0]
    assert torch.linalg.vector_norm(lost) > 0.8
    assert torch.linalg.vector_norm(turned(gained, side) - lost) < 1e-5
    other = [played.robots[1 - side].engine.qvel for played in (match, idle)]
    assert torch.equal(*other)


def test_a_racket_without_robots_is_refused():
    with pytest.raises(ValueError, match="side 1 has a racket but no robots"):
        Match((CpuEngine(1, threads=1), None), returners=(None, Script(None)), rackets=(None, RACKET))


# What went wrong and was put right


def test_a_robot_whose_state_is_lost_falls_and_is_counted():
    match = robots(points=2)
    match.step((READY[None], READY[None]))
    match.robots[1].engine.qvel[0, 0] = 1e12
    match.step((READY[None], READY[None]))
    assert match.record.falls == [0, 1]
    assert {kind: int(count) for kind, count in match.recovered.items()} == {
        "robot_broken": 1, "ball_not_finite": 0, "racket_pose": 0, "ball_overlap": 0, "ball_unresolved": 0,
    }  # fmt: skip
    for team in match.robots:
        assert team.engine.qpos[0, 0] == pytest.approx(-11.9, abs=0.05)


def test_matches_without_robots_count_what_happened_to_balls():
    match = Match((None, None), returners=(Script(None), Script(None)), num=2)
    match.step()
    assert all(count.shape == (2,) and not count.any() for count in match.recovered.values())
    match.balls.state.vel[1, 0] = math.inf
    match.step()
    assert match.recovered["ball_not_finite"].tolist() == [0, 1]


# What is refused


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e11])
def test_targets_that_are_no_numbers_are_named(value):
    match = robots()
    bad = READY[None].clone()
    bad[0, 3] = value
    with pytest.raises(ValueError, match="side 1: target of left_knee_joint in match 0 is"):
        match.step((READY[None], bad))
    with pytest.raises(ValueError, match=r"side 0: targets have shape \(29,\), expected \(1, 29\)"):
        match.step((READY, READY[None]))
    with pytest.raises(ValueError, match="side 1 has robots"):
        match.step((READY[None], None))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"level": "hard"}, "level=hard: choose feed"),
        ({"opening": "toss"}, "opening=toss"),
        ({"scoring": "goals"}, "scoring=goals"),
        ({"points": 0}, "points=0"),
        ({"serve_spread": math.nan}, "serve_spread"),
    ],
)
def test_impossible_values_are_named(options, told):
    with pytest.raises(ValueError, match=told):
        Match((None, None), MatchConfig(**options), (Script(None), Script(None)))


def test_somebody_has_to_play():
    with pytest.raises(ValueError, match="nobody would play"):
        Match((None, None))
    with pytest.raises(ValueError, match="0 matches"):
        Match((None, None), returners=(Script(None), None), num=0)
