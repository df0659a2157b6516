"""A person's relief, gathered picture by picture: what the slow loop holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from engine.avatar.topology import FusedAvatar, Region
from engine.errors import AvatarError
from engine.face.relief.bare_skin import bare_skin
from engine.face.relief.displacement import Halves, displacement
from engine.face.relief.evidence import Accumulator, SlopeEvidence
from engine.face.relief.flattening import flatten
from engine.face.relief.grid import FaceGrid
from engine.face.relief.height import differences
from engine.face.relief.reflectance_map import ReflectanceMap
from engine.face.relief.sampling import at_vertices, seam_fade
from engine.face.relief.view import look
from engine.face.relief.wrinkles import find_wrinkles
from engine.fusion.normals import vertex_normals
from engine.types import F32, U8, Camera, FusedMesh

NOISE = 0.06
"""Standard deviation of a picture's detail, log units: misalignment, sheen, pixels."""
PAINT = 0.20
"""Of the detail in skin's own colour: blotches and freckles."""
ANY_PAINT = 1e3
MOST_VIEWS = 24.0
"""Effective pictures after which more of the same bring nothing new."""
FEWEST_VIEWS = 6
"""Pictures before which nothing is said."""
LEAST_BARE = 0.3
RECENT = 6
NEW_VIEW = 0.02
"""Radians by which a head must have turned since each of the last RECENT pictures. A still head
shows the same misread light again and again; halves of such pictures agree on anything."""


class ReliefMap(NamedTuple):
    """Over the texels of :class:`FaceGrid`."""

    heights_mm: F32
    """(H, W) outwards positive: a bump map for drawing, too."""
    confidence: F32
    """(H, W) in [0, 1]."""


class Relief:
    """Wrinkles, folds and bags of one person. Not thread-safe.

    >>> relief = Relief(avatar)
    >>> relief.observe(frame.image, mesh, camera)   # for every picture that is accepted
    >>> detail_m, confidence = relief.detail_m()
    """

    def __init__(
        self, avatar: FusedAvatar, *, displacement: bool = True, wrinkles: bool = True
    ) -> None:
        """Nothing known yet.

        Args:
            avatar: its topology, and its rest shape for lengths; any identity of its body model.
            displacement: whether heights are read from shading.
            wrinkles: whether lines are detected and eq. (3) is applied.

        Raises:
            AvatarError: the topology has no face region.
        """
        self.displacement, self.wrinkles = displacement, wrinkles
        self._topology = avatar.topology
        self.grid = FaceGrid.of(avatar.topology)
        bare = bare_skin(*self.grid.uv()) * seam_fade(self.grid, avatar.topology)
        self._bare = np.where((bare > LEAST_BARE) & self.grid.covered, bare, 0.0).astype(np.float32)
        self._texel_mm = self.grid.texel_mm(avatar.rest_vertices_m)
        self.reset()

    def reset(self) -> None:
        """Another person."""
        self._halves = (Accumulator(self.grid.shape), Accumulator(self.grid.shape))
        self._reflectance = ReflectanceMap()
        self._views = 0
        self._recent: deque[F32] = deque(maxlen=RECENT)

    @property
    def views(self) -> int:
        """Pictures that showed enough skin."""
        return self._views

    def observe(
        self, image: U8, mesh: FusedMesh, camera: Camera, visible: F32 | None = None
    ) -> bool:
        """Take a picture into account; some tens of milliseconds, in pieces of a few.

        Args:
            image: (H, W, 3) RGB.
            mesh: the avatar without relief, posed as the person is in it, camera space.
            camera: that took the picture.
            visible: (H, W) in [0, 1] over the grid: what hands, glasses or hair leave free; the
                window is that of :mod:`engine.face.face_atlas`. None: all that faces the camera.

        Returns:
            Whether it showed enough skin, from where the last pictures did not.

        Raises:
            AvatarError: the mesh is of another topology, or ``visible`` of another shape.
        """
        if len(mesh.vertices_m) != self.grid.vertex_count:
            raise AvatarError(
                f"relief is gathered for {self.grid.vertex_count} vertices, but the mesh has "
                f"{len(mesh.vertices_m)}; make a new Relief for its avatar"
            )
        if visible is not None and visible.shape != self.grid.shape:
            raise AvatarError(
                f"what is visible is told for {visible.shape} texels, but the face has "
                f"{self.grid.shape}; resize it to the grid of this Relief"
            )
        posed = self.grid.pose(mesh.vertices_m, mesh.normals)
        facing = _facing(posed.normals, posed.slopes)
        if any(float(np.abs(facing - seen).max()) < NEW_VIEW for seen in self._recent):
            return False
        seen = look(image, posed, camera)
        if visible is not None:
            seen = seen._replace(weights=seen.weights * visible)
        flat = flatten(seen, posed, self._bare, self._reflectance)
        if flat is None:
            return False
        self._halves[self._views % 2].add(*flat)
        self._views += 1
        self._recent.append(facing)
        return True

    def map(self) -> ReliefMap:
        """What is believed now; some tenths of a second, most of it without the interpreter."""
        *_, found = self._maps()
        return found

    def _maps(self) -> Iterator[ReliefMap]:
        """What is believed, step by step: of nothing, of the wrinkles, and of all."""
        shape = self.grid.shape
        heights, confidence = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        yield ReliefMap(heights, confidence)
        if self._views < FEWEST_VIEWS:
            return
        halves = self._evidence(PAINT)
        if self.wrinkles:
            found = find_wrinkles(
                halves, self._evidence(ANY_PAINT), self._mean_detail(), self._bare, self._texel_mm
            )
            heights = heights + found.heights_mm
            confidence = np.maximum(confidence, (heights < 0).astype(np.float32))
            yield ReliefMap(heights, confidence)
            halves = Halves(*(_without(evidence, heights) for evidence in halves))
        if self.displacement:
            shaded = displacement(halves, self._bare)
            heights = heights + shaded.heights_mm
            confidence = np.maximum(confidence, shaded.confidence)
            yield ReliefMap(heights, confidence)

    def detail_m(self) -> tuple[F32, float]:
        """Offsets for ``Identity.detail_m`` and how much of the face they are sure of.

        Returns:
            (V,) metres along the rest normals, 0 off the face and on the seam; and the mean
            confidence over bare skin, in [0, 1].
        """
        found = self.map()
        skin = self._bare > 0
        sure = float(found.confidence[skin].mean()) if skin.any() else 0.0
        return self._at_vertices(found.heights_mm), sure

    def readings(self) -> Iterator[F32 | None]:
        """The offsets of :meth:`detail_m` in steps of some tenths of a second, the last of all."""
        heights = np.zeros(self.grid.shape, np.float32)
        for found in self._maps():
            heights = found.heights_mm
            yield None
        yield self._at_vertices(heights)

    def _at_vertices(self, heights_mm: F32) -> F32:
        detail = at_vertices(self.grid, heights_mm * np.float32(1e-3))
        detail[self._topology.seam_edges.ravel()] = 0.0
        return detail

    def _evidence(self, paint: float) -> Halves:
        even, odd = self._halves
        both = Accumulator.sum_of(even, odd)
        return Halves(*(a.evidence(NOISE, paint, MOST_VIEWS) for a in (both, even, odd)))

    def _mean_detail(self) -> F32:
        both = Accumulator.sum_of(*self._halves)
        return np.where(both.weight > 0.5, both.mean_detail, 0.0).astype(np.float32)


def rehearse(avatar: FusedAvatar) -> None:
    """Go through every step once, on pictures of a lined face that turns its head.

    Kernels are compiled at their first call, for seconds and with the interpreter held: set-up
    calls this, so that no running avatar waits for it.
    """
    relief = Relief(avatar)
    camera = Camera.from_size(320, 240)
    face = np.unique(
        avatar.topology.faces[
            (avatar.topology.regions == Region.FACE)[avatar.topology.faces].all(1)
        ]
    )
    centre = avatar.rest_vertices_m[face].mean(axis=0)
    normals = np.zeros_like(avatar.rest_vertices_m)
    vertex_normals(avatar.rest_vertices_m, avatar.topology.faces, normals)
    rows = np.arange(camera.height)[:, None, None]
    image = np.broadcast_to(150 - 40 * (rows % 12 < 2), (camera.height, camera.width, 3))
    for turn in np.linspace(-0.3, 0.3, FEWEST_VIEWS + 2):
        cosine, sine = np.cos(turn), np.sin(turn)
        rotation = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], np.float32)
        vertices = (avatar.rest_vertices_m - centre) @ rotation.T + np.array(
            [0, 0, -0.45], np.float32
        )
        mesh = FusedMesh(0, 0, vertices, normals @ rotation.T, avatar.topology)
        relief.observe(image.astype(np.uint8), mesh, camera)
    relief.detail_m()


def _facing(normals: F32, slopes: F32) -> F32:
    """(2, 3) unit directions that turn with the head: where the face looks, and along its u."""
    means = np.stack([normals.mean(axis=(0, 1)), slopes[:, :, 0].mean(axis=(0, 1))])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.maximum(lengths, 1e-9), np.float32)


def _without(evidence: SlopeEvidence, heights_mm: F32) -> SlopeEvidence:
    """The evidence about what comes on top of heights already found: ``b - C grad h``."""
    slopes, c = differences(heights_mm), evidence.precision
    told = np.stack(
        [
            c[..., 0] * slopes[..., 0] + c[..., 1] * slopes[..., 1],
            c[..., 1] * slopes[..., 0] + c[..., 2] * slopes[..., 1],
        ],
        axis=-1,
    )
    return SlopeEvidence(c, np.asarray(evidence.moment - told, np.float32))
