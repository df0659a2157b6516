"""Compile every network once, so that later starts load what the backend has kept."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version

from rich.progress import Progress

from engine.inference.catalog import NETWORKS
from engine.inference.compiled import COMPILED_FOLDER
from engine.inference.session import choose_backend, choose_precision, open_session
from engine.inference.store import ModelStore, write_atomically

STAMP = "warmed"
"""In the folder of compiled networks: who compiled them, and which files these were."""


def is_warm(store: ModelStore) -> bool:
    """Whether what is compiled is what :func:`warm` left, and of the backend's present version."""
    try:
        return (store.folder / COMPILED_FOLDER / STAMP).read_text() == _state(store)
    except (OSError, UnicodeDecodeError):
        return False


def warm(store: ModelStore, progress: Progress) -> None:
    """Compile everything anew: what another version has compiled is never read again.

    Raises:
        ModelFileError: a network is missing or damaged.
        AvatarError: the backend is unknown or not installed.
        OSError: the store cannot be written.
    """
    task = progress.add_task(f"warm {choose_backend()}", total=len(NETWORKS))
    shutil.rmtree(store.folder / COMPILED_FOLDER, ignore_errors=True)
    for name in NETWORKS:
        session = open_session(name, store)
        session(session.image)
        progress.advance(task)
    write_atomically(store.folder / COMPILED_FOLDER / STAMP, _state(store).encode())


def _state(store: ModelStore) -> str:
    backend = choose_backend()
    try:
        release = version(backend)
    except PackageNotFoundError:  # a package of another name may bring the same module
        release = "of an unknown version"
    blobs = sorted(path.name for path in (store.folder / COMPILED_FOLDER).glob("*.blob"))
    return "\n".join([f"{backend} {release}, {choose_precision()}", *blobs])
