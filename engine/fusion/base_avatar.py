"""The body, its fused topology and its skin, loaded once and shared by every identity."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from engine.avatar.anny import BodyModel
from engine.avatar.paint import Look, cached_texture
from engine.avatar.topology import FusedAvatar
from engine.fusion.copy_paste import FusionMap, displaced, fuse
from engine.fusion.estimates import FaceView, estimates_of
from engine.fusion.fusion_map_file import load_fusion_map
from engine.fusion.modes import COPY_PASTE, Fusion, check_mode, fusion_of
from engine.inference.store import BODY_FILE, ModelStore
from engine.types import Identity, Phenotypes


@dataclass(frozen=True, slots=True)
class BaseAvatar:
    """What all avatars of one body model have in common."""

    model: BodyModel
    fusion_map: FusionMap
    average: FusedAvatar
    """With the painted default for skin: who everybody is at first."""
    mode: str = COPY_PASTE
    """How a face of one's own is joined to the body: one of :data:`engine.fusion.modes.MODES`."""
    _fusions: dict[str, Fusion] = field(default_factory=dict, repr=False, compare=False)
    """Made when the first face comes: start-up needs none."""

    @staticmethod
    def load(store: ModelStore, mode: str = COPY_PASTE) -> BaseAvatar:
        """Read what set-up left.

        Args:
            store: where it is.
            mode: of fusion.

        Raises:
            AvatarError: there is no such mode.
            ModelFileError: a file is missing or damaged.
        """
        check_mode(mode)
        path = store.path(BODY_FILE)
        model = BodyModel.load(path)
        fusion_map = load_fusion_map(path, model)
        plain = fuse(model, fusion_map, Identity())
        skin = cached_texture(plain, Look(), store.folder)
        return BaseAvatar(model, fusion_map, replace(plain, texture=skin), mode)

    def avatar_of(self, identity: Identity, view: FaceView | None = None) -> FusedAvatar:
        """The fused avatar of one person, at rest.

        Args:
            identity: whose. Without a face of its own all modes give the same.
            view: how the face was seen, for the mode that weighs by it.

        Raises:
            AvatarError: the identity's face or relief was made for another model.
        """
        skin = self.average.texture if identity.texture is None else identity.texture
        plain = identity.face is None and identity.detail_m is None
        if plain and identity.phenotypes == Phenotypes():
            return replace(self.average, texture=skin, identity_version=identity.version)
        if identity.face is None:
            return fuse(self.model, self.fusion_map, identity, skin)
        body, face = estimates_of(self.model, identity)
        avatar = self._fusion().fuse(replace(body, view=view), face)
        if identity.detail_m is not None:
            faces, vertices = avatar.topology.faces, avatar.rest_vertices_m
            relief = displaced(vertices, faces, identity.detail_m)
            avatar = replace(avatar, rest_vertices_m=relief)
        return replace(avatar, texture=skin, identity_version=identity.version)

    def _fusion(self) -> Fusion:
        if self.mode not in self._fusions:
            self._fusions[self.mode] = fusion_of(self.mode, self.model, self.fusion_map)
        return self._fusions[self.mode]
