"""Runs ``sars`` in a process of its own: what that measures of itself is then nobody else's."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import AvatarError


def sars_command(arguments: Sequence[str]) -> list[str]:
    """The command line of this very installation."""
    return [sys.executable, "-m", "sars", *arguments]


def last_line(text: str) -> str:
    """Of a child's output: where its reason stands."""
    lines = text.strip().splitlines()
    return lines[-1].removeprefix("sars: ") if lines else "it gave no reason"


def sars_numbers(arguments: Sequence[str]) -> dict[str, Any]:
    """Run a command that takes ``--json`` and return what it wrote.

    Raises:
        AvatarError: the command failed; its own one-line reason is repeated.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            sars_command([*arguments, "--json", str(report)]), capture_output=True, text=True
        )
        if done.returncode != 0:
            reason = last_line(done.stderr or done.stdout)
            raise AvatarError(f"sars {arguments[0]} failed: {reason}")
        numbers: dict[str, Any] = json.loads(report.read_text())
        return numbers
