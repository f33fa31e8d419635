"""Small YAML files from people or strangers: read without surprises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 2**20


def read_yaml(path: Path, error: type[ValueError], what: str) -> Any:
    """The content of a YAML file; tags that would build objects are refused.

    Args:
        path: the file.
        error: what is raised when it cannot be read.
        what: what the file should be, for the message ("a skeleton mapping").

    Raises:
        ValueError: of the kind given, naming the file and the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path}: larger than {MAX_BYTES // 2**20} MiB, not {what}")
        return yaml.safe_load(path.read_bytes())
    except OSError as e:
        raise error(
            f"{path}: cannot be read ({e.strerror or e}); check the path and its permissions"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as e:
        if isinstance(e, error):
            raise
        reason = " ".join(str(e).split())[:200]
        raise error(f"{path}: not {what} ({type(e).__name__}: {reason}); correct the file") from None
