"""What a spectator of a match sees: both players, the ball, the score."""

import numpy as np
import pytest

from humanoid.joints import READY_JOINT_POS
from sim import camera
from sim.court import DOUBLES_HALF_WIDTH, HALF_LENGTH
from sim.playback import Playback
from sim.recording import Recorder, RecordingError

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
