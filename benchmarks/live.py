"""``sars bench live``: from the camera's shutter to the drawn avatar, over a real connection.

Server and headless viewer run in processes of their own and talk WebRTC over loopback. Both read
the machine's one monotonic clock, so a frame's age when it is drawn needs no synchronisation.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.child import last_line, sars_command, sars_numbers
from engine.errors import AvatarError, PeerError

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
        AvatarError: the server or the viewer failed; its own one-line reason is repeated.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with _server(spec, port, extra) as process:
        _wait_until_up(url, process)
        return sars_numbers(["view", url, "--headless", "--seconds", str(seconds)])


@contextmanager
def _server(spec: str, port: int, extra: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
    """A serving child. Whatever goes wrong in the block, a server that fell over is the reason."""
    arguments = ["serve", "--source", spec, "--loop", "--port", str(port), *extra]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(sars_command(arguments), stdout=log, stderr=log, text=True)
        try:
            yield process
        except AvatarError as error:
            if process.poll() is None:
                raise
            log.seek(0)
            raise PeerError(f"the server stopped: {last_line(log.read())}") from error
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2.0):
                return
        except urllib.error.HTTPError:
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise PeerError(f"the server did not answer at {url} within {START_TIMEOUT_S:.0f} s")
