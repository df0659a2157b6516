"""What the server sends: a live avatar, behind an interface that knows no engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from engine.errors import AvatarError
from engine.identity_edit import IdentityEdit, IdentityStatus
from engine.slot import Policy, Slot
from engine.types import AvatarState, FusedMesh
from stream.protocol import SourceState

_KEPT_AVATARS = 2
"""The newest identity, and the one that packets on their way still belong to."""


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One frame to send."""

    state: AvatarState
    pose: Callable[[], FusedMesh] | None = None
    """Makes its mesh; called on a worker thread where a watcher of the mesh tier wants it."""


class AvatarFeed(Protocol):
    """A live avatar; one server reads it."""

    def items(self) -> AsyncIterator[FeedItem]:
        """Frames as they come; a reader that is slow misses some. Ends with the source."""

    def avatar_glb(self, identity_version: int) -> bytes:
        """The base avatar of an identity that an item named; called on a worker thread.

        Raises:
            AvatarError: that identity is not known (any more).
        """

    def statistics(self) -> dict[str, float]:
        """Named figures for the watchers' overlays, at most 32."""

    @property
    def source(self) -> SourceState:
        """Where the frames come from."""

    def identity(self) -> IdentityStatus | None:
        """Who the avatar is; None before anything is known of it."""

    def edit(self, edit: IdentityEdit) -> None:
        """Change the avatar.

        Raises:
            AvatarError: there is none.
        """


class LiveFeed:
    """A feed that is published into. ``publish_avatar`` comes before the states it belongs to."""

    def __init__(self) -> None:
        self._slot: Slot[FeedItem] = Slot(Policy.LATEST)
        self._avatars: dict[int, Callable[[], bytes]] = {}
        self._statistics: dict[str, float] = {}
        self._identity: Callable[[], IdentityStatus] | None = None
        self._edit: Callable[[IdentityEdit], None] | None = None
        self.source: SourceState = "waiting"
        """Live from the first frame on; whoever publishes says when there are no more."""

    def steer(
        self, identity: Callable[[], IdentityStatus], edit: Callable[[IdentityEdit], None]
    ) -> None:
        """Say where the avatar's identity is known and changed; both are called on the event loop.

        Args:
            identity: who the avatar is now.
            edit: does what a user wishes, soon.
        """
        self._identity, self._edit = identity, edit

    def publish_avatar(self, identity_version: int, glb: Callable[[], bytes]) -> None:
        """Offer an identity's base avatar.

        Args:
            identity_version: as in the states that pose it.
            glb: writes the GLB; called on a worker thread, once, when a watcher needs it.
        """
        self._avatars.pop(identity_version, None)
        self._avatars[identity_version] = glb
        while len(self._avatars) > _KEPT_AVATARS:
            del self._avatars[next(iter(self._avatars))]

    async def publish(
        self, state: AvatarState, pose: Callable[[], FusedMesh] | None = None
    ) -> None:
        """Offer the newest frame; it replaces one that nobody has taken."""
        self.source = "live"
        await self._slot.put(FeedItem(state, pose))

    def report(self, **statistics: float) -> None:
        """Replace figures for the watchers' overlays."""
        self._statistics = self._statistics | statistics

    async def close(self) -> None:
        """No more frames will come; watchers keep the last one."""
        self.source = "ended"
        await self._slot.close()

    def items(self) -> AsyncIterator[FeedItem]:
        """See :class:`AvatarFeed`."""
        return self._slot

    def avatar_glb(self, identity_version: int) -> bytes:
        """See :class:`AvatarFeed`."""
        glb = self._avatars.get(identity_version)
        if glb is None:
            raise AvatarError(
                f"identity {identity_version} has no base avatar: publish it before its states"
            )
        return glb()

    def statistics(self) -> dict[str, float]:
        """See :class:`AvatarFeed`."""
        return self._statistics

    def identity(self) -> IdentityStatus | None:
        """See :class:`AvatarFeed`."""
        return None if self._identity is None else self._identity()

    def edit(self, edit: IdentityEdit) -> None:
        """See :class:`AvatarFeed`."""
        if self._edit is None:
            raise AvatarError("this server's avatar cannot be changed: it has no engine")
        self._edit(edit)
