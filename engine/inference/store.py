"""Where translated networks and the baked body live on disk, and whether they are whole."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_dir

from engine.errors import ModelFileError

MANIFEST = "manifest.json"
CURE = "run `sars setup` to fetch and rebuild it"


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class ModelStore:
    """A folder of model files with a manifest of their digests (written by ``sars setup``)."""

    folder: Path

    @staticmethod
    def default() -> ModelStore:
        """The user's cache folder, or ``$SARS_CACHE``."""
        return ModelStore(Path(os.environ.get("SARS_CACHE") or user_cache_dir("sars")))

    def manifest(self) -> dict[str, str]:
        """File name to SHA-256, empty before set-up.

        Raises:
            ModelFileError: the manifest is not a JSON object of strings.
        """
        path = self.folder / MANIFEST
        if not path.is_file():
            return {}
        try:
            entries = json.loads(path.read_text())
        except (ValueError, OSError) as error:
            raise ModelFileError(f"{path} is damaged ({error}); {CURE}") from error
        if not isinstance(entries, dict):
            raise ModelFileError(f"{path} is not a list of model files; {CURE}")
        return {str(name): str(digest) for name, digest in entries.items()}

    def is_complete(self) -> bool:
        """Whether set-up has finished: every file of the manifest is there."""
        names = self.manifest()
        return bool(names) and all((self.folder / name).is_file() for name in names)

    def path(self, name: str) -> Path:
        """The verified path of a model file.

        Raises:
            ModelFileError: the file is missing or its content is not what set-up wrote.
        """
        expected = self.manifest().get(name)
        path = self.folder / name
        if expected is None or not path.is_file():
            raise ModelFileError(f"the model {name} is not in {self.folder}; {CURE}")
        if sha256_of(path) != expected:
            raise ModelFileError(f"the model {path} is damaged (checksum differs); {CURE}")
        return path
