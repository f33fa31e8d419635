"""Approvals: a log that shows what was done to it, and a gate that asks it."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from humanoid.approval import FIRST, USES, ApprovalError, approve, approved, read_log
from humanoid.bundle import PolicyBundle

BUNDLE, OTHER = "a" * 64, "b" * 64
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def add(log, bundle=BUNDLE, use="tethered", days=10.0, person="A. Person", now=NOON, **more):
    return approve(log, person=person, policy="p", bundle_sha256=bundle, use=use, days=days, now=now, **more)


def test_what_was_approved_may_be_used_until_it_expires(tmp_path):
    log = tmp_path / "new" / "log"
    entry = add(log, note="gantry only")
    assert approved(log, BUNDLE, "tethered", NOON) == entry
    assert approved(log, BUNDLE, "tethered", NOON + timedelta(days=9.9)) == entry
    for when in (NOON - timedelta(seconds=1), NOON + timedelta(days=10)):
        with pytest.raises(ApprovalError, match="not now"):
            approved(log, BUNDLE, "tethered", when)


@pytest.mark.parametrize("given", USES)
@pytest.mark.parametrize("wanted", USES)
def test_a_use_includes_the_tamer_ones_only(tmp_path, given, wanted):
    log = tmp_path / "log"
    add(log, use=given)
    if USES.index(given) >= USES.index(wanted):
        assert approved(log, BUNDLE, wanted, NOON).use == given
    else:
        with pytest.raises(ApprovalError, match=f"approved for {given} at most"):
            approved(log, BUNDLE, wanted, NOON)


def test_another_bundle_is_not_approved(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(ApprovalError, match="nobody approved bundle bbbb"):
        approved(log, OTHER, "simulation", NOON)
    add(log)
    with pytest.raises(ApprovalError, match="nobody approved bundle bbbb"):
        approved(log, OTHER, "simulation", NOON)


def test_the_longest_of_several_counts(tmp_path):
    log = tmp_path / "log"
    entries = [add(log, days=days) for days in (3, 20, 5)]
    assert approved(log, BUNDLE, "tethered", NOON + timedelta(days=15)) == entries[1]


def test_lines_are_chained(tmp_path):
    log = tmp_path / "log"
    entries = [add(log, bundle) for bundle in (BUNDLE, OTHER, BUNDLE)]
    assert read_log(log) == entries
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert [entry.before for entry in entries] == [FIRST, entries[0].sha256, entries[1].sha256]
    assert all(entry.sha256 == entry.digest() for entry in entries)


def change_value(key, value):
    def change(lines):
        entry = json.loads(lines[1])
        entry[key] = value
        lines[1] = json.dumps(entry)

    return change


def forge(lines):
    """Changes a line and its own hash, as one who knows how would."""
    from dataclasses import replace

    from humanoid.approval import Approval

    entry = replace(Approval(**json.loads(lines[0])), use="free")
    lines[0] = json.dumps({**entry.__dict__, "sha256": entry.digest()})


@pytest.mark.parametrize(
    "change",
    [
        change_value("use", "free"),
        change_value("expires", "2099-01-01T00:00:00+00:00"),
        change_value("person", "B. Person"),
        change_value("number", "2"),
        change_value("extra", 1),
        forge,
        lambda lines: lines.pop(0),
        lambda lines: lines.pop(1),
        lambda lines: lines.insert(1, lines[0]),
        lambda lines: lines.reverse(),
        lambda lines: lines.append("{}"),
        lambda lines: lines.append("no JSON"),
        lambda lines: lines.append("[" * 100_000),
    ],
)
def test_a_log_that_was_tampered_with_counts_for_nothing(tmp_path, change):
    log = tmp_path / "log"
    for bundle in (BUNDLE, OTHER, BUNDLE):
        add(log, bundle)
    lines = log.read_text().splitlines()
    change(lines)
    log.write_text("\n".join(lines) + "\n")
    with pytest.raises(ApprovalError, match=r"line \d"):
        approved(log, BUNDLE, "simulation", NOON)
    with pytest.raises(ApprovalError, match=r"line \d"):
        add(log)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"person": " "}, "person="),
        ({"use": "everything"}, "use=everything"),
        ({"days": 0}, "days=0"),
        ({"days": float("nan")}, "days=nan"),
        ({"days": 1000}, "days=1000"),
        ({"bundle": "abc"}, "no bundle's hash"),
    ],
)
def test_approvals_that_make_no_sense(tmp_path, changes, text):
    log = tmp_path / "log"
    with pytest.raises(ApprovalError, match=text):
        add(log, **changes)
    assert read_log(log) == []


def test_many_at_once_are_all_written(tmp_path):
    script = (
        "from humanoid.approval import approve; from pathlib import Path; import sys\n"
        "for _ in range(20): approve(Path(sys.argv[1]), person='A', policy='p', bundle_sha256='c' * 64, "
        "use='free', days=1)"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "log")]) for _ in range(3)]
    assert [run.wait(timeout=60) for run in runs] == [0, 0, 0]
    assert len(read_log(tmp_path / "log")) == 60


# The command


def at_terminal(arguments, answer, cwd):
    """Run rally-approve with a terminal, type an answer: exit code and what was shown."""
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "humanoid.approve", *arguments], stdin=there, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, cwd=cwd, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    os.write(here, f"{answer}\n".encode())
    shown, _ = process.communicate(timeout=60)
    os.close(here)
    os.close(there)
    return process.returncode, shown


ARGUMENTS = ["policy=stand", "use=tethered", "person=A. Person", "log=log"]


def test_a_person_approves_at_a_terminal(tmp_path):
    digest = PolicyBundle.load("stand").bundle_sha256
    (tmp_path / "report.json").write_text("{}")
    code, shown = at_terminal([*ARGUMENTS, "report=report.json", "days=2"], digest[:8], tmp_path)
    assert code == 0, shown
    assert digest in shown
    (entry,) = read_log(tmp_path / "log")
    assert (entry.person, entry.use, entry.policy, entry.bundle_sha256) == (
        "A. Person",
        "tethered",
        "stand",
        digest,
    )
    assert entry.report_sha256.startswith("44136fa355b3678a")
    assert approved(tmp_path / "log", digest, "tethered") == entry


def test_another_answer_approves_nothing(tmp_path):
    code, shown = at_terminal(ARGUMENTS, "yes", tmp_path)
    assert code == 1
    assert "not approved" in shown
    assert read_log(tmp_path / "log") == []


def test_a_script_cannot_approve(tmp_path):
    digest = PolicyBundle.load("stand").bundle_sha256
    result = subprocess.run(
        [sys.executable, "-m", "humanoid.approve", *ARGUMENTS], input=digest[:8] + "\n", cwd=tmp_path, text=True,
        capture_output=True, env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=60,
    )  # fmt: skip
    assert result.returncode == 2
    assert "by a person at a terminal" in result.stderr
    assert read_log(tmp_path / "log") == []
