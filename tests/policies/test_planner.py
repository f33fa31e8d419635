"""The planner's goals against the ball simulation."""

from dataclasses import replace

import pytest
import torch

from humanoid.racket import RACKET
from policies.planner import Plan, Planner, PlannerConfig, racket_body
from sim.ball import BallState
from sim.ball_sim import BallSim
from sim.predict import predict
from sim.stringbed import impact

STANCE = (-11.9, 0.0, 0.0)
RADIUS = 0.0335


def ask(planner: Planner, pos, vel, target, stance=STANCE, **more) -> Plan:
    """A plan for robots that have not begun a stroke, unless `more` says so."""
    n = len(pos)
    given = {"stroke": torch.zeros(n).long(), "time": torch.zeros(n), "begun": torch.zeros(n).bool(), **more}
    return planner.plan(pos, vel, target, torch.tensor([stance]).expand(n, 3), **given)


@pytest.fixture(scope="module")
def planned(strokes):
    """Balls that will bounce and pass near the families' centres, forehand and backhand, and their plans, all
    feasible."""
    planner = Planner(strokes)
    speed, up = torch.meshgrid(torch.tensor([7.0, 9.0, 11.0]), torch.linspace(-1.0, 4.0, 15), indexing="ij")
    up, speed = up.flatten().repeat(2), speed.flatten().repeat(2)
    n = len(up)
    side = torch.arange(n) * 2 // n
    pos = torch.tensor([0.0, 0.0, 1.0]).repeat(n, 1)
    vel = torch.stack((-speed, 0.1 * speed, up), dim=1)
    path = predict(BallState(pos, vel, torch.zeros(n, 3)), planner.params, 1.3, 0.02)
    meet = strokes.centre[side, :2] + torch.tensor(STANCE[:2])
    generator = torch.Generator().manual_seed(0)
    pos[:, :2] = meet - path.pos[:, 50, :2] + 0.08 * torch.randn(n, 2, generator=generator)
    target = torch.stack((torch.full((n,), 5.0), torch.linspace(-2, 2, n)), dim=1)
    ids = ask(planner, pos, vel, target).feasible.nonzero().squeeze(1)
    assert len(ids) > 20
    plan = ask(planner, pos[ids], vel[ids], target[ids])
    return planner, pos[ids], vel[ids], target[ids], plan, side[ids]


def flown(pos, vel, time):
    """Balls without spin at times (N,) from now, in the ball simulation, and how often they have bounced."""
    balls = BallSim(len(pos))
    balls.reset(torch.arange(len(pos)), pos, vel)
    at = [torch.zeros_like(pos), torch.zeros_like(pos), torch.zeros_like(pos)]
    bounces = torch.zeros(len(pos))
    for step in range(1, int(float(time.max()) / 0.005) + 2):
        before = (step - 1) * 0.005
        now = ((time >= before) & (time < before + 0.005))[:, None]
        left = (time - before)[:, None]
        state = (balls.state.pos + left * balls.state.vel, balls.state.vel, balls.state.spin)
        at = [torch.where(now, value, kept) for kept, value in zip(at, state, strict=True)]
        bounces += balls.step(0.005).bounced & (time >= before + 0.005)
    return BallState(*at), bounces


def test_ball_and_strings_come_together_at_the_strike(planned):
    _, pos, vel, _, plan, _ = planned
    ball, _ = flown(pos, vel, plan.goal.time)
    gap = ball.pos - RADIUS * plan.goal.normal - plan.goal.pos
    closing = ball.vel - plan.goal.vel
    after = -(gap * closing).sum(1) / (closing * closing).sum(1)
    assert (gap + closing * after[:, None]).norm(dim=1).max() < 0.02
    assert after.abs().max() < 0.01


def test_the_planned_ball_is_the_one_that_comes(planned):
    _, pos, vel, _, plan, _ = planned
    ball, _ = flown(pos, vel, plan.goal.time)
    assert (plan.ball.pos - ball.pos).norm(dim=1).max() < 0.05
    assert (plan.ball.vel - ball.vel).norm(dim=1).max() < 0.4
    # Spin that the bounce gave.
    assert (plan.ball.spin - ball.spin).norm(dim=1).max() < 0.2 * ball.spin.norm(dim=1).max()


def test_balls_are_met_between_first_and_second_bounce(planned):
    _, pos, vel, _, plan, _ = planned
    _, bounces = flown(pos, vel, plan.goal.time)
    assert (bounces == 1).all()


def test_goals_are_within_the_range_of_their_family(planned):
    planner, *_, plan, _ = planned
    config, strokes = planner.config, planner.strokes
    local = plan.ball.pos - torch.tensor([*STANCE[:2], 0.0])
    low, high = strokes.low[plan.stroke], strokes.high[plan.stroke]
    # A ball may pass up to half a step of the planner's, two control periods, off the point that was judged.
    slack = config.margin + strokes.dt * plan.ball.vel.norm(dim=1, keepdim=True)
    assert ((local > low - slack) & (local < high + slack)).all()
    assert ((plan.goal.time >= config.lead - 0.02) & (plan.goal.time <= planner.horizon)).all()
    assert torch.allclose(plan.goal.normal.norm(dim=1), torch.ones(len(local)), atol=1e-5)


def test_balls_on_the_right_are_forehands_and_on_the_left_backhands(planned):
    planner, *_, plan, side = planned
    assert torch.equal(plan.stroke, side)
    assert set(side.tolist()) == {0, 1}
    assert torch.equal(planner.strokes.face[plan.stroke] > 0, plan.goal.pos[:, 1] < 0)


def returned(planner: Planner, plan: Plan) -> tuple[BallState, torch.Tensor]:
    """Balls that rackets as planned send away, and their flights' first bounce (N, 3)."""
    normal, n = plan.goal.normal, len(plan.stroke)
    z = planner.strokes.face[plan.stroke][:, None] * normal
    x = planner.strokes.axis[plan.stroke]
    x = torch.nn.functional.normalize(x - (x * z).sum(1, keepdim=True) * z, dim=1)
    rot = torch.stack((x, torch.linalg.cross(z, x), z), dim=2)
    ball = plan.ball
    hit = impact(
        ball.vel, ball.spin, normal, ball.pos - RADIUS * normal, plan.goal.pos, rot, plan.goal.vel,
        torch.zeros(n, 3), planner.racket, planner.params,
    )  # fmt: skip
    away = BallState(ball.pos, hit.vel, hit.spin)
    return away, predict(away, planner.params, 3.0, 0.05).bounce_pos


def test_the_racket_sends_the_ball_where_it_is_aimed(planned):
    planner, *_, plan, _ = planned
    _, landing = returned(planner, plan)
    off = (landing[:, :2] - plan.aim).norm(dim=1)
    assert off.median() < 0.3
    assert off.max() < 1.0


def test_it_is_aimed_at_the_target_or_between_it_and_safety(planned):
    planner, *_, target, plan, _ = planned
    given, safe = planner.aims(target)[:, 0], planner.aims(target)[:, -1]
    torch.testing.assert_close(given, target)
    assert (safe[:, 0] <= planner.config.safe).all()
    count = len(planner.config.clearances)
    torch.testing.assert_close(plan.aim, torch.where((plan.option < count)[:, None], given, safe))


def test_returns_clear_the_net_by_what_is_asked_for(planned):
    planner, *_, plan, _ = planned
    away, _ = returned(planner, plan)
    balls = BallSim(len(plan.stroke))
    balls.reset(torch.arange(len(plan.stroke)), away.pos, away.vel, away.spin)
    over = torch.full((len(plan.stroke),), torch.nan)
    for _ in range(400):
        before = balls.state.pos.clone()
        events = balls.step(0.005)
        assert not events.net.any()
        crosses = (before[:, 0] < 0) & (balls.state.pos[:, 0] >= 0) & over.isnan()
        over = torch.where(crosses, balls.state.pos[:, 2], over)
    assert (over - 0.914 - planner.clearance[plan.option]).abs().max() < 0.4


def test_targets_near_the_lines_are_drawn_in(planned):
    planner, pos, vel, _, _, _ = planned
    config = planner.config
    deep = torch.tensor([[11.5, 4.0]]).expand(len(pos), 2)
    aim = planner.aims(deep)
    assert (aim[:, 0] == torch.tensor([config.deepest, config.widest])).all()
    _, landing = returned(planner, ask(planner, pos, vel, deep))
    assert (landing[:, 0] < config.deepest + 1.0).all()
    assert (landing[:, 1] < config.widest + 1.0).all()


@pytest.mark.parametrize(
    ("pos", "vel"),
    [
        ((-5.0, 6.0, 1.0), (-8.0, 0.0, 2.0)),  # far beside
        ((-5.0, 0.0, 1.0), (8.0, 0.0, 2.0)),  # flies away
        ((-5.0, -0.8, 5.0), (-9.0, 0.0, 9.0)),  # far over the robot
        ((-11.0, -0.8, 1.0), (-9.0, 0.0, 2.0)),  # too late
        ((-2.0, -0.8, 1.0), (-9.0, 0.0, -30.0)),  # bounces twice before it arrives
    ],
)
def test_balls_out_of_reach_are_let_go(strokes, pos, vel):
    plan = ask(Planner(strokes), torch.tensor([pos]), torch.tensor([vel]), torch.tensor([[5.0, 0.0]]))
    assert not plan.feasible.any()


def test_how_far_beside_a_ball_is_still_played_is_the_margin(planned):
    """Balls moved to the side one by one: what is let go passes farther from the families' range."""
    planner, pos, vel, target, _, side = planned
    forehand = (side == 0).nonzero()[0]
    count = 40
    beside = torch.linspace(0.0, 1.5, count)
    moved = pos[forehand] - torch.tensor([[0.0, 1.0, 0.0]]) * beside[:, None]
    rows = (vel[forehand].expand(count, 3), target[forehand].expand(count, 2))
    # Whatever it is worth.
    config = replace(planner.config, least=-4000.0)
    near = ask(Planner(planner.strokes, config), moved, *rows).feasible
    far = ask(Planner(planner.strokes, replace(config, margin=0.3)), moved, *rows).feasible
    assert near[0]
    assert not far[-1]
    # Once let go, farther ones are, too.
    assert (near.int().diff() <= 0).all()
    assert (far.int().diff() <= 0).all()
    gained = (far.sum() - near.sum()) * (beside[1] - beside[0])
    assert float(gained) == pytest.approx(0.3 - planner.config.margin, abs=0.08)


def test_a_ball_that_has_bounced_is_met_before_it_bounces_again(strokes):
    """It rises 2 m before the robot; who thinks that it has yet to bounce would wait for the next bounce."""
    planner, n = Planner(strokes), 16
    pos = torch.stack((torch.full((n,), -10.0), torch.full((n,), -0.75), torch.linspace(0.1, 0.4, n)), dim=1)
    vel = torch.tensor([[-4.5, 0.0, 3.5]]).repeat(n, 1)
    target = torch.tensor([[5.0, 0.0]]).repeat(n, 1)
    begun = {"time": torch.full((n,), 0.4), "begun": torch.ones(n).bool()}
    lands = predict(BallState(pos, vel, torch.zeros(n, 3)), planner.params).bounce_time
    plan = ask(planner, pos, vel, target, **begun, bounced=torch.ones(n).bool())
    assert plan.feasible.all()
    assert (plan.goal.time < lands).all()
    other = ask(planner, pos, vel, target, **begun, bounced=torch.zeros(n).bool())
    assert (~other.feasible | (other.goal.time > lands)).all()


def test_a_ball_that_will_have_bounced_twice_is_let_go(strokes):
    """One that has bounced already and comes down 1.5 m before the robot; were it the first bounce, it could be
    played."""
    planner = Planner(strokes)
    pos, vel = torch.tensor([[-7.5, -0.75, 1.5]]), torch.tensor([[-5.0, 0.0, 0.0]])
    lands = predict(BallState(pos, vel, torch.zeros(1, 3)), planner.params)
    assert -10.5 < lands.bounce_pos[0, 0] < -9.0
    target, begun = torch.tensor([[5.0, 0.0]]), {"time": torch.tensor([1.0]), "begun": torch.ones(1).bool()}
    assert ask(planner, pos, vel, target, **begun, bounced=torch.tensor([False])).feasible
    assert not ask(planner, pos, vel, target, **begun, bounced=torch.tensor([True])).feasible


def test_a_stroke_in_progress_keeps_its_family_and_about_its_time(planned):
    planner, pos, vel, target, plan, _ = planned
    begun = torch.ones(len(pos)).bool()
    again = ask(planner, pos, vel, target, stroke=plan.stroke, time=plan.goal.time, begun=begun)
    assert torch.equal(again.stroke, plan.stroke)
    assert torch.allclose(again.goal.time, plan.goal.time, atol=0.02)
    other = ask(planner, pos, vel, target, stroke=1 - plan.stroke, time=plan.goal.time, begun=begun)
    assert torch.equal(other.stroke, 1 - plan.stroke), "even where the other side were nearer"


def test_patience_keeps_the_time_of_a_stroke_in_progress(planned):
    planner, pos, vel, target, plan, _ = planned
    later = plan.goal.time + 0.05
    kept = {}
    for patience in (0.0, 1e3, 1e5):
        other = Planner(planner.strokes, replace(planner.config, patience=patience))
        asked = ask(
            other, pos, vel, target, stroke=plan.stroke, time=later, begun=torch.ones(len(pos)).bool()
        )
        kept[patience] = (asked.goal.time - later).abs().mean()
    assert kept[0.0] > 0.03
    assert kept[0.0] > kept[1e3] > kept[1e5]


def test_goals_follow_the_ball_smoothly(planned):
    """A ball seen 1 mm elsewhere is met 1 mm elsewhere, or, rarely, a control step sooner or later."""
    planner, pos, vel, target, plan, _ = planned
    begun = {"stroke": plan.stroke, "time": plan.goal.time, "begun": torch.ones(len(pos)).bool()}
    here = ask(planner, pos, vel, target, **begun)
    for axis in torch.eye(3):
        there = ask(planner, pos + 1e-3 * axis, vel, target, **begun)
        later = there.goal.time - here.goal.time
        assert later.abs().max() < 2 * planner.strokes.dt + 1e-4
        steady = later.abs() < 0.004
        assert steady.float().mean() > 0.9
        along = there.goal.pos - here.goal.pos - later[:, None] * here.ball.vel
        assert along.norm(dim=1).max() < 0.02
        assert (there.goal.vel - here.goal.vel)[steady].norm(dim=1).max() < 0.2
        assert (there.goal.normal - here.goal.normal)[steady].norm(dim=1).max() < 0.02


def test_meeting_points_move_with_the_robot(planned):
    """Robot, ball and target moved aside together: the same ball, seen from the stance."""
    planner, pos, vel, target, plan, _ = planned
    aside = torch.tensor([0.0, 0.4, 0.0])
    stance = (STANCE[0], STANCE[1] + 0.4, STANCE[2])
    other = ask(planner, pos + aside, vel, target + aside[:2], stance)
    # The net is lower or higher there, which may favour another way of return.
    same = (other.stroke == plan.stroke) & (other.option == plan.option)
    assert same.float().mean() > 0.8
    later = (other.goal.time - plan.goal.time)[same]
    assert later.abs().median() < 2e-3
    near = same & ((other.goal.time - plan.goal.time).abs() < 0.01)
    torch.testing.assert_close(other.ball.pos[near], (plan.ball.pos + aside)[near], atol=0.1, rtol=0)


def test_every_plan_is_finite(strokes):
    generator = torch.Generator().manual_seed(5)
    pos, vel = (scale * torch.randn(200, 3, generator=generator) for scale in (8.0, 15.0))
    plan = ask(Planner(strokes), pos, vel, pos[:, :2])
    for value in (plan.goal.pos, plan.goal.vel, plan.goal.normal, plan.goal.time, plan.ball.pos):
        assert value.isfinite().all()


def test_the_planners_racket_is_the_robots():
    racket = racket_body()
    assert racket.mass == RACKET.mass
    assert racket.com.tolist() == pytest.approx(list(RACKET.com), abs=1e-6)


def test_a_stroke_can_begin_between_its_shortest_and_its_own_time(strokes):
    """Else no ball could be played: the planner refuses those nearer than `lead`, the player those farther than
    the stroke is long."""
    assert PlannerConfig().lead + strokes.dt <= float(strokes.strike.min()) * strokes.dt + 1e-6
