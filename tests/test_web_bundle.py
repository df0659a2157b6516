"""The committed page is the one that its sources make."""

from __future__ import annotations

import filecmp
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[1] / "viewer" / "web"
DIST = WEB / "dist"


def test_the_bundle_was_built_from_these_sources():
    lines = (DIST / "SOURCES.sha256").read_text().splitlines()
    built_from = dict(reversed(line.split("  ", 1)) for line in lines)
    names = ["build.mjs", "package-lock.json", "package.json"]
    names += [f"src/{path.name}" for path in (WEB / "src").iterdir()]
    present = {name: hashlib.sha256((WEB / name).read_bytes()).hexdigest() for name in names}
    assert built_from == present, "run `make web`"


def test_building_again_gives_the_same_bytes(tmp_path):
    node = shutil.which("node")
    if node is None or not (WEB / "node_modules").is_dir():
        pytest.skip("needs node and `npm ci` in viewer/web")
    command = [node, "build.mjs", f"--outdir={tmp_path}"]
    subprocess.run(command, cwd=WEB, check=True, capture_output=True)
    names = sorted(path.name for path in DIST.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert filecmp.cmpfiles(DIST, tmp_path, names, shallow=False) == (names, [], [])


def test_the_page_loads_nothing_from_elsewhere():
    for name in ("index.html", "style.css"):
        assert not re.search(r"https?://|//[a-z]+\.", (DIST / name).read_text())


def test_the_licence_of_what_is_bundled_travels_along():
    text = (DIST / "LICENSES.txt").read_text()
    assert "three.js" in text and "MIT" in text and "Permission is hereby granted" in text


def test_the_lock_file_names_no_registry():
    assert '"resolved"' not in (WEB / "package-lock.json").read_text()
