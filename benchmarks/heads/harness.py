"""The harness: people, what is seen of them, and how wrong a reconstruction is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.heads.filming import Person, Studio
from benchmarks.heads.ict_people import (
    LANDMARK_VERTICES,
    LANDMARKS_478,
    NOSE_TIP,
    find_ict,
    load_ict,
    skin,
)
from benchmarks.heads.sitting import Sitting, watch
from benchmarks.heads.skin_transfer import dress
from benchmarks.heads.surface_error import Head, HeadError, measure
from engine.avatar.anny import FILE_NAME, PART_NAMES, BodyModel
from engine.avatar.morphable_model import MorphableModel
from engine.avatar.topology import Topology
from engine.face.landmark_embedding import default_embedding
from engine.fusion.copy_paste import fuse
from engine.fusion.fusion_map_file import load_fusion_map
from engine.inference.store import ModelStore
from engine.perception.face import FaceTracker
from engine.perception.networks import Networks
from engine.types import F32, I32, Identity, Phenotypes

Estimator = Callable[[Sitting], F32]
"""What is seen of a person to Anny's (V, 3) rest vertices."""


class Heads:
    """The people, the camera before them, and the measure; estimators are the caller's.

    >>> heads = Heads()
    >>> for person, sitting in heads.sittings(8, cache=folder):
    ...     error = heads.error(estimate(sitting), person)
    """

    def __init__(self, ict: Path | None = None, store: ModelStore | None = None) -> None:
        """Find the models; pictures are drawn only when they are needed.

        Raises:
            ModelFileError: ICT-FaceKit or the baked body is missing or damaged.
        """
        self.store = store or ModelStore.default()
        self.ict: MorphableModel = load_ict(find_ict(ict))
        self.anny = BodyModel.load(self.store.path(FILE_NAME))
        self._skin = skin(self.ict)
        self._anny_skin = self.anny_faces("head")

    def anny_faces(self, *parts: str) -> I32:
        """(F, 3) Anny's triangles of these parts."""
        chosen = np.isin(self.anny.face_parts, [PART_NAMES.index(part) for part in parts])
        return self.anny.faces[chosen]

    @cached_property
    def _tracker(self) -> FaceTracker:
        return FaceTracker(Networks(self.store))

    @cached_property
    def _dress(self) -> Topology:
        """Takes some seconds."""
        return dress(self.ict, self.anny)

    def studio(self) -> Studio:
        """A camera for these people, to be closed by the caller."""
        fusion_map = load_fusion_map(self.store.path(FILE_NAME), self.anny)
        avatar = fuse(self.anny, fusion_map, Identity())
        return Studio(self.ict, self._dress, avatar)

    def sittings(
        self, count: int, cache: Path | None = None, first: int = 0
    ) -> Iterator[tuple[Person, Sitting]]:
        """``count`` people and what the landmark network sees of each.

        Args:
            count: how many.
            cache: a folder to keep the landmarks in; for those that it has no network runs.
            first: number of the first person.
        """
        with self.studio() as studio:
            for number in range(first, first + count):
                person = Person.random(self.ict, number)
                film = list(studio.film(person))
                path = None if cache is None else cache / f"sitting-{number}.npz"
                if path is not None and path.exists():
                    yield person, Sitting.load(path, film)
                    continue
                sitting = watch(film, self._tracker)
                if path is not None:
                    sitting.save(path)
                yield person, sitting

    def truth(self, vertices_m: F32) -> Head:
        """A head of ICT's topology."""
        return Head.of(vertices_m, self._skin, vertices_m[list(LANDMARK_VERTICES)], NOSE_TIP)

    def ours(self, rest_vertices_m: F32) -> Head:
        """A head of Anny's topology; vertices beyond Anny's own do not count."""
        vertices = rest_vertices_m[: len(self.anny.template_m)]
        landmarks = default_embedding().landmarks_m(vertices)[list(LANDMARKS_478)]
        return Head.of(vertices, self._anny_skin, landmarks, NOSE_TIP)

    def error(self, rest_vertices_m: F32, person: Person) -> HeadError:
        """Of a reconstruction in Anny's topology."""
        return measure(self.ours(rest_vertices_m), self.truth(person.rest_m))

    def mean_error(self, person: Person) -> HeadError:
        """Of ICT's own mean: what knowing the statistics but not the person gives."""
        return measure(self.truth(self.ict.mean_m), self.truth(person.rest_m))


def zero_shape(anny: BodyModel, phenotypes: Phenotypes | None = None) -> Estimator:
    """The baseline: the phenotypes' average face, whoever is seen."""
    vertices = anny.shape(phenotypes or Phenotypes()).vertices_m
    return lambda _: vertices
