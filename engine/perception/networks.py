"""Opens perception's networks: a session for each tracker, and the detectors when needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from engine.inference.session import Session, open_session
from engine.inference.store import ModelStore
from engine.types import F32

LOADERS = 2
PRELOADED = (
    "pose_landmarks",
    "hand_landmarks",
    "hand_landmarks",
    "pose_detection",
    "face_attention",
    "face_detection",
    "palm_detection",
)
"""What nearly every run needs, the first needed first; each hand has a session of its own."""


class SharedSession:
    """A session that is opened at its first call and serves one caller at a time.

    Detectors run only when tracking is lost, so two trackers may share one.
    """

    def __init__(self, networks: Networks, name: str) -> None:
        self._networks = networks
        self._name = name
        self._lock = threading.Lock()
        self._session: Session | None = None

    def __call__(self, image: F32) -> tuple[F32, ...]:
        """Outputs in the catalogue's order, the caller's to keep."""
        with self._lock:
            if self._session is None:
                self._session = self._networks.open(self._name)
            outputs = tuple(output.copy() for output in self._session(image))
            self._session.rest()
            return outputs


class Networks:
    """All networks of perception, from one model store."""

    def __init__(self, store: ModelStore, backend: str = "auto") -> None:
        """Nothing is opened yet; missing models show when a tracker opens its session.

        Args:
            store: where set-up put the translated networks.
            backend: as in :func:`engine.inference.session.open_session`.
        """
        self._store = store
        self._backend = backend
        self._backends: dict[str, str] = {}
        self._shared: dict[str, SharedSession] = {}
        self._loading: dict[str, list[Future[Session]]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def preload(self) -> Iterator[None]:
        """Load what every run needs on threads of its own while the block does other things.

        Raises:
            ModelFileError: a model is missing or damaged, one that is first used later included.
        """
        pool = ThreadPoolExecutor(LOADERS, "load networks")
        try:
            sessions = [
                pool.submit(open_session, name, self._store, self._backend) for name in PRELOADED
            ]
            for name, session in zip(PRELOADED, sessions, strict=True):
                self._loading.setdefault(name, []).append(session)
            yield
            # Nobody asks for a detector before its first search: its error would end a run.
            for session in sessions:
                session.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def open(self, name: str) -> Session:
        """A session, for one thread at a time: a preloaded one while there are any.

        Args:
            name: as in the catalogue.

        Raises:
            ModelFileError: the model is missing or damaged.
        """
        with self._lock:
            loading = self._loading.get(name)
            preloaded = loading.pop() if loading else None
        if preloaded is not None and not preloaded.cancelled():
            session = preloaded.result()
        else:
            session = open_session(name, self._store, self._backend)
        self._backends[name] = session.backend
        return session

    def shared(self, name: str) -> SharedSession:
        """The one session of this name, opened when first called."""
        with self._lock:
            return self._shared.setdefault(name, SharedSession(self, name))

    @property
    def backends(self) -> dict[str, str]:
        """Network name to the backend that runs it, of those opened so far."""
        return dict(self._backends)
