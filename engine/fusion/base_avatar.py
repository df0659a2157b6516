"""The body, its fused topology and its skin, loaded once and shared by every identity."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.avatar.anny import BodyModel
from engine.avatar.morphable_file import load_morphable_model
from engine.avatar.paint import Look, cached_texture
from engine.avatar.topology import FusedAvatar
from engine.fusion.copy_paste import FusionMap, displaced, fuse
from engine.fusion.estimates import BodyEstimate, FaceView, estimates_of
from engine.fusion.fusion_map_file import load_fusion_map
from engine.fusion.graft import Graft, build_graft
from engine.fusion.modes import ATTENTION, COPY_PASTE, Fusion, check_mode, fusion_of
from engine.fusion.neck_normals import NormalCorrections, neck_corrections
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
    graft: Graft | None = None
    """Another model's face on the body, where one is to be shown."""
    _fusions: dict[tuple[str, bool], Fusion] = field(
        default_factory=dict, repr=False, compare=False
    )
    """Made when the first face comes: start-up needs none."""

    @staticmethod
    def load(
        store: ModelStore, mode: str = COPY_PASTE, face_model: Path | None = None
    ) -> BaseAvatar:
        """Read what set-up left.

        Args:
            store: where it is.
            mode: of fusion.
            face_model: a converted head whose face is shown instead of Anny's; stitching it to
                the body takes some seconds.

        Raises:
            AvatarError: there is no such mode.
            ModelFileError: a file is missing or damaged, or that head cannot be stitched.
        """
        check_mode(mode)
        path = store.path(BODY_FILE)
        model = BodyModel.load(path)
        fusion_map = load_fusion_map(path, model)
        plain = fuse(model, fusion_map, Identity())
        skin = cached_texture(plain, Look(), store.folder)
        graft = None if face_model is None else build_graft(model, load_morphable_model(face_model))
        return BaseAvatar(model, fusion_map, replace(plain, texture=skin), mode, graft)

    def avatar_of(self, identity: Identity, view: FaceView | None = None) -> FusedAvatar:
        """The fused avatar of one person, at rest: what is shown.

        Another model's face has no relief: that is one number for each of Anny's own vertices.

        Args:
            identity: whose. Without a face of its own all modes give the same.
            view: how the face was seen, for the mode that weighs by it.

        Raises:
            AvatarError: the identity's face or relief was made for another model.
        """
        if self.graft is None:
            return self._own(identity, view)
        skin = self.average.texture if identity.texture is None else identity.texture
        coefficients = None if identity.face is None else identity.face.coefficients
        rest = self.model.shape(identity.phenotypes, coefficients)
        face = self.graft.estimate(self.graft.alpha_of(rest.vertices_m))
        avatar = self._fusion(self.graft).fuse(BodyEstimate(identity.phenotypes, view=view), face)
        return replace(avatar, texture=skin, identity_version=identity.version)

    def avatars_of(
        self, identity: Identity, view: FaceView | None = None
    ) -> tuple[FusedAvatar, FusedAvatar]:
        """What is shown and what is fitted, fused once where they differ by relief alone.

        Raises:
            AvatarError: the identity's face or relief was made for another model.
        """
        fitted = self.fitted_of(identity)
        if self.graft is not None or (self.mode == ATTENTION and view is not None):
            return self.avatar_of(identity, view), fitted
        return _raised(fitted, identity), fitted

    def fitted_of(self, identity: Identity) -> FusedAvatar:
        """Anny's own smooth avatar of one person: what is fitted to landmarks."""
        return self._own(replace(identity, detail_m=None))

    def corrections_of(self, avatar: FusedAvatar, identity: Identity) -> NormalCorrections | None:
        """What the neck's normals lack on the avatar of an identity; None where nothing was joined.

        Args:
            avatar: of :meth:`avatar_of`.
            identity: the same one.
        """
        if identity.face is None and self.graft is None:
            return None
        return neck_corrections(avatar, self.model, self.model.shape(identity.phenotypes))

    def _own(self, identity: Identity, view: FaceView | None = None) -> FusedAvatar:
        """The avatar with Anny's own face."""
        skin = self.average.texture if identity.texture is None else identity.texture
        plain = identity.face is None and identity.detail_m is None
        if plain and identity.phenotypes == Phenotypes():
            return replace(self.average, texture=skin, identity_version=identity.version)
        if identity.face is None:
            return fuse(self.model, self.fusion_map, identity, skin)
        body, face = estimates_of(self.model, identity)
        avatar = self._fusion(None).fuse(replace(body, view=view), face)
        avatar = replace(avatar, texture=skin, identity_version=identity.version)
        return _raised(avatar, identity)

    def _fusion(self, graft: Graft | None) -> Fusion:
        key = self.mode, graft is not None
        if key not in self._fusions:
            self._fusions[key] = fusion_of(self.mode, self.model, self.fusion_map, graft)
        return self._fusions[key]


def _raised(smooth: FusedAvatar, identity: Identity) -> FusedAvatar:
    """A smooth avatar with the identity's relief, where it has one."""
    if identity.detail_m is None:
        return smooth
    relief = displaced(smooth.rest_vertices_m, smooth.topology.faces, identity.detail_m)
    return replace(smooth, rest_vertices_m=relief)
