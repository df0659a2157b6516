"""Who may change the avatar, and what becomes of an edit."""

from __future__ import annotations

from collections.abc import Callable

from engine.errors import AvatarError
from stream.feed import AvatarFeed
from stream.protocol import Edit

NOT_ALLOWED = (
    "only who sends the camera may change the avatar, unless the server runs with --allow-control"
)


class Steering:
    """Checks a watcher's right and hands its edit to the feed.

    A watcher has the right on a server that gives it to everybody, or where it names the WHIP
    session of the camera that is shown: nobody but that camera's owner knows it.

    Args:
        feed: whose avatar is edited.
        is_open: whether every watcher may.
        owns_camera: whether a WHIP session id is that of the camera that is shown.
    """

    def __init__(
        self, feed: AvatarFeed, owns_camera: Callable[[str], bool], *, is_open: bool
    ) -> None:
        self._feed, self._owns_camera, self._is_open = feed, owns_camera, is_open

    def edit(self, edit: Edit) -> str:
        """Do it, and return an empty string; else why not, in one sentence."""
        owns = edit.camera is not None and self._owns_camera(edit.camera)
        if not (self._is_open or owns):
            return NOT_ALLOWED
        try:
            self._feed.edit(edit.identity_edit())
        except AvatarError as error:
            return str(error)
        return ""
