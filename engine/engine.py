"""Puts an engine together from the model store, and takes it apart again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine.age_and_gender import AgeAndGender
from engine.build_from_video import BuildFromVideo
from engine.face_from_video import FaceFromVideo
from engine.fusion.base_avatar import BaseAvatar
from engine.fusion.modes import COPY_PASTE
from engine.identity_edit import IdentityEdit
from engine.identity_keeper import IdentityKeeper
from engine.inference.store import ModelStore
from engine.kernels import start_numba
from engine.memory import return_large_blocks
from engine.perception.networks import Networks
from engine.perception.observer import Observer
from engine.perception.semantics import SemanticsEstimator
from engine.pipeline import Pipeline
from engine.reconstructor import Reconstructor
from engine.relief_from_video import ReliefFromVideo
from engine.skin_from_video import SkinFromVideo
from engine.slow_loop import SlowEstimator, SlowLoop
from engine.types import Identity, Phenotypes


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a user may choose."""

    backend: str = "auto"
    """openvino, onnxruntime, or auto: by machine."""
    semantics: bool = True
    """Whether age and gender are estimated; if not, their networks are never loaded."""
    identity: bool = True
    """Whether anything of the person is estimated; if not, the avatar stays as it started."""
    phenotypes: Phenotypes = field(default_factory=Phenotypes)
    """The shape to start from, and to keep where nothing better is known."""
    displacement: bool = True
    """Whether the relief of the face is read from shading, where the face is Anny's own,"""
    wrinkles: bool = True
    """and whether wrinkle lines are detected, for eq. (3)."""
    fusion: str = COPY_PASTE
    """How a face of one's own is joined to the body: copy-paste, optimisation or attention."""
    face_model: Path | None = None
    """A converted head whose face is shown on the body; None: Anny's own."""
    field_of_view_deg: float | None = None
    """Of the camera's longer side, degrees; None: what the source says of itself, else 60."""
    predict: bool = False
    """Whether live states are predicted by the pipeline's delay: where the person is now."""
    edit: IdentityEdit = field(default_factory=IdentityEdit)
    """What the user wants of the avatar, whatever is estimated."""
    store: ModelStore = field(default_factory=ModelStore.default)


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine: feed its pipeline a source."""

    pipeline: Pipeline
    reconstructor: Reconstructor
    slow_loop: SlowLoop
    networks: Networks

    @property
    def backend(self) -> str:
        """What runs the networks, for reports."""
        return ", ".join(sorted(set(self.networks.backends.values())))

    @staticmethod
    @contextmanager
    def open(options: EngineOptions) -> Iterator[Engine]:
        """Load everything; leaving the block stops every thread.

        Raises:
            ModelFileError: a model is missing or damaged: run ``sars setup``.
            AvatarError: the backend is unknown or not installed.
        """
        return_large_blocks()
        keeper = IdentityKeeper(Identity(phenotypes=options.phenotypes), options.edit)
        networks = Networks(options.store, options.backend)
        # Networks and body load side by side: both spend their time outside Python.
        with networks.preload():
            start_numba()
            base = BaseAvatar.load(options.store, options.fusion, options.face_model)
            reconstructor = Reconstructor(base, keeper.identity, options.field_of_view_deg)
            observer = Observer(networks)
        slow_loop = SlowLoop(
            keeper, estimators_of(options, networks, reconstructor), reconstructor.become
        )
        slow_loop.start()
        pipeline = Pipeline(observer, reconstructor, slow_loop, predict=options.predict)
        # What was loaded stays: no frame waits while the collector looks through it (70 ms).
        gc.freeze()
        try:
            yield Engine(pipeline, reconstructor, slow_loop, networks)
        finally:
            slow_loop.stop()
            observer.close()
            gc.unfreeze()


def estimators_of(
    options: EngineOptions, networks: Networks, reconstructor: Reconstructor
) -> list[SlowEstimator]:
    """What the slow loop finds out, in the order in which one builds upon the other."""
    if not options.identity:
        return []
    base, found = reconstructor.base, list[SlowEstimator]()
    if options.semantics:
        found.append(AgeAndGender(SemanticsEstimator(networks)))
    found.append(BuildFromVideo(networks))  # before the face, which is told on top of it
    found.append(FaceFromVideo(base.model))
    skin = SkinFromVideo(base.average, lambda: reconstructor.fitted_avatar)
    found.append(skin)
    if base.graft is None and (options.displacement or options.wrinkles):
        relief = ReliefFromVideo(
            skin,
            lambda: reconstructor.fitted_avatar,
            displacement=options.displacement,
            wrinkles=options.wrinkles,
        )
        found.append(relief)
    return found
