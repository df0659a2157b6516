"""Fixtures that say why a test cannot run instead of passing without running."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.inference.store import ModelStore


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips and recordings, which a fresh clone does not have."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the recordings in ../shared/data, which are not part of the project")
    return folder


@pytest.fixture(scope="session")
def model_cache() -> ModelStore:
    """The translated networks and the baked body."""
    store = ModelStore.default()
    if not store.is_complete():
        pytest.skip("needs the models: run `sars setup` first")
    return store
