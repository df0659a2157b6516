"""Where a viewer's avatar comes from: the newest moment, and what to say while there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from engine.avatar.topology import FusedAvatar
from engine.errors import AvatarError
from engine.identity_edit import IdentityEdit, IdentityStatus
from engine.types import AvatarState, Frame, FusedMesh


@dataclass(frozen=True, slots=True)
class Moment:
    """One state, the avatar that it poses, and the picture it was read from where known."""

    avatar: FusedAvatar
    """Of the state's identity, or of the one before while that has not arrived."""
    state: AvatarState
    frame: Frame | None = None
    mesh: FusedMesh | None = None
    """Posed already, by the server: draw it instead of the state, which may be another frame's."""

    @property
    def index(self) -> int:
        """Of the source frame that is drawn."""
        return self.state.index if self.mesh is None else self.mesh.index

    @property
    def captured_at_ns(self) -> int:
        """Of the source frame that is drawn."""
        return self.state.captured_at_ns if self.mesh is None else self.mesh.captured_at_ns


class Feed(Protocol):
    """What a viewer needs; every method may be called from the drawing thread at any time."""

    def newest(self) -> Moment | None:
        """The newest moment, or None before the first one.

        Raises:
            AvatarError: the feed has failed and will not recover.
        """

    def wait(self, after: Moment | None, timeout_s: float) -> Moment | None:
        """The newest moment as soon as it is another one than ``after``; None in vain.

        Raises:
            AvatarError: as ``newest``.
        """

    def status(self) -> str:
        """One sentence for the user while nothing arrives, else an empty string."""

    def statistics(self) -> dict[str, float]:
        """Named figures for the overlay."""

    def identity(self) -> IdentityStatus | None:
        """Who the avatar is and how surely; None before that is known."""

    def edit(self, edit: IdentityEdit) -> None:
        """Change the avatar; ``status`` says why where that is not allowed."""

    def close(self) -> None:
        """Stop receiving."""


class LocalFeed:
    """A slot of one, newest wins: filled by one thread, read by the drawing one."""

    def __init__(self, status: str = "Waiting for the first picture.") -> None:
        self._changed = threading.Condition()
        self._moment: Moment | None = None
        self._error: AvatarError | None = None
        self._status = status
        self._statistics: dict[str, float] = {}
        self.closed = threading.Event()
        """Set when the viewer has gone: whoever publishes can stop."""
        self.on_identity: Callable[[], IdentityStatus | None] = lambda: None
        """Where the identity is known; called on the drawing thread, as is ``on_edit``."""
        self.on_edit: Callable[[IdentityEdit], None] = lambda _: None

    def publish(self, moment: Moment) -> None:
        """Replace the newest moment."""
        with self._changed:
            self._moment, self._status = moment, ""
            self._changed.notify_all()

    def report(self, status: str | None = None, **statistics: float) -> None:
        """Replace the status sentence and figures that have changed."""
        with self._changed:
            if status is not None:
                self._status = status
            self._statistics = self._statistics | statistics

    def fail(self, error: AvatarError) -> None:
        """End the feed: every later read raises ``error``."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def newest(self) -> Moment | None:
        """See :class:`Feed`."""
        with self._changed:
            return self._read()

    def wait(self, after: Moment | None, timeout_s: float) -> Moment | None:
        """See :class:`Feed`."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._moment is not after, timeout_s)
            moment = self._read()
            return None if moment is after else moment

    def status(self) -> str:
        """See :class:`Feed`."""
        with self._changed:
            return self._status

    def statistics(self) -> dict[str, float]:
        """See :class:`Feed`."""
        with self._changed:
            return dict(self._statistics)

    def identity(self) -> IdentityStatus | None:
        """See :class:`Feed`."""
        return self.on_identity()

    def edit(self, edit: IdentityEdit) -> None:
        """See :class:`Feed`."""
        self.on_edit(edit)

    def close(self) -> None:
        """See :class:`Feed`."""
        self.closed.set()

    def _read(self) -> Moment | None:
        if self._error is not None:
            raise self._error
        return self._moment
