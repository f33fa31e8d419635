"""Who approved which policy for what: a log that only grows, and the gate that asks it.

The log is a text file with one JSON object a line. Each holds the SHA-256 of the line before it, and of itself, so that
a line that was changed, put in or taken out shows, but for lines taken off the end: `rally-deploy` prints how many
there are and the last one's hash, for whoever wants to write it down elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

USES = ("simulation", "tethered", "free")
"""What a policy may be approved for, each including those before it: a robot that others simulate, one that hangs in
its gantry or on a rope, one that stands by itself."""
LOG = Path("approvals.jsonl")
FIRST = "0" * 64
"""Stands for the line before the first."""
MAX_DAYS = 366
MAX_LOG_BYTES = 16 << 20


class ApprovalError(ValueError):
    """An approval that is missing, or a log that cannot be trusted. The message says what to do."""


@dataclass(frozen=True)
class Approval:
    """One line of the log.

    Attributes:
        number: of the line, from 1.
        time, expires: ISO 8601, UTC.
        person: who approved.
        policy: its name. bundle_sha256: what was approved, see `humanoid.bundle.PolicyBundle`.
        use: one of `USES`.
        report_sha256: of the report that was shown, or "".
        note: the person's words.
        before: `sha256` of the line before. sha256: of all this, see `digest`.
    """

    number: int
    time: str
    expires: str
    person: str
    policy: str
    bundle_sha256: str
    use: str
    report_sha256: str
    note: str
    before: str
    sha256: str = ""

    def digest(self) -> str:
        """Hash of everything but itself."""
        content = {key: value for key, value in asdict(self).items() if key != "sha256"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_log(path: Path) -> list[Approval]:
    """All approvals of a log, checked from the first line on; none if there is no file.

    Raises:
        ApprovalError: a line is not what was written, or cannot be read.
    """
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            raise ApprovalError(f"{path}: larger than {MAX_LOG_BYTES >> 20} MiB; not a log of approvals")
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ApprovalError(f"{path}: cannot be read ({error})") from None
    out: list[Approval] = []
    for number, line in enumerate(lines, 1):
        try:
            entry = Approval(**json.loads(line))
            if not all(
                isinstance(getattr(entry, f.name), int if f.name == "number" else str) for f in fields(entry)
            ):
                raise ValueError("a value of the wrong type")
        except (ValueError, TypeError, RecursionError) as error:
            raise ApprovalError(f"{path}, line {number}: not an approval ({error}); {_ADVICE}") from None
        before = out[-1].sha256 if out else FIRST
        if entry.number != number or entry.before != before or entry.sha256 != entry.digest():
            raise ApprovalError(f"{path}, line {number}: changed, or not in its place; {_ADVICE}")
        out.append(entry)
    return out


_ADVICE = (
    "nothing that stands in this log counts any more; find out who changed it, then approve anew in another"
)


def approve(
    path: Path,
    *,
    person: str,
    policy: str,
    bundle_sha256: str,
    use: str,
    days: float,
    report_sha256: str = "",
    note: str = "",
    now: datetime | None = None,
) -> Approval:
    """Append an approval.

    Args:
        path: of the log. now: time of approval; default: the clock's. Others: see `Approval`.
        days: until it expires.

    Raises:
        ApprovalError: a value makes no sense, or the log cannot be trusted.
    """
    now = now or datetime.now(UTC)
    if not person.strip():
        raise ApprovalError("person=: say who approves")
    if use not in USES:
        raise ApprovalError(f"use={use}: choose {', '.join(USES)}")
    if not 0 < days <= MAX_DAYS:
        raise ApprovalError(f"days={days:g}: give more than 0 and at most {MAX_DAYS}")
    if not re.fullmatch(r"[0-9a-f]{64}", bundle_sha256):
        raise ApprovalError(f"{bundle_sha256!r} is no bundle's hash")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        log = read_log(path)
        entry = Approval(
            len(log) + 1, _iso(now), _iso(now + timedelta(days=days)), person.strip(), policy, bundle_sha256, use,
            report_sha256, note.strip(), log[-1].sha256 if log else FIRST,
        )  # fmt: skip
        entry = Approval(**{**asdict(entry), "sha256": entry.digest()})
        file.write(json.dumps(asdict(entry), ensure_ascii=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return entry


def approved(path: Path, bundle_sha256: str, use: str, now: datetime | None = None) -> Approval:
    """The approval that lets a bundle be used so: the one that lasts longest.

    Args:
        path: of the log. bundle_sha256: of the bundle. use: one of `USES`. now: default: the clock's.

    Raises:
        ApprovalError: there is none, it has expired, is for less than this, or the log cannot be trusted.
    """
    now = now or datetime.now(UTC)
    if use not in USES:
        raise ApprovalError(f"use={use}: choose {', '.join(USES)}")
    own = [entry for entry in read_log(path) if entry.bundle_sha256 == bundle_sha256]
    how = f"a person approves it with rally-approve policy=… use={use} person=… log={path}"
    if not own:
        raise ApprovalError(f"nobody approved bundle {bundle_sha256[:12]}… for anything in {path}; {how}")
    enough = [entry for entry in own if USES.index(entry.use) >= USES.index(use)]
    if not enough:
        most = max(own, key=lambda entry: USES.index(entry.use))
        raise ApprovalError(
            f"bundle {bundle_sha256[:12]}… is approved for {most.use} at most (by {most.person}), not for {use}; {how}"
        )
    last = max(enough, key=lambda entry: _time(entry.expires))
    if not _time(last.time) <= now < _time(last.expires):
        raise ApprovalError(
            f"the approval of bundle {bundle_sha256[:12]}… for {last.use} by {last.person} holds from {last.time} to "
            f"{last.expires}, not now ({_iso(now)}); {how}"
        )
    return last


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise ApprovalError(f"{text!r} is no time") from None
