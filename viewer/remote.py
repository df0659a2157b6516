"""A feed from a server: the stream's client on its own thread, avatars read on another."""

from __future__ import annotations

import threading
import time

import numpy as np

from engine.avatar.topology import FusedAvatar
from engine.errors import PeerError
from engine.fusion.normals import vertex_normals
from engine.identity_edit import RANGES, IdentityEdit, IdentityStatus
from engine.types import AvatarState, FusedMesh
from stream.client import ClientOptions, ClientThread
from stream.mesh_codec import ReceivedMesh
from stream.motion_receiver import MotionStatistics
from stream.protocol import Edit
from viewer.avatar_shelf import AvatarShelf
from viewer.feed import LocalFeed, Moment

QUIET_S = 3.0
FAILURE_POLL_S = 0.2
REFUSAL_S = 6.0
"""How long a user can read why an edit was not done."""
NO_FRAMES = {
    "ended": "The source has ended.",
    "waiting": "Waiting for a camera.",
    "live": "No new pictures from the camera.",
}


class RemoteFeed:
    """See :class:`viewer.feed.Feed`. Connects at once, and again whenever the server was away.

    Where ``options.tiers`` names ``mesh`` the server's meshes are shown as they come; states are
    posed only until the first one, so that a source that has ended is seen all the same.
    """

    def __init__(self, options: ClientOptions) -> None:
        """Start to watch.

        Args:
            options: what to watch; ``attempts`` decides whether it ever gives up.
        """
        self._slot = LocalFeed("Receiving the avatar.")
        self._shelf = AvatarShelf(self._show_newest, self._slot.fail)
        self._showing = threading.Lock()
        self._newest_state: AvatarState | None = None
        self._gets_meshes = False
        self._heard_at_s = time.monotonic()
        self._refusal, self._refused_at_s = "", -REFUSAL_S
        self._thread = ClientThread(options)
        client = self._thread.client
        client.on_connect = self._begin
        client.on_state = self._take_state
        client.on_avatar = self._shelf.put
        client.on_mesh = self._take_mesh
        client.on_refusal = self._take_refusal
        self._thread.__enter__()

    def newest(self) -> Moment | None:
        """See :class:`viewer.feed.Feed`."""
        self._raise_failure()
        return self._slot.newest()

    def wait(self, after: Moment | None, timeout_s: float) -> Moment | None:
        """See :class:`viewer.feed.Feed`."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._raise_failure()
            left_s = deadline_s - time.monotonic()
            # In slices: the client's giving up wakes nobody.
            moment = self._slot.wait(after, max(0.0, min(left_s, FAILURE_POLL_S)))
            if moment is not None or left_s <= FAILURE_POLL_S:
                return moment

    def status(self) -> str:
        """See :class:`viewer.feed.Feed`."""
        client, now_s = self._thread.client, time.monotonic()
        if now_s - self._refused_at_s < REFUSAL_S:
            return f"Not changed: {self._refusal}."
        if client.status:
            return client.status
        if client.source != "live":
            return NO_FRAMES[client.source]
        waiting = self._slot.status()
        if not waiting and now_s - self._heard_at_s > QUIET_S:
            return NO_FRAMES["live"]
        return waiting

    def statistics(self) -> dict[str, float]:
        """See :class:`viewer.feed.Feed`: what arrives here, then what the server says."""
        motion = self.motion()
        here = {}
        if motion is not None and motion.received:
            here = {
                "packets": float(motion.received),
                "lost": float(motion.lost),
                "packet_bytes": motion.packet_bytes_p50,
                "capture_to_arrival_ms": motion.latency_ms_p50,
            }
        return here | self._thread.client.server_statistics()

    def identity(self) -> IdentityStatus | None:
        """See :class:`viewer.feed.Feed`: the server's last word."""
        news = self._thread.client.identity
        if news is None:
            return None
        return IdentityStatus(
            version=news.version,
            confidence=news.confidence,
            locked=news.locked,
            pinned=news.pinned,
            **{name: getattr(news, name) for name in RANGES},
        )

    def edit(self, edit: IdentityEdit) -> None:
        """See :class:`viewer.feed.Feed`: asks the server."""
        self._thread.edit(Edit.of(edit))

    def motion(self) -> MotionStatistics | None:
        """How packets of the current connection arrive."""
        return self._thread.client.statistics()

    @property
    def connections(self) -> int:
        """How many there have been; figures of two do not mix."""
        return self._thread.client.connections

    @property
    def mesh_wire_bytes(self) -> int:
        """What the mesh tier of the current connection has cost, packets' headers included."""
        return self._thread.client.mesh_wire_bytes

    def close(self) -> None:
        """See :class:`viewer.feed.Feed`."""
        self._thread.close()
        self._shelf.close()

    def _raise_failure(self) -> None:
        if self._thread.error is not None:
            raise self._thread.error

    def _begin(self) -> None:
        """On the client's thread: another server's states must not pose the last one's avatar."""
        with self._showing:
            self._shelf.clear()
            self._newest_state, self._gets_meshes = None, False

    def _take_refusal(self, reason: str) -> None:
        """On the client's thread."""
        self._refusal, self._refused_at_s = reason, time.monotonic()

    def _take_state(self, state: AvatarState) -> None:
        """On the client's thread, for every frame."""
        self._newest_state, self._heard_at_s = state, time.monotonic()
        self._show_newest()

    def _show_newest(self) -> None:
        """On the client's thread or the shelf's, so one at a time: never an older state again."""
        with self._showing:
            state = self._newest_state
            avatar = None if state is None else self._shelf.get(state.identity_version)
            if state is not None and avatar is not None and not self._gets_meshes:
                self._slot.publish(Moment(avatar, state))

    def _take_mesh(self, mesh: ReceivedMesh) -> None:
        """On the client's thread, for every mesh."""
        state, avatar = self._newest_state, self._shelf.get(mesh.identity_version)
        self._heard_at_s = time.monotonic()
        if state is None or avatar is None:
            return
        fused = _fuse(mesh, avatar)
        with self._showing:
            self._gets_meshes = True
            self._slot.publish(Moment(avatar, state, mesh=fused))


def _fuse(mesh: ReceivedMesh, avatar: FusedAvatar) -> FusedMesh:
    """Positions from the wire, topology from the avatar, normals from both.

    Raises:
        PeerError: they do not belong together.
    """
    vertices = mesh.vertices_m
    if vertices.shape != avatar.rest_vertices_m.shape:
        raise PeerError(
            f"the server sent a mesh of {len(vertices)} vertices for an avatar of "
            f"{len(avatar.rest_vertices_m)}"
        )
    normals = np.empty_like(vertices)
    vertex_normals(vertices, avatar.topology.faces, normals)
    return FusedMesh(mesh.index, mesh.captured_at_ns, vertices, normals, avatar.topology)
