"""The body, its fused topology and its skin, loaded once and shared by every identity."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.avatar.anny import BodyModel
from engine.avatar.paint import Look, cached_texture
from engine.avatar.topology import FusedAvatar
from engine.fusion.copy_paste import FusionMap, fuse
from engine.fusion.fusion_map_file import load_fusion_map
from engine.inference.store import BODY_FILE, ModelStore
from engine.types import Identity, Phenotypes


@dataclass(frozen=True, slots=True)
class BaseAvatar:
    """What all avatars of one body model have in common."""

    model: BodyModel
    fusion_map: FusionMap
    average: FusedAvatar
    """With the painted default for skin: who everybody is at first."""

    @staticmethod
    def load(store: ModelStore) -> BaseAvatar:
        """Read what set-up left.

        Raises:
            ModelFileError: a file is missing or damaged.
        """
        path = store.path(BODY_FILE)
        model = BodyModel.load(path)
        fusion_map = load_fusion_map(path, model)
        plain = fuse(model, fusion_map, Identity())
        skin = cached_texture(plain, Look(), store.folder)
        return BaseAvatar(model, fusion_map, replace(plain, texture=skin))

    def avatar_of(self, identity: Identity) -> FusedAvatar:
        """The fused avatar of one person, at rest."""
        plain = identity.face is None and identity.detail_m is None
        if plain and identity.phenotypes == Phenotypes():
            return replace(self.average, identity_version=identity.version)
        return fuse(self.model, self.fusion_map, identity, self.average.texture)
