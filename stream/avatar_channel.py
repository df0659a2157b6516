"""The base avatar's way over a reliable channel: a header with its hash, then chunks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from engine.errors import PeerError
from stream.protocol import (
    AVATAR,
    AVATAR_CHUNK_BYTES,
    AVATAR_MAX_BYTES,
    AVATAR_PROGRESS_BYTES,
    AVATAR_WINDOW_BYTES,
    AvatarHeader,
    encode_control,
)
from stream.transport import Transport


@dataclass(frozen=True, slots=True)
class AvatarFile:
    """One identity's GLB and its hash."""

    identity_version: int
    glb: bytes
    sha256: str

    @staticmethod
    def of(identity_version: int, glb: bytes) -> AvatarFile:
        """Hash a GLB.

        Raises:
            ValueError: empty, or larger than the protocol carries.
        """
        if not 0 < len(glb) <= AVATAR_MAX_BYTES:
            raise ValueError(f"a GLB must have 1 to {AVATAR_MAX_BYTES} bytes, not {len(glb)}")
        return AvatarFile(identity_version, glb, hashlib.sha256(glb).hexdigest())


class AvatarSender:
    """Sends avatars one after the other; of those that wait only the newest is kept.

    At most AVATAR_WINDOW_BYTES are on their way, so that the receiver's socket does not overflow,
    and at most two chunks are queued, because motion packets wait behind them.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._current: AvatarFile | None = None
        self._offset = 0
        self._acknowledged = 0
        self._next: AvatarFile | None = None

    def offer(self, avatar: AvatarFile) -> None:
        """Send this avatar as soon as the one on its way is through."""
        self._next = avatar
        self.pump()

    def progress(self, received: int) -> None:
        """The receiver has got this far with the avatar on its way.

        Raises:
            PeerError: it cannot have.
        """
        if not self._acknowledged <= received <= self._offset:
            raise PeerError(f"the watcher received {received} bytes of {self._offset} sent")
        self._acknowledged = received
        if self._current is not None and received == len(self._current.glb):
            self._current = None
        self.pump()

    def pump(self) -> None:
        """Send what the window and the queue allow; call it whenever the channel has drained."""
        if self._current is None and not self._begin():
            return
        while self._may_send() and self._send_chunk():
            pass

    def _may_send(self) -> bool:
        queue_is_short = self._transport.buffered(AVATAR) < AVATAR_CHUNK_BYTES
        return queue_is_short and self._offset - self._acknowledged < AVATAR_WINDOW_BYTES

    def _begin(self) -> bool:
        self._current, self._next = self._next, None
        self._offset = self._acknowledged = 0
        avatar = self._current
        if avatar is None:
            return False
        header = AvatarHeader(avatar.identity_version, avatar.sha256, len(avatar.glb))
        self._transport.send(AVATAR, encode_control(header))
        return True

    def _send_chunk(self) -> bool:
        """Send one chunk; False where nothing is left."""
        glb = self._current.glb if self._current is not None else b""
        chunk = glb[self._offset : self._offset + AVATAR_CHUNK_BYTES]
        if chunk:
            self._transport.send(AVATAR, chunk)
            self._offset += len(chunk)
        return bool(chunk)


class AvatarAssembler:
    """Puts chunks back together and believes nothing but the hash."""

    def __init__(self, max_bytes: int = AVATAR_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._header: AvatarHeader | None = None
        self._received = bytearray()
        self._reported = 0

    def begin(self, header: AvatarHeader) -> None:
        """A header has arrived.

        Raises:
            PeerError: the one before is not complete, or this one is too large.
        """
        if self._header is not None:
            raise PeerError("the peer began an avatar before the last one was complete")
        if header.size > self._max_bytes:
            raise PeerError(
                f"an avatar may have {self._max_bytes} bytes, the peer announced {header.size}"
            )
        self._header = header

    def progress(self) -> int | None:
        """Bytes so far, whenever it is time to report them to the sender."""
        received = len(self._received)
        if received - self._reported < AVATAR_PROGRESS_BYTES:
            return None
        self._reported = received
        return received

    def add(self, chunk: bytes) -> AvatarFile | None:
        """A chunk has arrived; the avatar once it is complete.

        Raises:
            PeerError: no header, more bytes than announced, or another hash.
        """
        header = self._header
        if header is None:
            raise PeerError("the peer sent a piece of an avatar without a header")
        self._received += chunk
        if len(self._received) > header.size:
            raise PeerError("the peer sent more bytes of an avatar than it announced")
        if len(self._received) < header.size:
            return None
        return self._finish(header)

    def _finish(self, header: AvatarHeader) -> AvatarFile:
        glb = bytes(self._received)
        self._header, self._received, self._reported = None, bytearray(), 0
        if hashlib.sha256(glb).hexdigest() != header.sha256:
            raise PeerError("the avatar does not match its SHA-256: it was damaged on the way")
        return AvatarFile(header.identity_version, glb, header.sha256)
