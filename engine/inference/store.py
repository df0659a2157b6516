"""Where translated networks and the baked body live on disk, and whether they are whole.

The manifest names every finished file with its digest and its recipe, so that set-up goes on
where it was interrupted and rebuilds what an older version of the project made.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from engine.avatar import anny
from engine.errors import ModelFileError
from engine.inference.catalog import NETWORKS

BODY_FILE = anny.FILE_NAME
CACHE_VARIABLE = "SARS_CACHE"
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
CURE = "run `sars setup` to fetch and rebuild it"
TRANSLATION_VERSION = 1
"""Raised whenever ``exporters`` would translate a network into another file than before."""

REQUIRED: Mapping[str, str] = {
    **{
        network.file_name: f"translation {TRANSLATION_VERSION} of {network.sha256}"
        for network in NETWORKS.values()
    },
    BODY_FILE: f"body {anny.FORMAT_VERSION}",
}
"""Every file that the engine needs, and the recipe that it must have been made by."""


@dataclass(frozen=True, slots=True)
class Record:
    """A finished file as set-up left it."""

    recipe: str
    sha256: str
    size: int
    mtime_ns: int

    @staticmethod
    def of(path: Path, recipe: str) -> Record:
        """The record of a file as it is now."""
        stat = path.stat()
        return Record(recipe, sha256_of(path), stat.st_size, stat.st_mtime_ns)

    @staticmethod
    def parse(entry: Any) -> Record:
        """A record out of JSON.

        Raises:
            LookupError, TypeError, ValueError: the entry is not a record.
        """
        names = (field.name for field in fields(Record))
        recipe, sha256, size, mtime_ns = (entry[name] for name in names)
        return Record(str(recipe), str(sha256), int(size), int(mtime_ns))

    def holds_for(self, path: Path) -> bool:
        """Whether the file is unchanged.

        It is read again only where its size is the same and its time is not: start-up is short.
        """
        stat = path.stat()
        if stat.st_size != self.size:
            return False
        return stat.st_mtime_ns == self.mtime_ns or sha256_of(path) == self.sha256


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class ModelStore:
    """A folder of model files with a manifest (written by ``sars setup``)."""

    folder: Path

    @staticmethod
    def default() -> ModelStore:
        """The user's cache folder, or ``$SARS_CACHE``."""
        return ModelStore(Path(os.environ.get(CACHE_VARIABLE) or user_cache_dir("sars")))

    def manifest(self) -> dict[str, Record]:
        """File name to record, empty before set-up.

        Raises:
            ModelFileError: the manifest is damaged.
        """
        path = self.folder / MANIFEST
        if not path.is_file():
            return {}
        try:
            if path.stat().st_size > MAX_MANIFEST_BYTES:
                raise ValueError("it is too long")
            entries = json.loads(path.read_text())
            return {str(name): Record.parse(entry) for name, entry in entries.items()}
        except (LookupError, ValueError, TypeError, AttributeError, OSError) as error:
            raise ModelFileError(f"the manifest {path} is damaged ({error}); {CURE}") from error

    def is_complete(self) -> bool:
        """Whether every required file is there, of the right recipe and undamaged.

        Raises:
            ModelFileError: the manifest is damaged.
        """
        records = self.manifest()
        return all(self._is_whole(name, records.get(name)) for name in REQUIRED)

    def is_whole(self, name: str) -> bool:
        """Whether one required file is finished, of the right recipe and undamaged."""
        return self._is_whole(name, self.manifest().get(name))

    def path(self, name: str) -> Path:
        """The verified path of a model file.

        Raises:
            ModelFileError: the file is missing, damaged, or made by another version.
        """
        record = self.manifest().get(name)
        path = self.folder / name
        if record is None or not path.is_file():
            raise ModelFileError(f"the model {name} is not in {self.folder}; {CURE}")
        if record.recipe != REQUIRED.get(name):
            raise ModelFileError(f"the model {path} was made by another version; {CURE}")
        if not record.holds_for(path):
            raise ModelFileError(f"the model {path} is damaged (its checksum differs); {CURE}")
        return path

    def write(self, name: str, content: bytes) -> None:
        """Put a required file in place, whole or not at all, and record it."""
        write_atomically(self.folder / name, content)
        self.record(name)

    def record(self, name: str) -> None:
        """Enter a required file that has just been finished into the manifest."""
        record = Record.of(self.folder / name, REQUIRED[name])
        records = {**self.manifest(), name: record}
        entries = {name: asdict(entry) for name, entry in sorted(records.items())}
        write_atomically(self.folder / MANIFEST, json.dumps(entries, indent=1).encode())

    def _is_whole(self, name: str, record: Record | None) -> bool:
        path = self.folder / name
        if record is None or record.recipe != REQUIRED[name] or not path.is_file():
            return False
        return record.holds_for(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not mkstemp, whose files only their owner may read: a shared store is for everybody.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
