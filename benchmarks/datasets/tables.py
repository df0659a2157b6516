"""The paper's tables as a person reads them: its figures, and ours beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.report import print_table

TITLES = {
    "table_1": "Table I: point-to-plane distance, mm",
    "table_2": "Table II: LPIPS",
    "table_3": "Table III: joints, mm",
    "table_4": "Table IV: vertices, mm",
    "table_5": "Table V: ways of fusion, mm",
}
NOT_MEASURED = "not measured"
NOT_SHOWN = ("ran", "people", "failed", "not_measured")


def print_tables(data_set: str, found: Mapping[str, Any]) -> None:
    """Print every table of an evaluation, and its other figures below them.

    Args:
        data_set: its name.
        found: what the evaluation returned. ``table_N`` become tables under ``ran``, which says on
            how much they were measured; ``not_measured`` says by table why figures of ours are
            missing; who was left out of the means is named, and single people are for JSON alone.
    """
    from rich.console import Console
    from rich.table import Table

    console, reasons = Console(), found.get("not_measured", {})
    for name, title in TITLES.items():
        if name not in found:
            continue
        rows = rows_of(found[name], reasons.get(name))
        table = Table(title=f"{data_set}, SARS {title} ({found['ran']})")
        for n, column in enumerate(("", *columns_of(found[name]))):
            table.add_column(column.replace("_", " "), justify="right" if n else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    others = {name: v for name, v in found.items() if name not in (*TITLES, *NOT_SHOWN)}
    print_table(f"{data_set}, ours", others)
    left_out = found.get("failed", {})
    if left_out:
        console.print(f"left out of the means: {', '.join(left_out)}", markup=False)


def columns_of(table: Mapping[str, Any]) -> list[str]:
    """The names of a table's columns; Table V's rows lie one level deeper."""
    first = next(iter(table.values()))
    return list(first) if "paper" in first else columns_of(first)


def rows_of(table: Mapping[str, Any], reason: str | None = None) -> list[tuple[str, ...]]:
    """The rows as text, each with its name first.

    Args:
        table: of :func:`benchmarks.datasets.paper.beside`, or of several by name.
        reason: why figures of ours are missing, where they are.
    """
    missing = NOT_MEASURED if reason is None else f"{NOT_MEASURED}: {reason}"
    rows: list[tuple[str, ...]] = []
    for name, entry in table.items():
        if "paper" in entry:
            rows.append((name, *(missing if v is None else f"{v:g}" for v in entry.values())))
        else:
            rows += [(f"{name} {first}", *others) for first, *others in rows_of(entry, reason)]
    return rows
