"""One avatar on its floor in front of a neutral background: what every picture of ours shows.

The window, the headless viewer and snapshots draw through this one class, so they agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import moderngl
import numpy as np

from engine.avatar.topology import FusedAvatar, Region
from engine.body.blend_skinning import Poser
from engine.rendering.background import BackgroundDrawer, gradient
from engine.rendering.mesh_drawer import MeshDrawer
from engine.types import F32, AvatarState, FusedMesh
from viewer.feed import Moment
from viewer.ground import GroundDrawer, follow_floor
from viewer.orbit import OrbitCamera, clip_matrix, eye, fit

BACKGROUND = gradient((226, 230, 235), (176, 184, 194))
BACKGROUND_UPSIDE_DOWN = np.ascontiguousarray(BACKGROUND[::-1])


@dataclass(frozen=True, slots=True)
class View:
    """From where and how to draw."""

    camera: OrbitCamera = field(default_factory=OrbitCamera)
    mirror: bool = False
    wireframe: bool = False
    ground: bool = True


class Scene:
    """GPU resources for one avatar at a time. Belongs to the thread of its OpenGL context."""

    def __init__(self, context: moderngl.Context, *, flip_y: bool = False) -> None:
        """Compile the shaders.

        Args:
            context: current on this thread.
            flip_y: draw upside down, so that reading pixels back yields the top row first.
        """
        self._context = context
        self._flip_y = flip_y
        self._background = BackgroundDrawer(context)
        # Framebuffers start at the bottom: only a flipped picture has its top row first.
        self._background.set_picture(BACKGROUND if flip_y else BACKGROUND_UPSIDE_DOWN)
        self._drawer = MeshDrawer(context)
        self._ground = GroundDrawer(context)
        self._caster: moderngl.VertexArray | None = None
        self._avatar: FusedAvatar | None = None
        self._poser: Poser | None = None
        self._floor_y: float | None = None

    def pose(self, avatar: FusedAvatar, state: AvatarState) -> FusedMesh:
        """The mesh to draw next; a new avatar's texture is uploaded on the way.

        Raises:
            AvatarError: the state does not belong to the avatar.
        """
        self._wear(avatar)
        if self._poser is None:
            self._poser = Poser(avatar)
        return self._poser.pose(state)

    def mesh_of(self, moment: Moment) -> FusedMesh:
        """The mesh to draw next: posed here, or as the server posed it.

        Raises:
            AvatarError: as :meth:`pose`.
        """
        if moment.mesh is None:
            return self.pose(moment.avatar, moment.state)
        self._wear(moment.avatar)
        return moment.mesh

    def draw(self, target: moderngl.Framebuffer, mesh: FusedMesh | None, view: View) -> None:
        """Fill ``target``; without a mesh only the background is drawn."""
        width, height = target.size
        target.use()
        target.clear()
        self._background.draw()
        if mesh is None:
            return
        projection = clip_matrix(
            view.camera, width, height, mirror=view.mirror, flip_y=self._flip_y
        )
        self._context.wireframe = view.wireframe
        self._drawer.draw(mesh, projection, eye(view.camera))
        self._context.wireframe = False
        if view.ground:
            self._draw_ground(target, mesh, projection)

    def release(self) -> None:
        """Give every OpenGL object back."""
        self._release_caster()
        for item in (self._background, self._drawer, self._ground):
            item.release()

    def _wear(self, avatar: FusedAvatar) -> None:
        """Another identity: what it shares with the last one is not made or uploaded again."""
        worn, self._avatar = self._avatar, avatar
        if avatar is worn:
            return
        if self._poser is not None:
            self._poser = self._poser.with_identity(avatar)
        if worn is None or avatar.texture is not worn.texture:
            self._drawer.set_texture(avatar.texture)
        if worn is None or avatar.topology is not worn.topology:
            self._release_caster()

    def _draw_ground(self, target: moderngl.Framebuffer, mesh: FusedMesh, projection: F32) -> None:
        low, high = mesh.vertices_m.min(axis=0), mesh.vertices_m.max(axis=0)
        self._floor_y = follow_floor(self._floor_y, float(low[1]))
        centre = (float(low[0] + high[0]) / 2, self._floor_y, float(low[2] + high[2]) / 2)
        if self._caster is None:
            self._caster = self._drawer.caster(self._ground.shadow_program)
        self._ground.cast(self._caster, centre)
        target.use()
        self._ground.draw(centre, projection)

    def _release_caster(self) -> None:
        if self._caster is not None:
            self._caster.release()
        self._caster = None


@dataclass(frozen=True, slots=True)
class Framing:
    """A named way to look at an avatar."""

    region: Region | None
    """Which vertices must be in the picture; None is all of them."""
    yaw: float = 0.0
    """Radians, see :class:`~viewer.orbit.OrbitCamera`."""
    pitch: float = 0.0
    margin: float = 1.15


FRAMINGS = {
    "body": Framing(None, yaw=0.0, pitch=0.08),
    "face": Framing(Region.FACE, margin=1.5),
    "side": Framing(None, yaw=1.2, pitch=0.12),
    "back": Framing(None, yaw=np.pi, pitch=0.12),
}


def frame_mesh(mesh: FusedMesh, framing: Framing, aspect: float) -> OrbitCamera:
    """The camera that shows a posed mesh as asked for."""
    points = mesh.vertices_m
    if framing.region is not None:
        points = points[mesh.topology.regions == framing.region]
    return fit(points, aspect, framing.yaw, framing.pitch, framing.margin)
