"""The avatars that a server has sent: read on a thread of their own, kept by version."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np

from engine.avatar.glb_reader import read_glb
from engine.avatar.topology import FusedAvatar, Topology
from engine.errors import AvatarError
from stream.avatar_channel import AvatarFile

log = logging.getLogger(__name__)

KEPT_AVATARS = 2
"""The newest, and the one that states on their way still belong to."""


class AvatarShelf:
    """Reads files as they come. Queue policy: latest(1), a file that waits gives way to a newer.

    Args:
        on_read: called on the reading thread whenever there is one more avatar.
        on_error: called on the reading thread with what is wrong with a file.
    """

    def __init__(
        self, on_read: Callable[[], None], on_error: Callable[[AvatarError], None]
    ) -> None:
        self._on_read, self._on_error = on_read, on_error
        self._changing = threading.Lock()
        self._waiting: AvatarFile | None = None
        self._avatars: dict[int, FusedAvatar] = {}
        self._connection = 0
        self._reading = ThreadPoolExecutor(1, "avatar")

    def put(self, file: AvatarFile) -> None:
        """Read this file next; returns at once."""
        with self._changing:
            already_asked = self._waiting is not None
            self._waiting = file
        if not already_asked:
            self._reading.submit(self._read_next)

    def get(self, identity_version: int) -> FusedAvatar | None:
        """The avatar of that version, or the newest one while that is on its way.

        A pose fits every identity's avatar: the last face is better than a frozen picture.
        """
        avatars = self._avatars
        newest = next(reversed(avatars.values()), None)
        return avatars.get(identity_version, newest)

    def clear(self) -> None:
        """Another server's versions begin: what is here or on its way belongs to the last one's."""
        with self._changing:
            self._connection += 1
            self._waiting, self._avatars = None, {}

    def close(self) -> None:
        """End the thread after the file that it is reading."""
        self._reading.shutdown(cancel_futures=True)

    def _read_next(self) -> None:
        with self._changing:
            file, self._waiting = self._waiting, None
            connection = self._connection
        if file is None:
            return
        try:
            avatar = sharing(read_glb(file.glb), next(reversed(self._avatars.values()), None))
        except AvatarError as error:
            self._on_error(AvatarError(f"the server sent an unusable avatar: {error}"))
        except Exception as error:  # a thread that dies in silence is a viewer that waits for ever
            log.exception("reading an avatar failed by a defect of ours")
            reason = f"the server sent an avatar that fails here ({type(error).__name__})"
            self._on_error(AvatarError(reason))
        else:
            self._keep(file.identity_version, avatar, connection)

    def _keep(self, identity_version: int, avatar: FusedAvatar, connection: int) -> None:
        with self._changing:
            if connection != self._connection:
                return
            avatars = {v: a for v, a in self._avatars.items() if v != identity_version}
            avatars[identity_version] = avatar
            for version in list(avatars)[:-KEPT_AVATARS]:
                del avatars[version]
            self._avatars = avatars  # replaced as a whole: ``get`` takes no lock
        self._on_read()


_Record = TypeVar("_Record", FusedAvatar, Topology)


def sharing(avatar: FusedAvatar, known: FusedAvatar | None) -> FusedAvatar:
    """The avatar with the known one's own arrays wherever both are equal.

    Identities of one person differ in little; what is the same object need not be sorted for
    skinning or uploaded again while somebody watches.
    """
    if known is None:
        return avatar
    topology = _with_equal_arrays(avatar.topology, known.topology)
    is_known = all(
        getattr(topology, field.name) is getattr(known.topology, field.name)
        for field in fields(Topology)
    )
    avatar = _with_equal_arrays(avatar, known)
    return replace(avatar, topology=known.topology if is_known else topology)


def _with_equal_arrays(mine: _Record, known: _Record) -> _Record:
    pairs = {f.name: (getattr(mine, f.name), getattr(known, f.name)) for f in fields(mine)}
    equal = {
        name: theirs
        for name, (ours, theirs) in pairs.items()
        if isinstance(ours, np.ndarray) and np.array_equal(ours, theirs)
    }
    return replace(mine, **equal)
