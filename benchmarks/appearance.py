"""How close is the gathered skin to the person's own? ``python -m benchmarks.appearance``.

Performers with freckles, blotches and stubble that their painter does not know, each under two
lights, are filmed and their skin is gathered: on their true meshes, then as the live engine does,
on what it tracks of a stranger with the average face. Errors are mean absolute differences of
8-bit sRGB over the face patch, as they are and with every mean colour made the truth's: the first
is mostly skin tone, of which exposure hides some from any camera; the second is what a face has
besides. Both stand beside those of the painted default, which has the same brows and lips as
everybody here. The neck's seam is looked at where texture islands meet on skin.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, replace

import cv2
import numpy as np
import typer

from benchmarks.relief_truth import Skin, spoilt
from engine.avatar.paint import Look
from engine.avatar.paint.atlas import EYE_FRONTS, HEAD
from engine.avatar.paint.eyes import SCLERA as PAINTED_WHITE
from engine.avatar.topology import FusedAvatar
from engine.engine import Engine, EngineOptions
from engine.face.appearance import AppearanceGatherer, rehearse
from engine.face.eye_white import SCLERA, SOCKET
from engine.face.face_atlas import FaceAtlas
from engine.face.view import FaceView
from engine.rendering.background import room
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.slot import Policy
from engine.sources.performer import Performer, open_performer
from engine.sources.source import Closing, stamped
from engine.types import F32, F64, I32, U8, Frame, FusedMesh

OTHER_LIGHT = 100
"""Added to a person's number: the seed of the second light."""
FILM_FPS = 15.0
EVERY = 4
"""The slow loop sees about this share of a film's pictures."""
LIKE_SKIN = 45.0
"""8-bit values that painted skin is shaded by; more is hair, cloth or lip."""
SKIN = Skin(lines=0.0, spots=0.6)


@dataclass(frozen=True, slots=True)
class Neck:
    """8-bit steps of colour, means over the channels."""

    median: float
    """Across the seam between the head's island and the body's, where both are skin."""
    p95: float
    inside_p95: float
    """Along the edges of the skin beside it: what is usual there."""


@dataclass(frozen=True, slots=True)
class Error:
    """Of a texture, in 8-bit sRGB over the face patch."""

    colour: float
    """As it is."""
    detail: float
    """In the truth's mean colour."""

    @staticmethod
    def of(texture: U8 | None, truth: U8, atlas: FaceAtlas) -> Error:
        """Compare textures (H, H, 3); NaN for one that was not made for want of a good view."""
        if texture is None:
            return Error(math.nan, math.nan)
        colours, own = (face_colours(picture, atlas) for picture in (texture, truth))
        toned = colours * (own.mean(axis=0) / np.maximum(colours.mean(axis=0), 1.0))
        return Error(*(float(np.abs(found - own).mean()) for found in (colours, toned)))


@dataclass(frozen=True, slots=True)
class Row:
    """One person under one light."""

    person: int
    light: int
    default: Error
    """Of the painted default."""
    true_pose: Error
    tracked: Error
    neck: Neck
    """Of the texture that was gathered on the tracked mesh."""
    observe_ms: tuple[float, ...]
    compose_ms: tuple[float, ...]
    """Of the steps between which the slow loop rests."""


def compare(people: Iterable[int], frames: int) -> Iterator[Row]:
    """Film each person under two lights, gather and measure.

    Args:
        people: the performers' seeds.
        frames: of each film, at FILM_FPS.

    Raises:
        ModelFileError: the models are not set up.
        GraphicsError: no OpenGL on this machine.
    """
    with Engine.open(replace(EngineOptions(), identity=False)) as engine:
        default = engine.reconstructor.base.average
        rehearse(default)
        gatherer = AppearanceGatherer(default)
        for number in people:
            performer = open_performer(f"webcam,seed={number}")
            assert performer.avatar.texture is not None
            own = spoilt(performer.avatar.texture, SKIN, np.random.default_rng([number, 0x5B07]))
            own = in_sockets(own)
            for light in (number, number + OTHER_LIGHT):
                film = Film(performer, own, light, frames)
                yield _row(engine, gatherer, default, film, number)


def _row(
    engine: Engine, gatherer: AppearanceGatherer, default: FusedAvatar, film: Film, number: int
) -> Row:
    truth, painted = film.texture, default.texture
    assert painted is not None
    exact = Gathered.of(gatherer, film.true_views())
    found = Gathered.of(gatherer, asyncio.run(_tracked_views(engine, film)))
    texture = painted if found.texture is None else found.texture
    return Row(
        person=number,
        light=film.light,
        default=Error.of(painted, truth, gatherer.atlas),
        true_pose=Error.of(exact.texture, truth, gatherer.atlas),
        tracked=Error.of(found.texture, truth, gatherer.atlas),
        neck=neck_of(texture, default),
        observe_ms=exact.observe_ms + found.observe_ms,
        compose_ms=exact.compose_ms + found.compose_ms,
    )


class Film(Closing):
    """A performance under a light of one's choice; a source for the engine, too."""

    fps, live = FILM_FPS, False

    def __init__(self, performer: Performer, texture: U8, light: int, frames: int) -> None:
        """Draw it.

        Args:
            performer: who acts.
            texture: (H, H, 3) sRGB, their true skin.
            light: the seed of the light.
            frames: how many.
        """
        self.texture, self.light, self.size = texture, light, performer.size
        self._performer = performer
        self._takes = [round(index * performer.fps / FILM_FPS) for index in range(frames)]
        self._pictures: list[U8] = []
        with OffscreenRenderer(*self.size, samples=1) as renderer:
            renderer.set_texture(texture)
            renderer.set_light(Light.varied(light))
            renderer.set_background(room(light))
            for index in self._takes:
                picture = renderer.render(performer.truth(index).mesh, performer.camera)
                cv2.GaussianBlur(picture, (3, 3), 0.6, dst=picture)  # a webcam's lens
                self._pictures.append(picture)

    def __iter__(self) -> Iterator[Frame]:
        """Every picture."""
        timed = ((index / FILM_FPS, picture) for index, picture in enumerate(self._pictures))
        return stamped(timed, paced=False)

    def true_views(self) -> Iterator[FaceView]:
        """Some pictures with the very mesh that was drawn."""
        for index in range(0, len(self._takes), EVERY):
            take = self._performer.truth(self._takes[index])
            rest = self._performer.avatar.rest_vertices_m
            yield FaceView(
                self._pictures[index], take.mesh, take.camera, take.state.expression, rest
            )


async def _tracked_views(engine: Engine, film: Film) -> list[FaceView]:
    """The same pictures with what the engine finds in them, as the slow loop gets it."""
    views = []
    async with engine.pipeline.run(film, Policy.BLOCK) as results:
        async for result in results:
            if result.frame.index % EVERY == 0:
                mesh, rest = _kept(result.mesh), result.avatar.rest_vertices_m
                views.append(
                    FaceView.of(result.frame, result.observation, result.state, mesh, rest)
                )
    return views


def _kept(mesh: FusedMesh) -> FusedMesh:
    return replace(mesh, vertices_m=mesh.vertices_m.copy(), normals=mesh.normals.copy())


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the gatherer made of some views, and how long it took."""

    texture: U8 | None
    observe_ms: tuple[float, ...]
    compose_ms: tuple[float, ...]

    @staticmethod
    def of(gatherer: AppearanceGatherer, views: Iterable[FaceView]) -> Gathered:
        """Gather from the beginning."""
        gatherer.reset()
        observing, composing, texture = [], [], None
        for view in views:
            began = time.perf_counter()
            gatherer.observe(view)
            observing.append(1e3 * (time.perf_counter() - began))
        began = time.perf_counter()
        for step in gatherer.compose():
            composing.append(1e3 * (time.perf_counter() - began))
            texture = None if step is None else step.texture
            began = time.perf_counter()
        return Gathered(texture, tuple(observing), tuple(composing))


def face_colours(texture: U8, atlas: FaceAtlas) -> F64:
    """(M, 3) of a texture (H, H, 3) at the face patch's texels."""
    rows, columns = atlas.window.window(len(texture))
    window = texture[rows, columns].reshape(-1, 3)
    return window[atlas.texels[atlas.in_face > 0]].astype(np.float64)


def neck_of(texture: U8, default: FusedAvatar) -> Neck:
    """Steps of colour around the throat.

    What is skin is told by the painted default alone, so that a seam however bad is counted.

    Args:
        texture: (H, H, 3) to look at.
        default: with its painted texture, whose topology the texture is for.
    """
    assert default.texture is not None
    topology = default.topology
    own, painted = (
        _at_vertices(picture, topology.render_uvs) for picture in (texture, default.texture)
    )
    skin = np.abs(painted - np.array(Look().skin)).max(axis=1) < LIKE_SKIN
    skin &= default.rest_vertices_m[topology.render_vertices, 2] > 0.0
    on_head = HEAD.holds(topology.render_uvs)
    seam = _island_pairs(topology.render_vertices, on_head)
    seam = seam[skin[seam].all(axis=1)]
    steps = np.abs(own[seam[:, 0]] - own[seam[:, 1]]).mean(axis=1)
    reach = default.rest_vertices_m[topology.render_vertices[seam.ravel()]].mean(axis=0)
    near = np.linalg.norm(default.rest_vertices_m[topology.render_vertices] - reach, axis=1) < 0.12
    edges = topology.render_faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[(skin & near)[edges].all(axis=1)]
    inside = np.abs(own[edges[:, 0]] - own[edges[:, 1]]).mean(axis=1)
    return Neck(
        float(np.median(steps)),
        float(np.percentile(steps, 95)),
        float(np.percentile(inside, 95)),
    )


def in_sockets(texture: U8) -> U8:
    """A painted texture (H, H, 3) whose eyes are as dark as sockets leave real ones.

    The renderer knows no occlusion: painted as they are, eyes would be lit like a forehead.
    """
    shade = 255.0 * np.sqrt(SCLERA * SOCKET) / PAINTED_WHITE
    shaded = texture.copy()
    for island in EYE_FRONTS:
        window = island.window(len(texture))
        shaded[window] = np.minimum(texture[window] * shade, 255.0).astype(np.uint8)
    return shaded


def _at_vertices(texture: U8, uvs: F32) -> F64:
    """(R, 3) of the texel under each drawn vertex."""
    pixels = np.clip(np.rint(uvs * len(texture) - 0.5).astype(int), 0, len(texture) - 1)
    return np.asarray(texture[pixels[:, 1], pixels[:, 0]], np.float64)


def _island_pairs(vertices: I32, on_head: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> I32:
    """(P, 2) drawn vertices that are one fused vertex: on the head's island, and on another."""
    inner, outer = np.flatnonzero(on_head), np.flatnonzero(~on_head)
    _, i, o = np.intersect1d(vertices[inner], vertices[outer], return_indices=True)
    return np.stack([inner[i], outer[o]], axis=1).astype(np.int32)


def _values(row: Row) -> list[float]:
    errors = [value for e in (row.default, row.true_pose, row.tracked) for value in astuple(e)]
    return [*errors, *astuple(row.neck)]


def _columns(values: Iterable[float]) -> str:
    return " ".join(f"{value:8.1f}" for value in values)


def main(people: int = 3, frames: int = 48, first: int = 1) -> None:
    """Print the table, the means and the times."""
    groups = f"{'default':>17} {'on true mesh':>17} {'as tracked':>17} {'neck':>26}"
    names = ["colour", "detail"] * 3 + ["median", "p95", "inside"]
    print(f"{'':12} {groups}\n{'person':>6} {'light':>5} " + " ".join(f"{n:>8}" for n in names))
    rows = []
    for row in compare(range(first, first + people), frames):
        rows.append(row)
        print(f"{row.person:>6} {row.light:>5} {_columns(_values(row))}", flush=True)
    print(f"{'mean':>12} {_columns(np.nanmean([_values(row) for row in rows], axis=0))}")
    for name, times in (
        ("observe", [ms for row in rows for ms in row.observe_ms]),
        ("compose", [ms for row in rows for ms in row.compose_ms]),
    ):
        print(
            f"a step of {name}: {min(times):.1f} ms at least, {np.median(times):.1f} in the median"
        )


if __name__ == "__main__":
    typer.run(main)
