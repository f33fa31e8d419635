"""The retarget report as HTML: one page for the whole set, worst clips first, and one a clip."""

from __future__ import annotations

import base64
import html
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from mocap.report_figures import (
    GRADE_COLOURS,
    METRICS,
    PART_COLOURS,
    Record,
    badness,
    histogram,
    present,
    reasons,
    timeline,
    weighted_mean,
)

CLEANING: dict[str, tuple[str, float]] = {
    "trimmed_start_s": ("T-pose of {:.2f} s cut at the start", 0.0),
    "trimmed_end_s": ("T-pose of {:.2f} s cut at the end", 0.0),
    "glitch_frames": ("{:.0f} glitch frames", 0.0),
    "swaps": ("{:.0f} × limbs exchanged", 0.0),
    "dropouts": ("{:.0f} × joints lost", 0.0),
    "nan_frames": ("{:.0f} frames without data filled", 0.0),
    "floor_m": ("floor at {:+.3f} m", 0.01),
    "floor_tilt_deg": ("floor tilted by {:.1f}°", 0.2),
    "floor_drift_m_s": ("floor drifts by {:.4f} m/s", 0.001),
    "rest_s": ("{:.1f} s at rest", 0.0),
    "mirrored": ("mirrored", 0.0),
}
"""What was found in a clip and done to it, where the record's number is larger than the one here."""


@dataclass(frozen=True)
class Card:
    """A clip with its pictures.

    Attributes:
        record: its entry of report.json.
        human, robot: strips, as SVG or <img>; "" where there is none.
        captions: under each picture.
        provenance: of its motion.
        graphs: further SVG with headings, for the clip's own page.
    """

    record: Record
    human: str
    robot: str
    captions: Sequence[str]
    provenance: dict[str, Any]
    graphs: Sequence[tuple[str, str]] = ()


def jpeg(data: bytes, alt: str) -> str:
    """A picture inside the page."""
    text = base64.b64encode(data).decode()
    return f'<img src="data:image/jpeg;base64,{text}" alt="{html.escape(alt, quote=True)}">'


def set_page(
    records: Sequence[Record], worst: Sequence[Card], drawn: Sequence[Card], pages: set[str], title: str
) -> str:
    """The page for a whole set.

    Args:
        records: all clips of report.json.
        worst: the worst clips' pictures, the worst first. drawn: some clips at random.
        pages: names of the clips that have a page of their own.
        title: of the page.
    """
    good = [r for r in records if r.get("ok")]
    failed = [r for r in records if not r.get("ok")]
    linked = {card.record["clip"] for card in (*worst, *drawn)}
    parts = [_summary(records, good, failed), _targets(good, linked)]
    if failed:
        rows = "".join(
            f"<tr><td>{_text(r['clip'])}</td><td class=reason>{_text(r.get('error') or 'no reason given')}</td></tr>"
            for r in failed
        )
        parts.append(
            f"<h2>Failures</h2><table><thead><tr><th>clip<th>reason</thead><tbody>{rows}</tbody></table>"
        )
    parts.append(_groups(good))
    shown = present(good)
    charts = "".join(
        f"<figure><figcaption>{m.label} – {_text(m.about)}</figcaption>{histogram(m, good)}</figure>"
        for m in shown
    )
    parts.append(
        f"<h2>How the clips spread</h2><p>Heights are roots of counts.</p><div class=grid>{charts}</div>"
    )
    parts.append(_legend())
    for heading, note, cards in (
        ("Worst clips", "Ordered by how far beyond its target their worst figure is, and by grade.", worst),
        ("Clips at random", "What the set is like in general.", drawn),
    ):
        if cards:
            parts.append(f"<h2>{heading}</h2><p>{note}</p>")
            parts += [card_html(card, card.record["clip"] in pages) for card in cards]
    parts.append(_table(good, linked, pages))
    return _PAGE.replace("{title}", _text(title)).replace("{body}", "\n".join(parts))


def clip_page(card: Card) -> str:
    """The page of one clip."""
    record = card.record
    rows = "".join(
        f"<tr><td>{m.label}</td><td>{m.text(m.value(record))}</td><td>{_target(m)}</td><td>{_text(m.about)}</td></tr>"
        for m in METRICS
        if m.value(record) is not None
    )
    graphs = "".join(f"<h3>{_text(heading)}</h3>{svg}" for heading, svg in card.graphs)
    about = json.dumps(card.provenance, indent=1, ensure_ascii=False, default=str)
    body = (
        f"{_legend()}{card_html(card, False)}<h2>Figures</h2><table><tbody>{rows}</tbody></table>"
        f"<h2>Over time</h2>{graphs}<h2>Provenance</h2><pre>{_text(about)}</pre>"
    )
    return _PAGE.replace("{title}", _text(record["clip"])).replace("{body}", body)


def page_name(clip: str) -> str:
    """File name of a clip's page."""
    return clip.replace("/", "__") + ".html"


def card_html(card: Card, linked: bool) -> str:
    """Figures, timeline and strips of one clip."""
    record = card.record
    duration = motion_seconds(record)
    why = reasons(record)
    verdict = f"<p class=bad>{_text('; '.join(why))}</p>" if why else "<p class=good>within all targets</p>"
    figures = ", ".join(f"{m.label} {m.text(v)}" for m in METRICS if (v := m.value(record)) is not None)
    name = _text(record["clip"])
    if linked:
        name = f'<a href="clips/{quote(page_name(record["clip"]))}">{name}</a>'
    captions = "".join(
        f"<span{' class=worst' if text.startswith('worst') else ''}>{_text(text)}</span>"
        for text in card.captions
    )
    done = cleaning_done({**card.provenance, **record})
    facts = [
        f"{duration:.1f} s",
        f"{record.get('frames')} frames at {record.get('fps_in') or 0:g} Hz",
        f"unit {record.get('unit_m') or 0:g} m, {record.get('up')} up, {record.get('skeleton')}",
        *done,
        parts_found(record) or "no strokes",
    ]
    if record.get("duplicate_of"):
        facts.append(f"same as {record['duplicate_of']}")
    return (
        f'<section class=card id="{quote(record["clip"])}"><h3>{badge(record)}{name}</h3>{verdict}'
        f"<p class=facts>{_text('; '.join(facts))}<br>{_text(figures)}</p>"
        f"{timeline(record, duration)}<div class=strip>{card.human}{card.robot}"
        f"<div class=captions>{captions}</div></div></section>"
    )


def motion_seconds(record: Record) -> float:
    """Length of a clip's motion [s], from the record."""
    rate = record.get("motion_fps") or 50.0
    return max((record.get("motion_frames") or 1) - 1, 0) / rate


def cleaning_done(record: Record) -> list[str]:
    """What was found in a clip and done to it, as texts."""
    cleaning = record.get("cleaning")
    known = {**record, **cleaning} if isinstance(cleaning, dict) else record
    done = []
    for key, (text, least) in CLEANING.items():
        value = known.get(key)
        if isinstance(value, int | float) and abs(value) > least:
            done.append(text.format(value))
    return done


def parts_found(record: Record) -> str:
    """Strokes and moves of a clip, counted."""
    counts = Counter(str(part["kind"]) for part in (record.get("strokes") or []))
    counts.update(str(part["kind"]) for part in (record.get("moves") or []))
    return ", ".join(f"{n} × {kind.replace('_', ' ')}" for kind, n in counts.most_common())


def badge(record: Record) -> str:
    """The grade as a coloured letter; "" without one."""
    grade = str(record.get("grade") or "")
    colour = GRADE_COLOURS.get(grade[:1], "#868e96")
    return f'<b class=badge style="background:{colour}">{_text(grade)}</b> ' if grade else ""


def _summary(records: Sequence[Record], good: Sequence[Record], failed: Sequence[Record]) -> str:
    hours = sum(map(motion_seconds, good)) / 3600.0
    strokes = sum(len(r.get("strokes") or []) for r in good)
    copies = sum(bool(r.get("duplicate_of")) for r in good)
    beyond = sum(bool(reasons(r)) for r in good)
    speeds = [r["frames_per_s"] for r in good if r.get("frames_per_s")]
    said = [
        f"<b>{len(good)}</b> of {len(records)} clips retargeted",
        f"<b>{hours:.2f} h</b> of motion",
        f"<b>{len(failed)}</b> failed",
        f"<b>{beyond}</b> beyond some target",
        f"<b>{copies}</b> copies of another",
        f"<b>{strokes}</b> strokes",
    ]
    if speeds:
        said.append(f"<b>{np.median(speeds):.0f}</b> frames a second (median of clips)")
    grades = Counter(str(r.get("grade")) for r in good if r.get("grade"))
    bar = "".join(
        f'<span style="flex:{n};background:{GRADE_COLOURS.get(g[:1], "#868e96")}">{_text(g)} {n}</span>'
        for g, n in sorted(grades.items())
    )
    return f"<p class=summary>{' · '.join(said)}</p>" + (f"<div class=grades>{bar}</div>" if bar else "")


def _target(metric: Any) -> str:
    if metric.target is None:
        return ""
    if metric.target == 0.0:
        return "0"
    return f"{'>' if metric.higher else '<'} {metric.text(metric.target)}"


def _link(clip: str, linked: set[str]) -> str:
    """A clip's name, leading to its pictures where there are some."""
    return f'<a href="#{quote(quote(clip))}">{_text(clip)}</a>' if clip in linked else _text(clip)


def _targets(good: Sequence[Record], linked: set[str]) -> str:
    rows = []
    for m in present(good):
        mean = weighted_mean(m, good)
        known = [(v, r) for r in good if (v := m.value(r)) is not None]
        worst, record = (min if m.higher else max)(known, key=lambda pair: pair[0])
        where = _link(record["clip"], linked) if worst else "–"
        met = m.excess(mean) <= 1.0
        mark = (
            "<td></td>"
            if m.target is None
            else ("<td class=good>met</td>" if met else "<td class=bad>missed</td>")
        )
        beyond = sum(m.excess(v) > 1.0 for v, _ in known)
        rows.append(
            f"<tr><td>{m.label}</td><td>{m.text(mean)}</td><td>{_target(m)}</td>{mark}<td>{beyond}</td>"
            f"<td>{m.text(worst)}</td><td>{where}</td></tr>"
        )
    return (
        "<h2>The set against its targets</h2><div class=wide><table><thead><tr><th>figure<th>all frames<th>target"
        f"<th><th>clips beyond<th>worst<th>of clip</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _groups(good: Sequence[Record]) -> str:
    groups: dict[str, list[Record]] = {}
    for r in good:
        groups.setdefault(r["clip"].split("/")[0] if "/" in r["clip"] else "all", []).append(r)
    shown = present(good)
    head = "".join(f"<th>{m.label}" for m in shown)
    rows = []
    for name, members in sorted(groups.items()):
        cells = "".join(_cell(m, weighted_mean(m, members)) for m in shown)
        grades = Counter(str(r["grade"]) for r in members if r.get("grade"))
        letters = " ".join(f"{g}:{n}" for g, n in sorted(grades.items())) or "–"
        seconds = sum(map(motion_seconds, members))
        strokes = sum(len(r.get("strokes") or []) for r in members)
        rows.append(
            f"<tr><td>{_text(name)}</td><td>{len(members)}</td><td>{seconds / 60:.1f} min</td><td>{letters}</td>"
            f"<td>{strokes}</td>{cells}</tr>"
        )
    return (
        "<h2>By folder</h2><div class=wide><table><thead><tr><th>folder<th>clips<th>length<th>grades<th>strokes"
        f"{head}</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(metric: Any, value: float | None) -> str:
    bad = " class=bad" if metric.excess(value) > 1.0 else ""
    return f'<td{bad} data-v="{value if value is not None else ""}">{metric.text(value)}</td>'


def _table(good: Sequence[Record], linked: set[str], pages: set[str]) -> str:
    shown = present(good)
    head = "".join(f"<th>{m.label}" for m in shown)
    rows = []
    for r in sorted(good, key=badness, reverse=True):
        name = _link(r["clip"], linked)
        if r["clip"] in pages and r["clip"] not in linked:
            name = f'<a href="clips/{quote(page_name(r["clip"]))}">{_text(r["clip"])}</a>'
        cells = "".join(_cell(m, m.value(r)) for m in shown)
        done = "; ".join(
            cleaning_done(r) + ([f"same as {r['duplicate_of']}"] if r.get("duplicate_of") else [])
        )
        rows.append(
            f"<tr><td>{name}</td><td>{badge(r)}</td><td data-v={badness(r):.4g}>{badness(r):.2f}</td>"
            f"<td data-v={motion_seconds(r):.2f}>{motion_seconds(r):.1f} s</td>{cells}"
            f"<td data-v={len(r.get('strokes') or [])}>{_text(parts_found(r))}</td><td>{_text(done)}</td></tr>"
        )
    return (
        '<h2>All clips</h2><p>A click on a heading sorts. <input id=filter placeholder="part of a name"></p>'
        '<div class=wide><table id=all><thead><tr><th>clip<th>grade<th title="largest figure over its target">badness'
        f"<th>length{head}<th>found<th>cleaning</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _legend() -> str:
    items = "".join(
        f'<span><i style="background:{colour}"></i>{kind.replace("_", " ")}</span>'
        for kind, colour in PART_COLOURS.items()
    )
    return (
        f"<p class=legend>Timelines: strokes above, footwork below; strikes are black lines. {items}<br>Strips: the "
        "human above (left limbs blue, right orange), the robot below at the same moments, from the front, "
        "a little from its right; in red the moment at which their limbs differ most.</p>"
    )


def _text(value: Any) -> str:
    return html.escape(str(value))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; color: #212529; background: #fff; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin: 0 0 .2rem; }
p { margin: .3rem 0; } .summary { font-size: 1.05rem; }
.grades { display: flex; height: 1.6rem; border-radius: .3rem; overflow: hidden; margin: .6rem 0; max-width: 46rem; }
.grades span { color: #fff; padding: 0 .5rem; white-space: nowrap; min-width: 1.6rem; }
.badge { color: #fff; border-radius: .2rem; padding: 0 .4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #dee2e6; white-space: nowrap; }
td.reason { white-space: normal; } #all th { cursor: pointer; }
.bad { color: #c92a2a; font-weight: 600; } .good { color: #2b8a3e; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: .8rem; }
figure { margin: 0; } figcaption { font-size: .82rem; color: #495057; }
svg { display: block; width: 100%; height: auto; } svg text { font: 10px system-ui, sans-serif; fill: #495057; }
.sticks path { fill: none; stroke-width: 2.6; stroke-linecap: round; }
.sticks circle { fill: none; stroke: #495057; stroke-width: 2; }
.card { border-top: 2px solid #dee2e6; padding: .7rem 0 1rem; content-visibility: auto; contain-intrinsic-size: 30rem; }
.card .facts { font-size: .85rem; color: #495057; } .timeline { margin: .3rem 0; }
.strip { max-width: 66rem; } .strip img { display: block; width: 100%; }
.captions { display: flex; font-size: .78rem; color: #495057; } .captions span { flex: 1; text-align: center; }
.captions .worst { color: #c92a2a; }
.legend { font-size: .82rem; color: #495057; } .legend span { margin-right: .7rem; white-space: nowrap; }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .25em; border-radius: .15em; }
pre { font-size: .78rem; overflow-x: auto; background: #f8f9fa; padding: .6rem; }
</style>
</head>
<body>
<h1>{title}</h1>
{body}
<script>
const table = document.getElementById("all");
if (table) {
  const body = table.tBodies[0];
  const value = (row, i) => { const d = row.cells[i].dataset.v;
    return d === undefined ? row.cells[i].textContent : d === "" ? -Infinity : parseFloat(d); };
  table.tHead.rows[0].querySelectorAll("th").forEach((th, i) => { let up = false;
    th.onclick = () => { up = !up; const rows = [...body.rows];
      rows.sort((a, b) => { const x = value(a, i), y = value(b, i);
        const c = typeof x === "number" && typeof y === "number" ? y - x : String(x).localeCompare(String(y));
        return up ? c : -c; });
      body.append(...rows); }; });
  document.getElementById("filter").oninput = (event) => { const text = event.target.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(text); };
}
</script>
</body>
</html>
"""
