"""What every bench and eval does with its numbers: percentiles, a table, a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.inference.store import write_atomically


def percentiles(values: Sequence[float], points: Sequence[int] = (50, 95, 99)) -> dict[str, float]:
    """``{"p50": ..., ...}`` of ``values``; empty input has no percentiles.

    Raises:
        ValueError: ``values`` is empty.
    """
    if not len(values):
        raise ValueError("percentiles need at least one value")
    numbers = np.percentile(np.asarray(values, dtype=np.float64), points)
    return {f"p{point}": round(float(n), 3) for point, n in zip(points, numbers, strict=True)}


def write_json(path: Path, numbers: Mapping[str, Any]) -> None:
    """Write ``numbers`` whole or not at all; what is not finite is null, as JSON has it."""
    write_atomically(path, (json.dumps(_finite(numbers), indent=2) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(title: str, numbers: Mapping[str, Any]) -> None:
    """The same numbers for a person: one row per leaf."""
    # Here, so that it does not count as memory of what is measured.
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in _leaves(numbers):
        table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    Console().print(table)


def _leaves(numbers: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            rows += _leaves(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows
