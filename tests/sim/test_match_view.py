"""What a spectator of a match sees: both players, the ball, the score."""

import numpy as np
import pytest
import torch

from humanoid.joints import READY_JOINT_POS
from sim import camera
from sim.aim import aim
from sim.ball import BallState
from sim.court import DOUBLES_HALF_WIDTH, HALF_LENGTH
from sim.match import Match, MatchConfig
from sim.match_view import stand_in
from sim.openings import Wall, stream
from sim.playback import Playback
from sim.recording import Recorder, RecordingError
from sim.scene import BALL_RADIUS, WALL_HALF_WIDTH, WALL_HEIGHT, build_scene

NEAR = np.array([-11.9, 0.0, 0.75, 1, 0, 0, 0, *READY_JOINT_POS])
FAR = np.array([11.9, 0.0, 0.75, 0, 0, 0, 1, *READY_JOINT_POS])


def on_screen(view: camera.View, point, aspect: float = 16 / 9) -> tuple[float, float]:
    """Place in the picture, right and up, from −1 to 1."""
    forward = (view.at - view.eye) / view.distance
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    way = np.asarray(point, dtype=float) - view.eye
    scale = way @ forward * np.tan(np.radians(view.fovy) / 2)
    return way @ right / (aspect * scale), way @ np.cross(right, forward) / scale


@pytest.mark.parametrize(
    "point",
    [
        *[
            (x, y, 0.0)
            for x in (-HALF_LENGTH, HALF_LENGTH)
            for y in (-DOUBLES_HALF_WIDTH, DOUBLES_HALF_WIDTH)
        ],
        (-13.5, 0.0, 0.0),  # a player behind the baseline, feet
        (12.5, 0.0, 1.4),  # the other one's head
        (0.0, 0.0, 4.0),  # a lob over the net
    ],
)
def test_the_stands_show_court_players_and_lobs(point):
    right, up = on_screen(camera.stands(), point)
    assert abs(right) < 1.0
    assert abs(up) < 1.0


def test_the_far_player_is_big_enough_to_be_seen():
    view = camera.stands()
    tall = on_screen(view, (11.9, 0, 1.32))[1] - on_screen(view, (11.9, 0, 0))[1]
    assert 0.5 * tall * 720 > 35  # pixels of a 720p picture


@pytest.fixture
def match():
    recorder = Recorder(50.0, "a against b, feed", players=("a", "b"))
    for i in range(4):
        score = {"near": (0, 15, 40, -1)[i], "far": (0, 0, 40, 40)[i], "near_games": 1, "far_games": i}
        recorder.add(np.stack([NEAR, FAR]), [0.0, 0.0, 1.0], **score, rally=i)
    return recorder.finish()


def test_the_board_has_names_games_and_points(match):
    figures = dict(Playback(match).figures(3 / 50))
    assert (figures["a"], figures["b"], figures["rally"]) == ("1  Ad", "3  40", "3")


def test_a_match_is_seen_from_the_stands_and_either_player_close(match):
    playback = Playback(match)
    assert playback.is_match
    assert np.array_equal(playback.broadcast(0.0)[0].eye, camera.stands().eye)
    for robot, x in ((0, -11.9), (1, 11.9)):
        view = playback.close_up(0.0, robot)
        assert view.at[0] == pytest.approx(x, abs=0.2)
        assert abs(view.eye[0]) < abs(view.at[0])  # from the front


def test_players_survive_a_file_and_must_be_two(match, tmp_path):
    match.save(tmp_path / "match.npz")
    assert type(match).load(tmp_path / "match.npz").players == ("a", "b")
    match.players = ("a",)
    with pytest.raises(RecordingError, match="players"):
        match.validate()


# Players without robots


def recorded(players, balls, robot=NEAR):
    """A match of one robot; `balls` (T, 3) are places of the ball, None where there is none."""
    recorder = Recorder(50.0, players=players)
    for ball in balls:
        recorder.add(robot, ball)
    return recorder.finish()


def there_and_back(deepest: float, frames: int = 30) -> list:
    """A ball that flies from the net to a place on the court and back."""
    way = np.linspace(-3.0, deepest, frames)
    return [(x, 1.0, 1.2) for x in [*way, *way[-2::-1]]]


def test_the_wall_is_where_balls_come_back():
    recording = recorded(("a", "wall"), there_and_back(9.0) + there_and_back(14.0))
    wall = stand_in(recording)
    assert wall.kind == "wall"
    for frame, x in ((29, 9.0), (59 + 29, 14.0)):
        assert wall.place[frame, 0] == pytest.approx(x + BALL_RADIUS)
    ball = recording.ball_pos[:, 0]
    assert (wall.place[:, 0] >= ball + 0.9 * BALL_RADIUS).all()
    # It slides from place to place and does not jump.
    assert np.abs(np.diff(wall.place[:, 0])).max() < 0.5


def test_a_wall_on_the_near_side_is_the_far_one_turned():
    balls = there_and_back(9.0)
    far = stand_in(recorded(("a", "wall"), balls))
    near = stand_in(recorded(("wall", "a"), [(-x, y, z) for x, y, z in balls], FAR))
    np.testing.assert_allclose(near.place[:, 0], -far.place[:, 0])


def test_the_wall_makes_room_for_a_ball_that_is_out():
    recording = recorded(("a", "wall"), [(x, 0.0, 1.0) for x in np.linspace(-2.0, 16.0, 80)])
    assert (stand_in(recording).place[:, 0] > recording.ball_pos[:, 0]).all()


class Steady:
    """Returns each ball at the top of its bounce to the middle of the court."""

    def play(self, match, ball, landed, params):
        if not landed or ball.vel[0, 2] > 0.0:
            return None
        plan = aim(ball.pos, torch.tensor([[8.0, 1.0]]), params, clearance=0.8)
        return BallState(ball.pos, plan.vel, torch.zeros(1, 3))


def test_a_played_match_is_drawn_where_it_was_simulated(monkeypatch):
    """The wall is drawn from what the recording shows, and holds every ball that it returned."""
    monkeypatch.setattr("sim.openings.BLOCK", 1)
    monkeypatch.setattr("sim.openings.PAGE", 2)
    walls = [Steady(), Wall("rally", [stream(3)])]
    match = Match((None, None), MatchConfig(level="rally", points=1, pause=0.1, max_strokes=3), walls)
    recorder, returned = Recorder(50.0, players=("a", "wall")), {}
    play = walls[1].play

    def seen(number, ball, landed, params):
        answer = play(number, ball, landed, params)
        if answer is not None:
            returned[recorder_frames()] = -ball.pos[0].numpy() * (1, 1, -1)
        return answer

    def recorder_frames() -> int:
        return len(recorder._qpos)

    walls[1].play = seen
    while not bool(match.finished.all()):
        match.step()
        recorder.add(NEAR, match.balls.state.pos[0].numpy() if bool(match.balls.active[0]) else None)
    wall = stand_in(recorder.finish())
    assert len(returned) == 1
    for frame, (x, y, z) in returned.items():
        assert wall.at(frame / 50.0)[0] == pytest.approx(x + BALL_RADIUS, abs=1e-4)
        assert abs(y) < WALL_HALF_WIDTH
        assert 0.0 < z < WALL_HEIGHT


def test_the_machine_is_where_its_balls_leave():
    flight = [(9.0 - 0.2 * i, 1.0, 2.0) for i in range(60)]
    later = [(10.0 - 0.2 * i, -2.0, 1.0) for i in range(60)]
    machine = stand_in(recorded(("a", "machine"), [*flight, None, *later]))
    assert machine.kind == "machine"
    np.testing.assert_allclose(machine.place[0], flight[0])
    np.testing.assert_allclose(machine.place[61], later[0])


def test_only_players_without_robots_are_stood_in_for(match):
    assert stand_in(match) is None
    assert stand_in(recorded((), [(0, 0, 1)])) is None
    assert stand_in(recorded(("a", "b"), [(0, 0, 1)])) is None


def test_wall_and_machine_stand_in_the_scene_and_are_away_otherwise():
    scene = build_scene(1)
    wall = scene.data.geom("wall")
    for way in (1.0, -1.0):
        scene.pose(NEAR, wall=np.array([12.0 * way, 0, 0]), machine=np.array([9.0 * way, 1.0, 2.0]))
        thick, wide, half = scene.model.geom("wall").size
        # Its face is at 12 m, the rest behind it.
        assert wall.xpos[0] == pytest.approx(way * (12.0 + thick))
        assert (wall.xpos[2] - half, wall.xpos[2] + half) == pytest.approx((0.0, Wall.HIGHEST))
        assert wide == WALL_HALF_WIDTH
        assert abs(scene.data.geom("machine").xpos[0]) > 9.0
    assert 0.0 < scene.model.material("glass").rgba[3] < 0.5
    scene.pose(NEAR)
    assert wall.xpos[2] < -10.0
    assert scene.data.geom("machine").xpos[2] < -10.0
