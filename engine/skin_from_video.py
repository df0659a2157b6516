"""The person's skin for the slow loop: gathered from pictures, told a few times in all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.face.view import LEAST_FACE_PX, FaceView, face_width_px
from engine.identity_keeper import IdentityKeeper
from engine.settling import CLEARLY, REFINEMENTS, SURE
from engine.slow_views import Picture, Views
from engine.types import F32, U8, Camera, FusedMesh, Identity

if TYPE_CHECKING:
    from engine.face.appearance import Appearance, AppearanceGatherer


@dataclass(frozen=True, slots=True)
class SeenSkin:
    """A picture in which a face is seen well. Valid until the next turn."""

    image: U8
    """(H, W, 3) RGB."""
    mesh: FusedMesh
    """The avatar without relief, posed for it."""
    camera: Camera
    visible: Callable[[], F32]
    """How well the picture shows each texel of the face atlas' window: (size, size) in [0, 1]."""


class SkinFromVideo:
    """See :class:`engine.slow_loop.SlowEstimator`.

    A texture takes three turns to make, so that no turn is long. It is made only when the keeper
    would take it (``engine.settling``), for each costs every watcher a megabyte.
    """

    name = "skin"

    def __init__(self, default: FusedAvatar, current: Callable[[], FusedAvatar]) -> None:
        """Nothing is known yet.

        Args:
            default: the average avatar, with the painted default for skin.
            current: the avatar that the newest state poses, without relief; called on the slow
                loop's thread.
        """
        self._default, self._current = default, current
        self._gatherer: AppearanceGatherer | None = None
        self._poser: Poser | None = None
        self._composing: Iterator[Appearance | None] | None = None
        self._told, self._told_at = 0, 0.0
        self.seen: SeenSkin | None = None
        """What the last turn's picture showed; None where it showed no face well."""

    def look(self, views: Views) -> None:
        """Gather the newest picture; not while a texture is made, which is work enough."""
        self.seen = None
        if views.picture is not None and self._composing is None:
            self._gather(views.picture)

    def tell(self, keeper: IdentityKeeper) -> Identity | None:
        """The skin so far, when it is worth it and once it is made."""
        gatherer = self._gatherer
        if gatherer is not None and self._composing is None and self._is_worth(gatherer.confidence):
            self._composing = gatherer.compose()
        if self._composing is None:
            return None
        appearance = next(self._composing, None)
        if appearance is None:
            return None  # the next turn goes on
        self._composing = None
        self._told, self._told_at = self._told + 1, appearance.confidence
        return keeper.appearance(appearance.texture, appearance.confidence)

    def reset(self) -> None:
        """Forget the person."""
        self._composing = None
        self._told, self._told_at = 0, 0.0
        if self._gatherer is not None:
            self._gatherer.reset()

    def _gather(self, picture: Picture) -> None:
        seen = picture.view.observation
        if seen.face is None or face_width_px(seen.face) < LEAST_FACE_PX:
            return  # whoever stays far away never needs what a gatherer is made of
        state, avatar = picture.view.state, self._current()
        if avatar.identity_version != state.identity_version:
            return  # of the avatar before, which is not kept: there will be other pictures
        if self._poser is None:
            self._poser = Poser(avatar)
        elif self._poser.avatar is not avatar:
            self._poser = self._poser.with_identity(avatar)
        if self._gatherer is None:
            # Not before it is needed: the first frame does not wait for it.
            from engine.face.appearance import AppearanceGatherer

            self._gatherer = AppearanceGatherer(self._default)
        mesh = self._poser.pose(state)
        rest = avatar.rest_vertices_m
        weight = self._gatherer.observe(FaceView.of(picture.frame, seen, state, mesh, rest))
        if weight > 0.0:
            self.seen = SeenSkin(picture.frame.image, mesh, state.camera, self._gatherer.visible)

    def _is_worth(self, confidence: float) -> bool:
        if self._told > REFINEMENTS:
            return False
        return confidence >= (self._told_at + CLEARLY if self._told else SURE)
