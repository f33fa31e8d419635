"""The command ``rally-approve``: a person approves a policy for a use."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from humanoid.app import run_app
from humanoid.approval import ApprovalError, approve, read_log
from humanoid.bundle import BundleError, PolicyBundle

ASKED = 8
"""So many characters of the bundle's hash a person types."""


@dataclass
class ApproveConfig:
    """Schema of conf/approve.yaml, where each key is explained."""

    policy: str = MISSING
    use: str = MISSING
    person: str = MISSING
    report: str | None = None
    days: float = 30.0
    note: str = ""
    log: str = "approvals.jsonl"


def run(config: ApproveConfig) -> int:
    """Show what is known, ask, and append the approval; 0 when it was given, 1 when not.

    Raises:
        ApprovalError, BundleError: nothing could be asked.
    """
    log = Path(config.log)
    read_log(log)
    bundle = PolicyBundle.load(config.policy)
    digest = ""
    if config.report:
        try:
            digest = hashlib.sha256(Path(config.report).read_bytes()).hexdigest()
        except OSError as error:
            raise ApprovalError(f"report={config.report}: cannot be read ({error.strerror})") from None
    print(describe(bundle))
    print(f"report: {config.report} (SHA-256 {digest})" if digest else "report: none was read")
    print(f"{config.person} approves it for: {config.use}, for {config.days:g} days")
    if not sys.stdin.isatty():
        raise ApprovalError("approvals are given by a person at a terminal")
    answer = input(
        f"Type the first {ASKED} characters of the bundle's hash to approve, anything else not to: "
    )
    if answer.strip() != bundle.bundle_sha256[:ASKED]:
        print("not approved")
        return 1
    entry = approve(
        log,
        person=config.person,
        policy=bundle.name,
        bundle_sha256=bundle.bundle_sha256,
        use=config.use,
        days=config.days,
        report_sha256=digest,
        note=config.note,
    )
    print(f"approved until {entry.expires}: line {entry.number} of {log}, {entry.sha256}")
    return 0


def describe(bundle: PolicyBundle) -> str:
    """What a bundle says of itself, for the person who approves."""
    manifest = bundle.manifest
    lines = [
        f"policy: {bundle.name}",
        f"bundle: {bundle.bundle_sha256}",
        f"licence: {manifest['licence']}",
        manifest.get("description", ""),
    ]
    metrics: Any = manifest.get("metrics", {})
    for key in ("feed", "rally", "match"):
        row = metrics.get(key) if isinstance(metrics, dict) else None
        if isinstance(row, dict) and isinstance(row.get("in_court"), dict):
            rate = row["in_court"]
            lines.append(
                f"{key}: in court {100 * rate['rate']:.1f} % ({100 * rate['low']:.1f}–{100 * rate['high']:.1f}), "
                f"{row.get('falls_per_100', float('nan')):.1f} falls per 100 balls"
            )
    return "\n".join(line for line in lines if line)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``rally-approve``."""
    code = run_app(
        "rally-approve",
        run,
        conf=Path(__file__).with_name("conf"),
        schema=ApproveConfig,
        config_name="approve",
        expected=(ApprovalError, BundleError),
        arguments=arguments,
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
