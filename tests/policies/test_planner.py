"""The planner's goals against the ball simulation."""

import pytest
import torch

from policies.planner import Planner
from policies.strokes import load_strokes
from sim.ball import BallState
from sim.ball_sim import BallSim
from sim.predict import predict
from sim.stringbed import Racket, impact

STANCE = (-11.9, 0.0, 0.0)
RADIUS = 0.0335


def ask(planner: Planner, pos, vel, target, stance=STANCE):
    n = len(pos)
    nothing = torch.zeros(n)
    return planner.plan(
        pos, vel, target, torch.tensor([stance]).expand(n, 3), nothing.long(), nothing, nothing.bool()
    )


@pytest.fixture(scope="module")
def planned(strokes):
    """Balls that will bounce and pass near the strokes' contact points, and their plans, all feasible."""
    planner = Planner(strokes)
    speed, up = torch.meshgrid(torch.tensor([7.0, 9.0, 11.0]), torch.linspace(-1.0, 4.0, 15), indexing="ij")
    up, speed = up.flatten().repeat(2), speed.flatten().repeat(2)
    n = len(up)
    stroke = torch.arange(n) * 2 // n
    pos = torch.tensor([0.0, 0.0, 1.0]).repeat(n, 1)
    vel = torch.stack((-speed, 0.1 * speed, up), dim=1)
    path = predict(BallState(pos, vel, torch.zeros(n, 3)), planner.params, 1.3, 0.02)
    meet = strokes.contact_pos[stroke, :2] + torch.tensor(STANCE[:2])
    generator = torch.Generator().manual_seed(0)
    pos[:, :2] = meet - path.pos[:, 50, :2] + 0.1 * torch.randn(n, 2, generator=generator)
    target = torch.stack((torch.full((n,), 5.0), torch.linspace(-2, 2, n)), dim=1)
    ids = ask(planner, pos, vel, target).feasible.nonzero().squeeze(1)
    assert len(ids) > 10
    return planner, pos[ids], vel[ids], target[ids], ask(planner, pos[ids], vel[ids], target[ids])


def flown(pos, vel, time):
    """Balls without spin at times (N,) from now, in the ball simulation."""
    balls = BallSim(len(pos))
    balls.reset(torch.arange(len(pos)), pos, vel)
    at = [torch.zeros_like(pos), torch.zeros_like(pos), torch.zeros_like(pos)]
    for step in range(1, int(float(time.max()) / 0.005) + 2):
        before = (step - 1) * 0.005
        now = ((time >= before) & (time < before + 0.005))[:, None]
        left = (time - before)[:, None]
        state = (balls.state.pos + left * balls.state.vel, balls.state.vel, balls.state.spin)
        at = [torch.where(now, value, kept) for kept, value in zip(at, state, strict=True)]
        balls.step(0.005)
    return BallState(*at)


def meeting(pos, vel, goal):
    """Ball and racket, which moves on as the goal says, where they come nearest: ball, gap (N, 3) between
    string-bed centre and ball, m, and how long after the strike (N,), s."""
    ball = flown(pos, vel, goal.time)
    gap = ball.pos - RADIUS * goal.normal - goal.pos
    closing = ball.vel - goal.vel
    after = -(gap * closing).sum(1) / (closing * closing).sum(1)
    return ball, gap + closing * after[:, None], after


def test_ball_and_strings_come_together_at_the_strike(planned):
    _, pos, vel, _, plan = planned
    _, gap, after = meeting(pos, vel, plan.goal)
    assert gap.norm(dim=1).max() < 0.02
    assert after.abs().max() < 0.025


def test_goals_are_within_reach_of_their_strokes(planned):
    planner, *_, plan = planned
    config, strokes = planner.config, planner.strokes
    local = plan.goal.pos - torch.tensor([*STANCE[:2], 0.0])
    off = (local[:, None] - strokes.contact_pos) / torch.tensor(config.reach)
    assert off.norm(dim=2).min(dim=1).values.max() < config.limit + 0.3
    assert ((plan.goal.time >= config.lead) & (plan.goal.time <= config.horizon)).all()
    assert torch.allclose(plan.goal.normal.norm(dim=1), torch.ones(len(local)), atol=1e-5)


def test_forehands_meet_balls_on_the_right(planned):
    planner, *_, plan = planned
    forehand = planner.strokes.face[plan.stroke] > 0
    assert (plan.goal.pos[forehand, 1] < 0.1).all()
    assert (plan.goal.pos[~forehand, 1] > -0.1).all()


def test_the_racket_returns_the_ball_as_planned(planned):
    """With all strokes to choose from, balls met as planned land near the aimed point and clear the net."""
    _, pos, vel, target, _ = planned
    planner = Planner(load_strokes())
    plan = ask(planner, pos, vel, target)
    ball, gap, after = meeting(pos, vel, plan.goal)
    normal, n = plan.goal.normal, len(pos)
    z = planner.strokes.face[plan.stroke][:, None] * normal
    x = planner.strokes.contact_axis[plan.stroke]
    x = torch.nn.functional.normalize(x - (x * z).sum(1, keepdim=True) * z, dim=1)
    rot = torch.stack((x, torch.linalg.cross(z, x), z), dim=2)
    centre = plan.goal.pos + plan.goal.vel * after[:, None]
    hit = impact(
        ball.vel, ball.spin, normal, centre + gap, centre, rot, plan.goal.vel, torch.zeros(n, 3),
        planner.racket, planner.params,
    )  # fmt: skip
    balls = BallSim(n)
    balls.reset(torch.arange(n), centre + gap + RADIUS * normal, hit.vel, hit.spin)
    landing, netted = torch.full((n, 2), torch.nan), torch.zeros(n, dtype=torch.bool)
    for _ in range(600):
        events = balls.step(0.005)
        netted |= events.net & landing[:, 0].isnan()
        first = events.bounced & landing[:, 0].isnan()
        landing[first] = events.bounce_pos[first, :2]
    config = planner.config
    aimed = torch.stack((target[:, 0].clamp(max=config.deepest), target[:, 1]), dim=1)
    miss = (landing - aimed).norm(dim=1)
    good = plan.feasible
    assert good.float().mean() > 0.8
    assert netted[good].float().mean() < 0.1
    assert miss[good].median() < 2.0
    assert (miss[good] < 3.0).float().mean() > 0.9


@pytest.mark.parametrize(
    ("pos", "vel"),
    [
        ((-5.0, 6.0, 1.0), (-8.0, 0.0, 2.0)),  # far beside
        ((-5.0, 0.0, 1.0), (8.0, 0.0, 2.0)),  # flies away
        ((-5.0, -0.8, 5.0), (-9.0, 0.0, 9.0)),  # far over the robot
        ((-11.0, -0.8, 1.0), (-9.0, 0.0, 2.0)),  # too late
    ],
)
def test_balls_out_of_reach_are_let_go(strokes, pos, vel):
    plan = ask(Planner(strokes), torch.tensor([pos]), torch.tensor([vel]), torch.tensor([[5.0, 0.0]]))
    assert not plan.feasible.any()


def test_goals_move_and_turn_with_the_robot(planned):
    """Robot and ball turned together by 90° and moved: the same meeting, seen from the stance."""
    planner, pos, vel, target, plan = planned

    def turned(value, by=(0.0, 0.0)):
        return torch.cat(
            (torch.stack((by[0] - value[:, 1], by[1] + value[:, 0]), dim=1), value[:, 2:]), dim=1
        )

    other = ask(planner, turned(pos, (2.0, 1.0)), turned(vel), target, (2.0, 1.0 + STANCE[0], 0.5 * torch.pi))
    assert other.feasible.all()
    # Aimed at the same place on the court from another one, but met at the same moment.
    assert torch.allclose(other.goal.time, plan.goal.time, atol=0.03)
    ahead = torch.tensor([2.0, 1.0 + STANCE[0]])
    assert (other.goal.pos[:, :2] - ahead).norm(dim=1).max() < 1.2


def test_a_stroke_in_progress_keeps_its_number(planned):
    planner, pos, vel, target, plan = planned
    n = len(pos)
    again = planner.plan(
        pos, vel, target, torch.tensor([STANCE]).expand(n, 3), plan.stroke, plan.goal.time,
        torch.ones(n, dtype=torch.bool),
    )  # fmt: skip
    assert torch.equal(again.stroke, plan.stroke)
    assert torch.allclose(again.goal.time, plan.goal.time, atol=0.15)


def test_the_planners_racket_is_the_robots():
    planner = Planner.__new__(Planner)
    Planner.__init__(planner, strokes=None)
    from humanoid.racket import RACKET

    assert isinstance(planner.racket, Racket)
    assert planner.racket.mass == RACKET.mass
    assert planner.racket.com.tolist() == pytest.approx(list(RACKET.com), abs=1e-6)
