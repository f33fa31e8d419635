from dataclasses import replace

import numpy as np
import pytest

from humanoid.motion import MotionError
from humanoid.motion_library import MotionLibrary
from mocap.filters import velocity
from mocap.retarget import Retargeted
from mocap.robot import RobotModel
from mocap.rotations import axis_matrix, quat_from_matrix
from mocap.strike import Strike, find_strikes
from mocap.stroke_search import TOLERANCES, SearchError, StrokeIndex, execute, search


@pytest.fixture(scope="module")
def strikes(motion: Retargeted, robot: RobotModel) -> list[Strike]:
    return find_strikes(motion.motion("made up", {}), robot)


@pytest.fixture(scope="module")
def index(strikes: list[Strike]) -> StrokeIndex:
    """Two thousand strokes of all kinds, spread about the made-up player's."""
    rng = np.random.default_rng(0)
    kinds = [("forehand", "forehand"), ("backhand", "backhand"), ("volley", "backhand"), ("serve", "")]
    out = []
    for n in range(2000):
        kind, side = kinds[n % 4]
        out.append(
            replace(
                strikes[0],
                motion=f"clip {n}",
                kind=kind,
                side=side,
                height_m=float(rng.uniform(0.3, 1.9)),
                right_m=float(rng.uniform(-1.0, 1.0)),
                speed_m_s=float(rng.uniform(2.0, 14.0)),
            )
        )
    return StrokeIndex(out)


def test_a_strike_is_where_the_racket_is(motion: Retargeted, robot: RobotModel, strikes: list[Strike]):
    centre, _ = robot.tree.place(robot.racket, motion.joint_pos, motion.joint_rot)
    speed = np.linalg.norm(velocity(centre, motion.fps), axis=1)
    assert len(strikes) == len(motion.strokes)
    for found, stroke in zip(strikes, motion.strokes, strict=True):
        k = stroke.strike
        assert found.height_m == pytest.approx(centre[k, 2], abs=1e-3)
        assert np.hypot(found.right_m, found.forward_m) == pytest.approx(
            np.linalg.norm(centre[k, :2] - motion.root_pos[k, :2]), abs=1e-3
        )
        assert found.speed_m_s == pytest.approx(speed[k], rel=0.1)
        assert found.preparation_s == pytest.approx((k - stroke.start) / motion.fps)


def test_a_right_handers_forehand_is_met_on_the_right(strikes: list[Strike]):
    assert all(s.right_m > 0.1 for s in strikes)


def test_the_racket_moves_forward_and_faces_where_it_moves(strikes: list[Strike]):
    for s in strikes:
        assert s.direction[0] > 0.7
        assert s.direction[1] == pytest.approx(0.0, abs=1e-9)
        assert np.linalg.norm(s.direction) == pytest.approx(1.0)
        assert np.dot(s.normal, s.direction) > 0.7


def test_where_on_the_court_a_stroke_is_hit_does_not_matter(
    motion: Retargeted, robot: RobotModel, strikes: list[Strike]
):
    turn = axis_matrix("Z", np.array(2.1))
    there = motion.motion("made up", {})
    there.root_pos = there.root_pos @ turn.T + np.array([5.0, -3.0, 0.0])
    there.root_quat = quat_from_matrix(turn @ motion.root_rot)
    for a, b in zip(find_strikes(there, robot), strikes, strict=True):
        for field, _, _ in TOLERANCES.values():
            assert getattr(a, field) == pytest.approx(getattr(b, field), abs=1e-6)


def test_the_nearest_of_all_is_found(index: StrokeIndex):
    wanted = {"height": 0.9, "right": 0.6, "speed": 10.0}
    found = search(index, kind="forehand", n=5, **wanted)

    def distance(s: Strike) -> float:
        off = [(s.height_m - 0.9) / 0.1, (s.right_m - 0.6) / 0.15, (s.speed_m_s - 10.0) / 1.5]
        return float(np.sqrt(np.mean(np.square(off))))

    best = sorted(distance(s) for s in index.strikes if s.kind == "forehand")[:5]
    assert [m.distance for m in found] == pytest.approx(best)
    assert {m.strike.kind for m in found} == {"forehand"}
    assert found[0].differences["height"] == pytest.approx(found[0].strike.height_m - 0.9)


def test_volleys_are_searched_by_their_side(index: StrokeIndex):
    assert {m.strike.side for m in search(index, kind="volley", side="backhand", n=9)} == {"backhand"}
    assert search(index, kind="volley", side="forehand") == []


def test_a_stroke_that_is_asked_for_exactly_is_its_own_nearest(index: StrokeIndex):
    one = index.strikes[42]
    wanted = {k: getattr(one, field) for k, (field, _, _) in TOLERANCES.items()}
    (found,) = search(index, kind=one.kind, n=1, **wanted)
    assert found.strike == one
    assert found.distance == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"kind": "lob"}, "kind=lob: choose one of forehand"),
        ({"kind": "run"}, "moves are no strokes"),
        ({"side": "left"}, "side=left"),
        ({"spin": 3000.0}, "spin: not something to search for; choose among height"),
        ({"height": float("nan")}, "height=nan: give a number in m"),
        ({"n": 0}, "at least one"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(index: StrokeIndex, wish: dict, message: str):
    with pytest.raises(SearchError, match=message):
        search(index, **wish)


def test_an_index_is_read_back(tmp_path, index: StrokeIndex):
    index.save(tmp_path / "index.json")
    assert StrokeIndex.load(tmp_path / "index.json").strikes == index.strikes


@pytest.mark.parametrize("text", ["", "[]", '{"format": "stroke-index/9", "strikes": []}', '{"format": 1}'])
def test_a_damaged_index_is_refused(tmp_path, text: str):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(MotionError, match=r"index\.json: not a stroke index"):
        StrokeIndex.load(tmp_path / "index.json")


def test_the_command_answers_from_a_folder_of_motions(tmp_path, motion: Retargeted, capsys):
    motion.motion("made up", {}).save(tmp_path / "one.npz")
    assert (
        execute([str(tmp_path), "--kind", "forehand", "--height", "0.9", "--save", str(tmp_path / "i.json")])
        == 0
    )
    assert "forehand in" in capsys.readouterr().out
    assert execute([str(tmp_path / "i.json"), "--kind", "serve"]) == 1
    assert execute([str(tmp_path / "missing.safetensors")]) == 2
    assert "missing.safetensors" in capsys.readouterr().err


def test_a_library_gives_the_same_strikes_as_its_motions(tmp_path, motion: Retargeted, strikes: list[Strike]):
    MotionLibrary.write(tmp_path / "library.safetensors", [motion.motion("made up", {"licence": "CC0"})])
    index = StrokeIndex.of(tmp_path / "library.safetensors")
    assert [s.kind for s in index.strikes] == [s.kind for s in strikes]
    for a, b in zip(index.strikes, strikes, strict=True):
        assert (a.height_m, a.speed_m_s) == pytest.approx((b.height_m, b.speed_m_s), abs=1e-3)


def test_no_strokes_no_answer():
    assert search(StrokeIndex([]), kind="serve", height=2.0) == []
