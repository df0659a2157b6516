"""Fusion in three modes behind one interface, with one static topology.

All take what the body's and the face's modules found and give a fused avatar whose vertices mean
the same: changing the mode never changes the mesh's structure, and costs nothing per frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from engine import quaternions
from engine.avatar.anny import BodyModel
from engine.avatar.topology import FusedAvatar
from engine.errors import AvatarError
from engine.face.head_pose import procrustes
from engine.fusion.copy_paste import FusionMap, assembled, fuse
from engine.fusion.estimates import BodyEstimate, FaceEstimate, FaceView
from engine.fusion.graft import Graft
from engine.fusion.normals import vertex_normals
from engine.fusion.paste_region import PasteRegion
from engine.fusion.registration import apply
from engine.fusion.shared_parameters import HeadSolver, SharedParameters
from engine.types import F32, Identity

COPY_PASTE, OPTIMISATION, ATTENTION = MODES = ("copy-paste", "optimisation", "attention")
SHARP_PX = 60.0
"""Between the eyes: from here on more pixels tell the face's module nothing more."""
LEAST_TRUST = 0.02
GRAZING = 0.15
"""Skin seen at a cosine below this tells nothing; it is trusted fully from the next on:"""
FACING = 0.6


class Fusion(Protocol):
    """Joins a body and a face."""

    @property
    def name(self) -> str:
        """What it does, as reports should say it."""
        ...

    def fuse(self, body: BodyEstimate, face: FaceEstimate) -> FusedAvatar:
        """The avatar of both, at rest, untextured."""
        ...


@dataclass(frozen=True, slots=True)
class CopyPaste:
    """Eq. (9): the face as its module found it, rigidly laid onto the body.

    Both share a topology, so the registration is closed: the similarity between common vertices
    (the normalisation to one scale and orientation). The body's head does not learn of the face.
    """

    model: BodyModel
    fusion_map: FusionMap
    region: PasteRegion
    name: str = COPY_PASTE

    def fuse(self, body: BodyEstimate, face: FaceEstimate) -> FusedAvatar:
        """Lay the face on, and bridge the step at its edge over a band of skin."""
        rest = self.model.shape(body.phenotypes)
        placed = self.place(rest.vertices_m, face)
        weights = self.region.weights[:, None]
        vertices = rest.vertices_m + weights * (placed.vertices_m - rest.vertices_m)
        joints = rest.joints_m.copy()
        joints[[self.model.joint_names.index(name) for name in ("eye.L", "eye.R")]] = placed.eyes_m
        return assembled(self.model, self.fusion_map, vertices, joints)

    def place(self, body_m: F32, face: FaceEstimate) -> FaceEstimate:
        """The face brought to the body's scale, orientation and place.

        Args:
            body_m: (V, 3) the body at rest.
            face: in its own frame.
        """
        if face.shared is not None:
            return face
        skin = self.region.skin
        source, target = (v[skin].astype(np.float64) for v in (face.vertices_m, body_m))
        laid = procrustes(source, target, np.ones(len(skin)))
        vertices, eyes = (apply(laid, p) for p in (face.vertices_m, face.eyes_m))
        return replace(face, vertices_m=vertices.astype(np.float32), eyes_m=eyes.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Optimisation:
    """Eqs (10)-(11): one head whose parameters the body and the face share."""

    model: BodyModel
    fusion_map: FusionMap
    solver: HeadSolver
    name: str = OPTIMISATION

    def fuse(self, body: BodyEstimate, face: FaceEstimate) -> FusedAvatar:
        """The avatar of the shared parameters: nothing is left to bridge."""
        return self.avatar_of(self.parameters(body, face))

    def parameters(self, body: BodyEstimate, face: FaceEstimate) -> SharedParameters:
        """What both agree on."""
        return self.solver.solve(body, face)

    def avatar_of(self, shared: SharedParameters) -> FusedAvatar:
        """The avatar that shared parameters make."""
        identity = Identity(phenotypes=shared.phenotypes, face=shared.face)
        return fuse(self.model, self.fusion_map, identity)


@dataclass(frozen=True, slots=True)
class Attention:
    """Optimisation with body-driven weighting, in the place of the paper's learned attention.

    Nothing here is learned. The body's view says which side of the face was seen, how large and
    how surely; each vertex of the face counts accordingly, and where it counts little the body's
    head and the average face decide.
    """

    optimisation: Optimisation
    name: str = "attention (optimisation with body-driven weighting, not learned)"

    def fuse(self, body: BodyEstimate, face: FaceEstimate) -> FusedAvatar:
        """The avatar of the shared parameters under the view's weights."""
        return self.optimisation.avatar_of(self.parameters(body, face))

    def parameters(self, body: BodyEstimate, face: FaceEstimate) -> SharedParameters:
        """What both agree on."""
        model, solver = self.optimisation.model, self.optimisation.solver
        trust = None if body.view is None else trust_of(model, body.view)
        return solver.solve(body, face, trust)


@dataclass(frozen=True, slots=True)
class Grafted:
    """A face of another topology in any of the three modes: the face's own mesh is kept.

    What the modes differ in is the body it is stitched to: the one of the body's module
    (copy-paste), or one whose head agrees with the face (the others), so that little is bridged.
    """

    graft: Graft
    mode: CopyPaste | Optimisation | Attention

    @property
    def name(self) -> str:
        """The mode's."""
        return self.mode.name

    def fuse(self, body: BodyEstimate, face: FaceEstimate) -> FusedAvatar:
        """Stitch the face of :meth:`Graft.estimate` to the body.

        Raises:
            AvatarError: the face has no coefficients of its own model.
        """
        if face.alpha is None:
            raise AvatarError(
                "a grafted face is given by its own model's coefficients, found none; make the "
                "estimate with Graft.estimate"
            )
        if isinstance(self.mode, CopyPaste):
            return self.graft.avatar(face.alpha, self.mode.model.shape(body.phenotypes))
        shared = self.mode.parameters(body, face)
        rest = self.graft.body.shape(shared.phenotypes, shared.face.coefficients)
        return self.graft.avatar(face.alpha, rest)


def trust_of(model: BodyModel, view: FaceView) -> F32:
    """(V,) in [0, 1]: how well a view shows each vertex, on the template."""
    normals = np.zeros_like(model.template_m)
    vertex_normals(model.template_m, model.faces, normals)
    rotation = np.asarray(quaternions.to_matrix(view.rotation_xyzw.astype(np.float64)))
    towards = normals @ rotation.T[:, 2]
    ramp = np.clip((towards - GRAZING) / (FACING - GRAZING), 0.0, 1.0)
    detail = min(1.0, view.interocular_px / SHARP_PX) ** 2
    return np.maximum(LEAST_TRUST, view.confidence * detail * ramp).astype(np.float32)


def check_mode(mode: str) -> None:
    """Raise an AvatarError that names the modes, unless ``mode`` is one."""
    if mode not in MODES:
        raise AvatarError(f"there is no fusion {mode!r}; choose one of {', '.join(MODES)}")


def fusion_of(
    mode: str, model: BodyModel, fusion_map: FusionMap, graft: Graft | None = None
) -> Fusion:
    """The fusion of a mode's name.

    Args:
        mode: one of :data:`MODES`.
        model: the body.
        fusion_map: its own face's topology.
        graft: another model's face on the same body, where faces are that model's.

    Raises:
        AvatarError: there is no such mode.
    """
    check_mode(mode)
    region = PasteRegion.of(model)
    own: CopyPaste | Optimisation | Attention
    if mode == COPY_PASTE:
        own = CopyPaste(model, fusion_map, region)
    else:
        own = Optimisation(model, fusion_map, HeadSolver(model, region))
        own = Attention(own) if mode == ATTENTION else own
    return own if graft is None else Grafted(graft, own)
