"""``sars eval build``: the bodies of drawn people, told from pictures, against the truth.

Age and gender are given, as the slow loop estimates them from the face by other means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial import ConvexHull

from benchmarks.similarity import aligned
from engine.avatar.anny import BodyModel, RestShape
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.body.build_measurements import COUNT
from engine.body.build_readout import AVERAGE, TRAITS, default_readout
from engine.face.landmark_embedding import default_embedding
from engine.fusion.copy_paste import build_topology, fuse
from engine.inference.store import BODY_FILE, ModelStore
from engine.perception.networks import Networks
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import F64, U8, AvatarState, Camera, Identity, Phenotypes
from exporters.build_calibration.people import HEIGHT, WIDTH, Studio
from viewer.snapshot import save_png

QUICK, FULL = 12, 60
VIEWS = 8
SEED = 0xE7A1
"""Nobody of these people was calibrated on: another stream of random numbers."""
LIKELY = (0.25, 0.75)
"""Of every trait: as the performer's people are drawn."""
DRAWN = 4
CHIN = 152
WAIST_SLAB_M = 0.012
CELL = 300


@dataclass(frozen=True, slots=True)
class Figure:
    """What a tailor would say of a rest body."""

    waist: float
    """Circumference as a share of the stature."""
    heads: float
    """Statures in heads."""
    legs: float
    """Hip joint's height as a share of the stature."""
    shoulders: float
    """Distance of the shoulder joints as a share of the stature."""


@dataclass(frozen=True, slots=True)
class Result:
    """One person: the truth, the estimate, and the average body of that age and gender."""

    truth: Phenotypes
    told: Phenotypes
    confidence: float
    views: int
    picture: U8 | None

    @property
    def average(self) -> Phenotypes:
        """Of the same age and gender."""
        return Phenotypes(gender=self.truth.gender, age=self.truth.age)


def eval_build(
    people: int,
    picture: Path | None = None,
    on_person: Callable[[int], None] = lambda _: None,
    store: ModelStore | None = None,
) -> dict[str, Any]:
    """Draw, measure and tell people; compare their bodies at rest.

    Args:
        people: how many.
        picture: where to draw some of them, the worst included; None draws nothing.
        on_person: told how many are done.
        store: of models; the user's by default.

    Returns:
        The numbers, ready for a table and for JSON.

    Raises:
        ModelFileError: a model is missing or damaged.
        GraphicsError: no OpenGL on this machine.
    """
    store = store or ModelStore.default()
    model = BodyModel.load(store.path(BODY_FILE))
    studio = Studio(model, Networks(store), SEED)
    rng = np.random.default_rng([SEED, 1])
    results = []
    with OffscreenRenderer(WIDTH, HEIGHT, samples=1) as renderer:
        for done in range(people):
            results.append(_tell(studio, rng, renderer))
            on_person(done + 1)
    ruler = _Ruler(model)
    if picture is not None:
        save_png(_sheet(model, results, ruler), picture)
    return _numbers(results, ruler)


def _tell(studio: Studio, rng: np.random.Generator, renderer: OffscreenRenderer) -> Result:
    avatar, truth = studio.avatar(rng, LIKELY)
    means, views, shown = np.zeros(COUNT), np.zeros(COUNT), None
    for picture in studio.pictures(avatar, VIEWS, rng, renderer):
        found = studio.measured(picture)
        if found is not None:
            share = found.weight * found.valid
            views += share
            means += share / np.maximum(views, 1e-9) * (found.values - means)
            shown = picture.copy()
    build = default_readout().read(means, views, truth.age, truth.gender)
    traits = dict(zip(TRAITS, map(float, build.traits), strict=True))
    told = replace(truth, **traits)
    return Result(truth, told, build.confidence, round(float(views.max())), shown)


class _Ruler:
    """Measures rest bodies of one model."""

    def __init__(self, model: BodyModel) -> None:
        self._model = model
        names = model.joint_names
        self._hip, self._shoulders = (
            names.index("upperleg01.L"),
            [names.index("upperarm01" + side) for side in (".L", ".R")],
        )
        self._head = names.index("head")
        spine = [j for j, name in enumerate(names) if name.startswith("spine") or name == "root"]
        on_trunk = np.isin(model.skin_joints[np.arange(len(model.template_m)),
                                             model.skin_weights.argmax(axis=1)], spine)  # fmt: skip
        average = model.shape(Phenotypes())
        level = average.joints_m[names.index("spine04"), 1]
        near = np.abs(average.vertices_m[:, 1] - level) < WAIST_SLAB_M
        self._waist = np.flatnonzero(near & on_trunk)

    def rest(self, phenotypes: Phenotypes) -> RestShape:
        """The body of these phenotypes."""
        return self._model.shape(phenotypes)

    def figure(self, body: RestShape) -> Figure:
        """Its measurements; the same vertices in every body."""
        stature = float(np.ptp(body.vertices_m[:, 1]))
        waist = ConvexHull(body.vertices_m[self._waist][:, [0, 2]])
        head = body.joints_m[self._head]
        chin = default_embedding().neutral_m(body.vertices_m, head)[CHIN, 1] + head[1]
        left, right = body.joints_m[self._shoulders]
        return Figure(
            waist=float(waist.area) / stature,  # in two dimensions the hull's area is its outline
            heads=stature / float(body.vertices_m[:, 1].max() - chin),
            legs=float(body.joints_m[self._hip, 1]) / stature,
            shoulders=float(np.linalg.norm(left - right)) / stature,
        )

    def apart_mm(self, a: Phenotypes, b: Phenotypes, *, scaled: bool) -> F64:
        """(V,) distances of one body's vertices from another's, after alignment."""
        one, other = (self.rest(p).vertices_m.astype(np.float64) for p in (a, b))
        return np.asarray(1e3 * np.linalg.norm(aligned(one, other, scaled=scaled) - other, axis=1))


def _numbers(results: list[Result], ruler: _Ruler) -> dict[str, Any]:
    told, average = (
        {
            "v2v_mm": _mean(ruler.apart_mm(p, r.truth, scaled=True).mean() for p, r in pairs),
            "v2v_at_own_size_mm": _mean(
                ruler.apart_mm(p, r.truth, scaled=False).mean() for p, r in pairs
            ),
            **_figure_errors([(p, r.truth) for p, r in pairs], ruler),
        }
        for pairs in ([(r.told, r) for r in results], [(r.average, r) for r in results])
    )
    gained = [
        ruler.apart_mm(r.told, r.truth, scaled=True).mean()
        < ruler.apart_mm(r.average, r.truth, scaled=True).mean()
        for r in results
    ]
    return {
        "people": len(results),
        "views": VIEWS,
        "confidence": _mean(r.confidence for r in results),
        "told": told,
        "average": average,
        "nearer_than_average": _mean(gained),
        "explained_variance": {name: _explained(results, name) for name in TRAITS},
    }


def _figure_errors(pairs: list[tuple[Phenotypes, Phenotypes]], ruler: _Ruler) -> dict[str, float]:
    errors: dict[str, list[float]] = {}
    for told, truth in pairs:
        ours, right = ruler.figure(ruler.rest(told)), ruler.figure(ruler.rest(truth))
        for name in Figure.__dataclass_fields__:
            error = abs(getattr(ours, name) / getattr(right, name) - 1.0)
            errors.setdefault(f"{name}_percent", []).append(100.0 * error)
    return {name: _mean(values) for name, values in errors.items()}


def _explained(results: list[Result], name: str) -> float:
    told, truth = (np.array([getattr(p, name) for p in people]) for people in
                   ([r.told for r in results], [r.truth for r in results]))  # fmt: skip
    return float(1.0 - ((told - truth) ** 2).sum() / ((truth - AVERAGE) ** 2).sum())


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _sheet(model: BodyModel, results: list[Result], ruler: _Ruler) -> U8:
    """Rows from the best to the worst: picture, truth, told, average."""
    order = np.argsort([ruler.apart_mm(r.told, r.truth, scaled=True).mean() for r in results])
    chosen = order[np.unique(np.linspace(0, len(order) - 1, DRAWN).astype(int))]
    fusion_map = build_topology(model)
    rows = []
    with OffscreenRenderer(CELL, CELL) as renderer:
        renderer.set_background(np.full((1, 1, 3), 232, np.uint8))
        renderer.set_light(Light())
        renderer.set_texture(np.full((1, 1, 3), (196, 180, 168), np.uint8))
        for number in chosen:
            r = results[int(number)]
            bodies = [
                fuse(model, fusion_map, Identity(phenotypes=p))
                for p in (r.truth, r.told, r.average)
            ]
            height = max(float(np.ptp(body.rest_vertices_m[:, 1])) for body in bodies)
            rows.append(
                np.hstack(
                    [_fitted(r.picture), *(_portrait(body, renderer, height) for body in bodies)]
                )
            )
    return np.vstack(rows)


def _fitted(picture: U8 | None) -> U8:
    cell = np.full((CELL, CELL, 3), 232, np.uint8)
    if picture is not None:
        width = round(CELL * picture.shape[1] / picture.shape[0])
        small = cv2.resize(picture, (width, CELL), interpolation=cv2.INTER_AREA)
        left = (CELL - width) // 2
        cell[:, left : left + width] = small
    return cell


def _portrait(avatar: FusedAvatar, renderer: OffscreenRenderer, height_m: float) -> U8:
    camera = Camera(2.0 * CELL, (CELL - 1) / 2, (CELL - 1) / 2, CELL, CELL)
    still = np.tile(np.array([0, 0, 0, 1], np.float32), (len(avatar.joint_names), 1))
    place = np.array([0.0, -0.5 * height_m, -2.15 * height_m], np.float32)
    state = AvatarState(0, 0, 0, still, place, np.zeros(52, np.float32), camera)
    return renderer.render(Poser(avatar).pose(state), camera).copy()
