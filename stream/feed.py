"""What the server sends: a live avatar, behind an interface that knows no engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from engine.errors import AvatarError
from engine.slot import Policy, Slot
from engine.types import AvatarState, FusedMesh

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


class LiveFeed:
    """A feed that is published into. ``publish_avatar`` comes before the states it belongs to."""

    def __init__(self) -> None:
        self._slot: Slot[FeedItem] = Slot(Policy.LATEST)
        self._avatars: dict[int, Callable[[], bytes]] = {}
        self._statistics: dict[str, float] = {}

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
        await self._slot.put(FeedItem(state, pose))

    def report(self, **statistics: float) -> None:
        """Replace figures for the watchers' overlays."""
        self._statistics = self._statistics | statistics

    async def close(self) -> None:
        """No more frames will come; watchers keep the last one."""
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
