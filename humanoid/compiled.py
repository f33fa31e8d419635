"""Compilation of what runs on every control step of a robot.

A numpy call takes a microsecond however little it does, and the checks of one robot are hundreds of them. So the code
of one robot is written joint by joint, compiled by numba, and looped over for many. Tables are arrays of records: a
call costs the same however many fields they have.

Compiled code is kept on disk beside its file, or in `NUMBA_CACHE_DIR`, and made anew when that file changes; a change
in another one goes unnoticed. So compiled functions call only those of their own file and take what other files say as
arguments; a test holds this. Whoever has compiled functions calls them when it is built, so that no control step waits
for the compiler: some seconds the first time, a few hundredths later. Nothing raises: divisions by zero give infinities
and NaN as in numpy.

With `NUMBA_DISABLE_JIT=1` the same code runs as plain Python, for debuggers and as a reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

compiled = njit(cache=True, error_model="numpy")
"""Decorator of functions of a control step, see the module."""


def record(fields: Any) -> np.dtype:
    """A structured type whose fields are attributes, in compiled code and without. Names that numpy's scalars have
    themselves, such as `size` and `base`, are none."""
    return np.dtype((np.record, np.dtype(fields)))


def rows(name: str, values: np.ndarray, size: int) -> np.ndarray:
    """A copy that compiled functions may take, which know one type and no bounds: (N, size), float64, contiguous.

    Raises:
        ValueError: it has another shape; the message names it.
    """
    out = np.array(values, dtype=np.float64, order="C")
    if out.ndim != 2 or out.shape[1] != size:
        raise ValueError(f"{name} has shape {out.shape}, expected (N, {size})")
    return out
