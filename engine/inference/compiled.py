"""What a backend has compiled, kept beside the models with a checksum.

Loading a compiled network takes a third of the time of compiling it. It is valid only for the
backend's version, the processor and the options that made it: all of them are in its recipe.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from engine.inference.store import ModelStore, Record, write_atomically

COMPILED_FOLDER = "compiled"
MAX_RECORD_BYTES = 1 << 16
_MAPPED: WeakValueDictionary[Path, mmap.mmap] = WeakValueDictionary()
_MAPPING = threading.Lock()


@dataclass(frozen=True, slots=True)
class CompiledCache:
    """One compiled network: ``<name>-<recipe's digest>.blob``, and its record beside it."""

    store: ModelStore
    name: str
    recipe: str

    def read(self) -> mmap.mmap | None:
        """The compiled network, mapped; None where there is none or it is damaged."""
        try:
            if self._record_path.stat().st_size > MAX_RECORD_BYTES:
                return None
            record = Record.parse(json.loads(self._record_path.read_text()))
            if record.recipe != self.recipe or not record.holds_for(self._path):
                return None
            return self._mapped()
        except (OSError, LookupError, TypeError, ValueError):
            return None

    def write(self, blob: bytes) -> None:
        """Keep it for the next start. A store that cannot be written costs only time."""
        with contextlib.suppress(OSError):
            write_atomically(self._path, blob)
            record = asdict(Record.of(self._path, self.recipe))
            write_atomically(self._record_path, json.dumps(record).encode())

    def _mapped(self) -> mmap.mmap:
        """One mapping for all sessions of a network: their weights are the same pages."""
        with _MAPPING:  # both hands' sessions are loaded at the same time
            mapped = _MAPPED.get(self._path)
            if mapped is None:
                with self._path.open("rb") as file:
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                _MAPPED[self._path] = mapped
            return mapped

    @property
    def _path(self) -> Path:
        digest = hashlib.sha256(self.recipe.encode()).hexdigest()[:12]
        return self.store.folder / COMPILED_FOLDER / f"{self.name}-{digest}.blob"

    @property
    def _record_path(self) -> Path:
        return self._path.with_suffix(".json")
