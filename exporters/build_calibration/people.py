"""Drawn people of known build in random poses, and what the networks measure of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from engine.avatar.anny import BodyModel
from engine.avatar.paint import Look, paint_texture
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.body.body_problem import BodyProblem
from engine.body.build_measurements import Measurements, measure
from engine.body.build_readout import TRAITS
from engine.body.joint_angles import RestJoints
from engine.body.landmark_embedding import embed
from engine.body.local_rotations import local_rotations
from engine.build_from_video import face_height_px
from engine.fusion.copy_paste import build_topology, fuse
from engine.perception.body import BodyTracker
from engine.perception.face import FaceTracker
from engine.perception.networks import Networks
from engine.perception.silhouette import SilhouetteReader
from engine.rendering.background import room
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import F32, F64, U8, AvatarState, Camera, FaceShape, Identity, Phenotypes

WIDTH, HEIGHT = 360, 480
LOOKS = 12
TEXELS = 512
SPREAD = (0.1, 0.9)
"""Of every trait: wider than people are, so that the response is known at the edges too."""
AGES = (0.5, 1.0)
"""Anny's age of grown-ups: 18 to 90 years."""
LENGTH_SHARE = (0.62, 0.9)
"""Of the picture's height that a standing person takes."""
FOCAL = (0.85, 1.6)
"""Of the picture's height."""


@dataclass(frozen=True, slots=True)
class BuildSamples:
    """N views of P people as numbers; M measurements."""

    people: F64
    """(P, 6): age, gender, then TRAITS."""
    owners: F64
    """(N,) which person a view shows."""
    values: F64
    """(N, M) as in Measurements."""
    valid: F64
    """(N, M) 0 or 1."""
    weights: F64
    """(N,)."""


class Studio:
    """Draws people and measures them as the live engine does."""

    def __init__(self, model: BodyModel, networks: Networks, seed: int) -> None:
        """Open every network.

        Args:
            model: the baked body.
            networks: where sessions come from.
            seed: of the skins.
        """
        self.model = model
        self._map = build_topology(model)
        self._body, self._face = BodyTracker(networks), FaceTracker(networks)
        self._silhouettes = SilhouetteReader(networks)
        self._seed = seed
        self._skins: list[U8] = []

    def avatar(
        self, rng: np.random.Generator, spread: tuple[float, float] = SPREAD
    ) -> tuple[FusedAvatar, Phenotypes]:
        """Somebody, whose traits lie within ``spread``."""
        face = FaceShape(rng.standard_normal(self.model.identity_count).astype(np.float32))
        phenotypes = random_phenotypes(rng, spread)
        return fuse(self.model, self._map, Identity(phenotypes=phenotypes, face=face)), phenotypes

    def pictures(
        self, avatar: FusedAvatar, count: int, rng: np.random.Generator, renderer: OffscreenRenderer
    ) -> Iterator[U8]:
        """The person in poses in which people stand before a camera."""
        if len(self._skins) < LOOKS:
            look = Look.varied(self._seed * 1000 + len(self._skins))
            self._skins.append(paint_texture(avatar, look, TEXELS))
        renderer.set_texture(self._skins[int(rng.integers(len(self._skins)))])
        renderer.set_light(Light.varied(int(rng.integers(1 << 30))))
        renderer.set_background(room(int(rng.integers(1 << 30))))
        rest = RestJoints(avatar.joint_names, np.asarray(avatar.joints_m, np.float64))
        vertices = avatar.rest_vertices_m[: len(self.model.template_m)]
        problem = BodyProblem(
            rest, avatar.parents, embed(avatar.joint_names, avatar.joints_m, vertices)
        )
        poser = Poser(avatar)
        for _ in range(count):
            state, camera = _random_pose(avatar, problem, rng)
            picture = renderer.render(poser.pose(state), camera)
            cv2.GaussianBlur(picture, (3, 3), rng.uniform(0.4, 1.0), dst=picture)
            yield picture

    def measured(self, picture: U8) -> Measurements | None:
        """What one picture shows of a build."""
        self._body.reset()
        # The second look's region comes from landmarks, as in a video.
        if self._body.track(picture) is None or (pose := self._body.track(picture)) is None:
            return None
        self._face.reset()
        face = self._face.track(picture, pose)
        seen = self._silhouettes.read(picture, pose)
        return None if seen is None else measure(seen, face_height_px(face))


def random_phenotypes(rng: np.random.Generator, spread: tuple[float, float]) -> Phenotypes:
    """A grown-up of any build."""
    gender, age = float(rng.beta(0.4, 0.4)), float(rng.uniform(*AGES))
    traits = dict(zip(TRAITS, map(float, rng.uniform(*spread, len(TRAITS))), strict=True))
    return Phenotypes(gender=gender, age=age, **traits)


def observe_builds(
    studio: Studio, people: int, views: int, seed: int, report: Callable[[int], None]
) -> BuildSamples:
    """Draw people and measure every view of each.

    Args:
        studio: draws and measures.
        people: how many.
        views: pictures of each.
        seed: of everything random.
        report: told how many people are done.
    """
    rng = np.random.default_rng([seed, 0xB111D])
    persons, owners, found = [], [], []
    with OffscreenRenderer(WIDTH, HEIGHT, samples=1) as renderer:
        for number in range(people):
            avatar, who = studio.avatar(rng)
            persons.append([who.age, who.gender, *(getattr(who, name) for name in TRAITS)])
            for picture in studio.pictures(avatar, views, rng, renderer):
                measurements = studio.measured(picture)
                if measurements is not None:
                    owners.append(number)
                    found.append(measurements)
            report(number + 1)
    return BuildSamples(
        people=np.array(persons),
        owners=np.array(owners, np.float64),
        values=np.array([m.values for m in found]),
        valid=np.array([m.valid for m in found]),
        weights=np.array([m.weight for m in found]),
    )


def _random_pose(
    avatar: FusedAvatar, problem: BodyProblem, rng: np.random.Generator
) -> tuple[AvatarState, Camera]:
    model = problem.model
    angles = model.column("habit").copy()
    angles[6:] += 0.3 * model.column("spread")[6:] * rng.standard_normal(len(angles) - 6)
    for side in (".L", ".R"):
        angles[model.index["arm_raise" + side]] = np.radians(rng.uniform(-32.0, 35.0))
        angles[model.index["elbow" + side]] = np.radians(rng.uniform(-50.0, 20.0))
        angles[model.index["arm_forward" + side]] = np.radians(rng.uniform(-10.0, 25.0))
        angles[model.index["leg_out" + side]] = np.radians(rng.uniform(-6.0, 12.0))
    angles = np.clip(angles, model.column("lower"), model.column("upper"))
    turn = np.radians(rng.uniform(-32.0, 32.0))
    base = np.array(
        [[np.cos(turn), 0.0, np.sin(turn)], [0.0, 1.0, 0.0], [-np.sin(turn), 0.0, np.cos(turn)]]
    )
    rotations: F32 = local_rotations(avatar.parents, problem.posed(angles, base)).astype(np.float32)
    height = float(np.ptp(avatar.rest_vertices_m[:, 1]))
    focal = HEIGHT * rng.uniform(*FOCAL)
    distance = focal * height / (HEIGHT * rng.uniform(*LENGTH_SHARE))
    camera = Camera(float(focal), (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
    place = np.array([rng.uniform(-0.1, 0.1), -0.5 * height, -distance], np.float32)
    state = AvatarState(
        index=0,
        captured_at_ns=0,
        identity_version=0,
        rotations_xyzw=rotations,
        translation_m=place,
        expression=np.zeros(52, np.float32),
        camera=camera,
    )
    return state, camera
