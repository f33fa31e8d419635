"""Pictures and videos, tiny. Skipped where there is no OpenGL."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from humanoid.joints import JOINT_NAMES, READY_JOINT_POS
from humanoid.motion import RobotMotion, Stroke
from sim import camera, gl
from sim.gl import RenderUnavailable
from sim.recording import Recorder, Recording

cv2 = pytest.importorskip("cv2", reason="needs the render extra")

from sim import render as rendering  # noqa: E402
from sim.overlay import BAD, FAIR, GOOD, WHITE, Overlay, tone  # noqa: E402
from sim.playback import CAPTION_S, Playback  # noqa: E402
from sim.renderer import Renderer  # noqa: E402
from sim.scene import build_scene  # noqa: E402
from sim.video import VideoWriter  # noqa: E402


@pytest.fixture(scope="module")
def graphics():
    try:
        rendering.check_available()
    except RenderUnavailable as error:
        pytest.skip(str(error))


READY = np.array([-12.0, 0.0, 0.75, 1, 0, 0, 0, *READY_JOINT_POS])
NAN2 = np.full(2, np.nan)


def game(frames: int = 10, fps: float = 25.0) -> Recording:
    recorder = Recorder(fps, title="stand · feed")
    for i in range(frames):
        recorder.add(READY, [-4.0 - 0.3 * i, 0.4, 1.5 - 0.02 * i], [8.0, 1.0], balls=i // 5, returned=0)
    recorder.caption("Miss")
    return recorder.finish()


def motion() -> RobotMotion:
    frames = 20
    return RobotMotion(
        name="sway",
        fps=20.0,
        joint_names=JOINT_NAMES,
        root_pos=np.tile([0.0, 0.0, 0.75], (frames, 1)),
        root_quat=np.tile([1.0, 0, 0, 0], (frames, 1)),
        joint_pos=np.tile(READY_JOINT_POS, (frames, 1)),
        contacts=np.ones((frames, 2), dtype=bool),
        strokes=(Stroke("forehand", "right", 0.2, 0.5, 0.9),),
    )


def read_video(path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        more, frame = capture.read()
        if not more:
            return frames
        frames.append(frame)


def test_video_plays_and_moves(graphics, tmp_path):
    path = tmp_path / "game.mp4"
    report = rendering.render(game(), path, width=192, height=108, fps=25, quality="draft")
    frames = read_video(path)
    assert report.frames == len(frames) == 10
    assert frames[0].shape == (108, 192, 3)
    assert frames[0].std() > 20
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 60
    assert [p.name for p in tmp_path.iterdir()] == ["game.mp4"]


def test_video_is_what_browsers_play(graphics, tmp_path):
    path = tmp_path / "game.mp4"
    rendering.render(game(2), path, width=64, height=64, quality="draft")
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert b"avc1" in content
    from sim.video import find_ffmpeg

    described = subprocess.run([find_ffmpeg(), "-i", path], capture_output=True, text=True).stderr
    assert "yuv420p" in described


@pytest.mark.parametrize("quality", list(rendering.QUALITIES))
def test_every_quality_renders(graphics, tmp_path, quality):
    report = rendering.render(game(1), tmp_path / "a.mp4", width=64, height=64, quality=quality)
    assert report.frames == 1


def test_two_robots_and_a_motion_render(graphics, tmp_path):
    other = READY.copy()
    other[[0, 3, 6]] = 12.0, 0.0, 1.0
    recorder = Recorder(25.0)
    recorder.add(np.stack([READY, other]))
    rendering.render(recorder.finish(), tmp_path / "match.mp4", width=64, height=64, quality="draft")
    rendering.render_motion(motion(), tmp_path / "m.mp4", width=64, height=64, quality="draft", fps=2)
    assert len(read_video(tmp_path / "m.mp4")) == 2


def test_strip_frames_the_strike(graphics, tmp_path):
    path = rendering.render_strip(motion(), tmp_path / "strip.png", count=4, height=100, quality="draft")
    strip = cv2.imread(str(path))
    assert strip.shape == (100, 4 * 100, 3)
    orange = [bool(b < 80 and r > 180) for b, _, r in strip[50, 1::100]]
    assert sum(orange) == 1


def test_ball_is_seen_where_it_is(graphics):
    scene = build_scene(shadow_size=0, samples=0, max_size=(200, 200))
    view = camera.View(np.array([-10.0, 0.0, 2.0]), np.array([0.0, 0.0, 2.0]))
    with Renderer(scene, 200, 200) as renderer:
        scene.pose(READY)
        empty = renderer.draw(view).astype(int)
        scene.pose(READY, ball=np.array([0.0, 1.0, 2.5]))
        ball = renderer.draw(view).astype(int)
    rows, columns = np.nonzero(np.abs(ball - empty).sum(-1) > 60)
    scale = 100 / (10.0 * np.tan(np.radians(view.fovy) / 2))
    assert columns.mean() == pytest.approx(99.5 - scale * 1.0, abs=1.0)
    assert rows.mean() == pytest.approx(99.5 - scale * 0.5, abs=1.0)


def test_renderer_leaves_mocap_and_physics_alone(graphics):
    scene = build_scene(shadow_size=0, samples=0, max_size=(64, 64))
    scene.pose(READY)
    before = scene.data.qpos.copy()
    with Renderer(scene, 64, 64) as renderer:
        renderer.draw(camera.broadcast(READY[:3]))
    np.testing.assert_array_equal(scene.data.qpos, before)


def test_interrupted_video_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def interrupted():
        with VideoWriter(path, 64, 64, 25) as video:
            video.add(np.zeros((64, 64, 3), dtype=np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_odd_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="even"):
        VideoWriter(tmp_path / "a.mp4", 63, 64, 25)


def test_unknown_quality_is_named(tmp_path):
    with pytest.raises(ValueError, match="draft, standard, high"):
        rendering.render(game(1), tmp_path / "a.mp4", quality="best")


def test_rendering_switched_off_says_so(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    with pytest.raises(RenderUnavailable, match="MUJOCO_GL=disable"):
        gl.create_context(16, 16)
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(RenderUnavailable, match="vulkan is none of egl"):
        gl.create_context(16, 16)


def test_no_driver_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(
        gl, "import_module", lambda name: (_ for _ in ()).throw(AttributeError("no libEGL\nx"))
    )
    with pytest.raises(
        RenderUnavailable, match=r"no OpenGL here \(egl: no libEGL\); on Debian: apt"
    ) as caught:
        gl.create_context(16, 16)
    assert "\n" not in str(caught.value)


def test_importing_needs_neither_display_nor_gl():
    code = "import sim.render, sys; assert 'OpenGL' not in sys.modules and 'mujoco.egl' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bounces_are_found_where_they_are():
    recorder = Recorder(50.0)
    for i in range(60):
        t = i / 50 - 0.507
        height = 0.0335 + 6.0 * abs(t) - 4.9 * t * t
        recorder.add(READY, [5.0 + 12.0 * t, 1.0, height])
    bounces = Playback(recorder.finish())._bounces
    assert len(bounces) == 1
    time, point, inside = bounces[0]
    assert time == pytest.approx(0.507, abs=0.03)
    np.testing.assert_allclose(point, [5.0, 1.0, 0.0], atol=0.08)
    assert inside


def test_a_new_ball_starts_a_new_trail():
    recorder = Recorder(50.0)
    for i in range(10):
        recorder.add(READY, [0.2 * i + (-15.0 if i >= 5 else 0.0), 0.0, 1.0])
    playback = Playback(recorder.finish())
    trail = playback.trail(9 / 50)
    assert trail is not None
    assert trail[:, 0].min() > -15
    assert np.ptp(trail[:, 0]) == pytest.approx(0.8)


def rally() -> Recording:
    """Two strokes, the harder one out."""
    recorder = Recorder(50.0)
    for i in range(100):
        t = (i % 50) / 50
        speed = 12.0 if i < 50 else 20.0
        x = -1.7 - 20.0 * t if t < 0.5 else -11.7 + speed * (t - 0.5)
        recorder.add(READY, [x, -0.6, 1.0])
        if i % 50 == 49:
            recorder.caption("Returned" if i < 50 else "Out")
    return recorder.finish()


def test_the_best_stroke_is_a_returned_one():
    playback = Playback(rally())
    assert [round(t, 2) for t, _ in playback.strikes()] == [0.5, 1.5]
    assert [round(gain) for _, gain in playback.strikes()] == [32, 40]
    assert playback.best_strike() == pytest.approx(0.5)
    assert Playback(game()).best_strike() is None


def test_replay_is_appended(graphics, tmp_path):
    options = {"width": 64, "height": 64, "quality": "draft", "fps": 5}
    plain = rendering.render(rally(), tmp_path / "a.mp4", replay=False, **options)
    report = rendering.render(rally(), tmp_path / "b.mp4", **options)
    assert report.frames - plain.frames == pytest.approx(0.74 / rendering.REPLAY_SPEED * 5, abs=1)
    assert len(read_video(tmp_path / "b.mp4")) == report.frames


def test_figures_follow_the_score():
    recorder = Recorder(50.0, title="t")
    recorder.add(READY, [0.0, 0, 1], balls=0, returned=0, success=0)
    recorder.add(READY, [0.4, 0, 1], balls=4, returned=3, success=1)
    playback = Playback(recorder.finish())
    assert playback.figures(0.0) == [
        ("balls", "0"), ("returned", "–"), ("on target", "–"), ("ball", "–"),
    ]  # fmt: skip
    assert playback.figures(0.02) == [
        ("balls", "4"), ("returned", "75 %"), ("on target", "25 %"), ("ball", "20 m/s"),
    ]  # fmt: skip


def test_captions_fade():
    recording = game(60)
    recording.captions = [(0.4, "Net")]
    playback = Playback(recording)
    assert playback.captions(0.3) == []
    assert playback.captions(0.5) == [("Net", 1.0)]
    (_, late), *_ = playback.captions(0.4 + CAPTION_S - 0.1)
    assert 0.0 < late < 1.0


def test_smooth_does_not_lag():
    path = np.stack([np.linspace(0, 10, 200), np.zeros(200), np.zeros(200)], axis=-1)
    slow = camera.smooth(path, 50.0, 0.3)
    np.testing.assert_allclose(slow[80:120], path[80:120], atol=0.02)


def test_overlay_stays_inside_and_colours_outcomes():
    overlay = Overlay(320, 180)
    picture = np.full((180, 320, 3), 90, dtype=np.uint8)
    overlay.board(picture, "stand", [("balls", "8"), ("returned", "50 %")])
    overlay.caption(picture, "Returned · 1.2 m from target", 0.5)
    assert picture[:60, :100].std() > 5
    assert (picture[60:150, 200:] == 90).all()
    assert tone("Returned · 2 m") == GOOD
    assert tone("Out") == FAIR
    assert tone("Fall") == BAD
    assert tone("right forehand") == WHITE
