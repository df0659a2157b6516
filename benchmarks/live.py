"""``sars bench live``: from the camera's shutter to the drawn avatar, over a real connection.

Server and headless viewer run in processes of their own and talk WebRTC over loopback. Both read
the machine's one monotonic clock, so a frame's age when it is drawn needs no synchronisation.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import PeerError

START_TIMEOUT_S = 60.0


def bench_live(spec: str, seconds: float, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Serve a paced source, watch it headless, and report what the viewer measured.

    Args:
        spec: SOURCE as on the command line.
        seconds: how long the viewer watches.
        extra: more options for ``sars serve``.

    Returns:
        ``capture_to_draw_ms{p50,p95,p99} mbit_per_s frame_bytes{p50,max} delivered`` and more.

    Raises:
        PeerError: the server or the viewer failed; its own one-line reason is repeated.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "viewer.json"
        with _server(spec, port, extra):
            _wait_until_up(url)
            _run(["view", url, "--headless", "--seconds", str(seconds), "--json", str(report)])
        numbers: dict[str, Any] = json.loads(report.read_text())
        return numbers


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "sars", *arguments]


@contextmanager
def _server(spec: str, port: int, extra: tuple[str, ...]) -> Iterator[None]:
    arguments = ["serve", "--source", spec, "--loop", "--port", str(port), *extra]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(_command(arguments), stdout=log, stderr=log)
        try:
            yield
            if process.poll() is not None:
                log.seek(0)
                raise PeerError(f"the server stopped early: {_last_line(log.read())}")
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _run(arguments: list[str]) -> None:
    done = subprocess.run(_command(arguments), capture_output=True, text=True)
    if done.returncode != 0:
        raise PeerError(f"the viewer failed: {_last_line(done.stderr or done.stdout)}")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it gave no reason"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2.0):
                return
        except urllib.error.HTTPError:
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise PeerError(f"the server did not answer at {url} within {START_TIMEOUT_S:.0f} s")
