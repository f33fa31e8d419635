"""The report page: which clips it shows, in which order, and that it shows no lie."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from mocap.benchmark import synthetic_clip, to_bvh
from mocap.config import AppConfig
from mocap.pipeline import run
from mocap.report import ReportError, execute, write_report_page
from mocap.report_figures import METRICS, badness, graph, histogram, reasons, stick_strip
from mocap.report_page import cleaning_done
from mocap.strip import WORST, Strip, choose_moments, make_strip, robot_points

METRIC = {m.key: m for m in METRICS}


class Reader(HTMLParser):
    """Tags that are open at the end, text, ids and hrefs."""

    VOID = (
        "meta",
        "br",
        "img",
        "input",
        "i",
        "th",
        "tr",
        "td",
        "thead",
        "tbody",
        "p",
        "path",
        "rect",
        "circle",
    )

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.text, self.ids, self.links = [], "", [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips retargeted, one that fails."""
    path = tmp_path_factory.mktemp("report")
    (path / "in" / "set").mkdir(parents=True)
    (path / "in" / "set" / "a & b.bvh").write_text(to_bvh(synthetic_clip(4.0, 50.0)))
    (path / "in" / "set" / "c.bvh").write_text(to_bvh(synthetic_clip(2.0, 50.0)))
    (path / "in" / "bad.bvh").write_text("<script>alert(1)</script>")
    list(run(AppConfig(input=str(path / "in"), output=str(path / "out"), workers=1), lambda line: None))
    return path / "out"


def test_the_page_is_whole_and_needs_nothing_else(folder):
    reader = Reader(write_report_page(folder, sticks=True).read_text())
    assert reader.open == []
    assert "2 of 3 clips retargeted" in reader.text
    assert not [link for link in reader.links if link.startswith("http")]


def test_links_of_the_table_lead_to_pictures(folder):
    from urllib.parse import unquote

    reader = Reader(write_report_page(folder, sticks=True).read_text())
    inner = [unquote(link[1:]) for link in reader.links if link.startswith("#")]
    assert inner
    assert set(inner) <= set(reader.ids)


def test_every_row_of_a_table_has_a_cell_for_every_heading(folder):
    page = write_report_page(folder, sticks=True).read_text()
    tables = page.split("<table")[1:]
    assert len(tables) == 4
    for table in tables:
        head, body = table.split("</thead>")
        for row in body.split("</table>")[0].split("<tr>")[1:]:
            assert row.count("<td") == head.count("<th>") + head.count("<th title")


def test_names_and_reasons_from_strangers_are_text(folder):
    page = write_report_page(folder, sticks=True).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "a &amp; b" in page


def test_the_worst_clip_comes_first(folder, tmp_path):
    records = json.loads((folder / "report.json").read_text())
    for record in records:
        if record["clip"] == "set/c":
            record["penetration_fraction"] = 0.2
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".html":
            target = tmp_path / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / "report.json").write_text(json.dumps(records))
    page = write_report_page(tmp_path, worst=1, at_random=1, sticks=True).read_text()
    cards = [part.split('"')[0] for part in page.split('<section class=card id="')[1:]]
    assert cards[0] == "set/c"
    assert len(cards) == 2
    assert "penetration 20.00 % (target &lt; 0.50 %)" in page


def test_a_clip_has_its_own_page_when_asked(folder):
    write_report_page(folder, worst=0, at_random=0, clips=["set/c"], sticks=True)
    page = (folder / "clips" / "set__c.html").read_text()
    assert Reader(page).open == []
    assert "Speed of the racket" in page
    assert "content_sha256" in page


def test_human_and_robot_stand_at_the_same_place(folder, robot):
    """The human's figure is scaled to the robot: their pelvis and their standing feet are close."""
    from humanoid.motion import RobotMotion

    strip = Strip.load(folder / "set" / "c.strip.json")
    assert strip is not None
    motion = RobotMotion.load(folder / "set" / "c.npz")
    names, points = robot_points(robot, motion, np.rint(strip.times * motion.fps).astype(int))
    for name, most in (("pelvis", 0.2), ("left_ankle", 0.12), ("right_wrist", 0.35)):
        gap = points[:, names.index(name)] - strip.points[:, strip.names.index(name)]
        assert np.linalg.norm(gap, axis=1).max() < most, name


def test_a_folder_without_report_and_an_unknown_clip_are_named(tmp_path, folder, capsys):
    with pytest.raises(ReportError, match=r"report\.json: no such file; give a folder"):
        write_report_page(tmp_path)
    assert execute([str(folder), "--clip", "nobody"]) == 2
    assert "no retargeted clip 'nobody'" in capsys.readouterr().err


def test_a_damaged_report_is_named(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(ReportError, match="not a list of clips"):
        write_report_page(tmp_path)


def test_without_human_points_the_robot_is_still_shown(folder, tmp_path):
    (tmp_path / "x.npz").write_bytes((folder / "set" / "c.npz").read_bytes())
    record = {"clip": "x", "ok": True, "motion": "x.npz", "motion_frames": 100}
    (tmp_path / "report.json").write_text(json.dumps([record]))
    page = write_report_page(tmp_path, sticks=True).read_text()
    assert page.count('class="sticks"') == 1


@pytest.mark.parametrize("content", ["", "{}", '{"format": "motion-strip/1"}', "[" * 10_000])
def test_a_damaged_strip_is_as_none(tmp_path, content):
    (tmp_path / "s.strip.json").write_text(content)
    assert Strip.load(tmp_path / "s.strip.json") is None


def test_a_strip_comes_back_from_its_file(tmp_path, motion, robot):
    strip = make_strip(motion, robot)
    strip.save(tmp_path / "s.strip.json")
    again = Strip.load(tmp_path / "s.strip.json")
    assert again is not None
    assert again.labels == strip.labels
    np.testing.assert_allclose(again.points, strip.points, atol=6e-4)
    assert "forehand" in strip.labels
    assert WORST in strip.labels


def test_moments_are_strikes_where_there_are_some():
    times, labels = choose_moments(10.0, [(1.0, "serve"), (1.4, "smash"), (9.9, "volley")], 5.0, count=5)
    assert times.tolist() == [1.0, 3.0, 5.0, 5.0, 7.0, 9.9]
    assert labels[0] == "serve"
    assert labels[-1] == "volley"
    assert WORST in labels


def test_badness_is_excess_over_targets_and_grade():
    good = {"slide_m_s": 0.0, "direction_error_deg": 4.0, "grade": "A"}
    assert badness(good) < 1.0
    assert reasons(good) == []
    slides = good | {"slide_m_s": 0.06}
    assert badness(slides) == pytest.approx(2.05)
    assert reasons(slides) == ["sliding 6.00 cm/s (target < 3.00 cm/s)"]
    assert badness(good | {"grade": "D"}) == pytest.approx(badness(good) + 1.0)


def test_a_wrist_path_counts_only_with_strokes():
    record = {"wrist_correlation": 0.5}
    assert reasons(record) == []
    assert reasons(record | {"strokes": [{"kind": "serve"}]}) == ["wrist path 0.500 (target > 0.980)"]


def test_what_was_done_to_a_clip_is_said():
    record = {
        "trimmed_start_s": 1.2,
        "glitch_frames": 0,
        "cleaning": {"floor_m": 0.05, "swaps": 2, "mirrored": False},
    }
    assert cleaning_done(record) == [
        "T-pose of 1.20 s cut at the start",
        "2 × limbs exchanged",
        "floor at +0.050 m",
    ]
    assert cleaning_done({"cleaning": {"floor_m": 0.005}}) == []


def test_histogram_counts_every_clip_and_marks_those_beyond():
    records = [{"slide_m_s": v} for v in [0.0] * 9 + [0.1]]
    svg = histogram(METRIC["slide_m_s"], records)
    assert sum(int(part.split(" clips")[0]) for part in svg.split("<title>")[1:]) == 10
    assert svg.count("#e03131") == 1


def test_the_left_arm_is_on_the_pictures_right():
    """Seen from the front: the camera looks along -x at a figure that faces x; its left hand is at y > 0."""
    names = ("left_elbow", "left_wrist")
    points = np.array([[[0.0, 0.2, 1.0], [0.0, 0.6, 1.0]]])
    svg = stick_strip(names, points, np.zeros((1, 2)), np.array([np.pi]), 144, 176)
    line = svg.split('stroke="#1971c2"')[0].rsplit('d="M', 1)[1].split('"')[0]
    start, end = (float(part.split()[0]) for part in line.split("L"))
    assert 72 < start < end


def test_graphs_keep_peaks():
    values = np.zeros(10_000)
    values[1234] = 5.0
    svg = graph([("x", values, "#000")], 10.0, "m", width=100)
    assert "up to 5 m" in svg
    heights = [float(p.split()[1]) for p in svg.split('<path d="M')[-1].split('"')[0].split("L")]
    assert min(heights) < 20.0


def test_rally_retarget_writes_library_and_page_when_asked(tmp_path):
    from humanoid.motion_library import MotionLibrary

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "c.bvh").write_text(to_bvh(synthetic_clip(2.0, 50.0)))
    (tmp_path / "sources.yaml").write_text('"c": {licence: CC0-1.0}')
    library = tmp_path / "out" / "all.safetensors"
    config = AppConfig(
        input=str(tmp_path / "in"),
        output=str(tmp_path / "out"),
        library=str(library),
        sources=str(tmp_path / "sources.yaml"),
        report=True,
        workers=1,
    )
    said = []
    list(run(config, said.append))
    assert MotionLibrary.open(library).select(licence="CC0-1.0") == ["c"]
    assert library.with_suffix(".csv").is_file()
    assert "1 of 1 clips retargeted" in Reader((tmp_path / "out" / "report.html").read_text()).text
    assert any("1 motions" in line for line in said)
