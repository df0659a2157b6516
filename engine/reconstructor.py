"""Stages two to four of a frame: face fit, body fit, and the fused mesh they pose."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np

from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.body.body_targets import HeadPose
from engine.body.smplify import BodyFit, BodyFitter, BodyShape
from engine.face import head_pose
from engine.face.face_fit import FaceFit, FaceFitter
from engine.fusion.base_avatar import BaseAvatar
from engine.fusion.estimates import FaceView
from engine.prediction import Predictor
from engine.types import (
    ARKIT_NAMES,
    AvatarState,
    Camera,
    FusedMesh,
    Identity,
    Observation,
)


@dataclass(frozen=True, slots=True)
class _Person:
    """What an identity decides, made off the frame path and swapped in whole."""

    identity: Identity
    avatar: FusedAvatar
    fitted: FusedAvatar
    """Anny's own smooth one: what is fitted to landmarks and looked at by the slow loop."""
    poser: Poser
    shape: BodyShape


class Reconstructor:
    """One person's parameters, each frame starting from the frame before."""

    def __init__(
        self, base: BaseAvatar, identity: Identity, field_of_view_deg: float | None = None
    ) -> None:
        """Ready for the first frame.

        Args:
            base: the body model with its fused topology.
            identity: whose body to begin with.
            field_of_view_deg: of the picture's longer side, where the user knows it; it overrules
                what sources say of themselves.
        """
        self._own_view_deg = self._view_deg = field_of_view_deg
        self._base = base
        avatar, fitted = base.avatars_of(identity)
        self._next: _Person | None = None
        self._handing_over = threading.Lock()
        names = fitted.joint_names
        self._head = names.index("head")
        self._body = BodyFitter(names, fitted.joints_m, fitted.parents, fitted.rest_vertices_m)
        self._face = FaceFitter(fitted.rest_vertices_m, fitted.joints_m[self._head])
        poser = Poser(avatar, None, base.corrections_of(avatar, identity))
        self._person = _Person(identity, avatar, fitted, poser, self._body.shape)
        self._predictor = Predictor(len(names))
        self._state: AvatarState | None = None
        self._head_target: HeadPose | None = None
        self._fit: FaceFit | None = None
        self._face_view: FaceView | None = None
        self._clock_ns: int | None = None

    @property
    def base(self) -> BaseAvatar:
        """What all avatars have in common."""
        return self._base

    @property
    def identity(self) -> Identity:
        """The newest one, whether a frame has shown it yet or not."""
        coming = self._next
        return (coming or self._person).identity

    @property
    def avatar(self) -> FusedAvatar:
        """The avatar of the newest frame."""
        return self._person.avatar

    @property
    def strangers(self) -> int:
        """How often another person than the one before has turned out to be watched."""
        return self._face.strangers

    @property
    def fitted_avatar(self) -> FusedAvatar:
        """Anny's own, without relief, in the same shape: what landmarks and pictures fit."""
        return self._person.fitted

    @property
    def head(self) -> head_pose.HeadPose | None:
        """As fitted to the newest frame's face; None where it shows none."""
        return None if self._fit is None else self._fit.head

    @property
    def body(self) -> BodyFitter:
        """The body's fit."""
        return self._body

    @property
    def head_target(self) -> HeadPose | None:
        """What the newest frame's face told the body's fit of the head."""
        return self._head_target

    @property
    def state(self) -> AvatarState | None:
        """Of the newest frame, as it was fitted and not predicted."""
        return self._state

    @property
    def field_of_view_deg(self) -> float | None:
        """Of the pictures' longer side; None: a usual webcam's."""
        return self._view_deg

    def look_through(self, field_of_view_deg: float | None) -> None:
        """Take over what a new source knows of its lens, unless the user knows better."""
        self._view_deg = self._own_view_deg or field_of_view_deg

    def become(self, identity: Identity) -> None:
        """Take over an identity from the next frame on. Any thread may call this.

        Args:
            identity: the same person, better known: pose and what was learned of the face stay.
        """
        avatar, fitted = self._base.avatars_of(identity, self._face_view)
        shape = self._body.shape_of(fitted.joints_m, fitted.rest_vertices_m)
        corrections = self._base.corrections_of(avatar, identity)
        poser = self._person.poser.with_identity(avatar, corrections)
        person = _Person(identity, avatar, fitted, poser, shape)
        with self._handing_over:
            self._next = person

    def reset(self) -> None:
        """Forget pose and expression; the identity stays."""
        self._body.reset()
        self._face.reset()
        self._predictor.reset()
        self._fit = self._face_view = self._clock_ns = None

    def reconstruct(
        self, seen: Observation, *, pose: bool = True, ahead_s: float = 0.0
    ) -> tuple[AvatarState, FusedMesh | None, dict[str, float]]:
        """Fit one frame.

        Args:
            seen: its landmarks, all of them finite; with nobody there the last pose is held, then
                relaxes.
            pose: whether its mesh is wanted.
            ahead_s: how long it takes until the state is seen; it is predicted by as much.

        Returns:
            The state to show, the mesh it poses (valid until two more frames were made), and the
            milliseconds of ``face_fit``, ``body_fit`` and ``mesh``.
        """
        started = time.perf_counter()
        self._take_over()
        camera = Camera.of_view(seen.width, seen.height, self._view_deg)
        face = self._fit_face(seen, camera)
        face_done = time.perf_counter()
        self._head_target = _head_target(face, seen)
        body = self._body.fit(seen, self._head_target, camera)
        body_done = time.perf_counter()
        self._state = self._state_of(seen, camera, body, face)
        state = self._predictor(self._state, ahead_s)
        milliseconds = {
            "face_fit": (face_done - started) * 1e3,
            "body_fit": (body_done - face_done) * 1e3,
        }
        if not pose:
            return state, None, milliseconds
        mesh = self._person.poser.pose(state)
        milliseconds["mesh"] = (time.perf_counter() - body_done) * 1e3
        return state, mesh, milliseconds

    def _take_over(self) -> None:
        with self._handing_over:
            person, self._next = self._next, None
        if person is None:
            return
        self._person = person
        fitted = person.fitted
        self._body.set_identity(person.shape)
        self._face.set_identity(fitted.rest_vertices_m, fitted.joints_m[self._head])

    def _fit_face(self, seen: Observation, camera: Camera) -> FaceFit | None:
        last, self._clock_ns = self._clock_ns, seen.captured_at_ns
        interval_s = 1 / 30 if last is None else (seen.captured_at_ns - last) * 1e-9
        self._fit = None
        if seen.face is None:
            return self._face.lost(interval_s)
        self._fit = self._face.fit(seen.face, camera, interval_s)
        if self._fit is not None:
            self._face_view = FaceView.of(self._fit.head, seen.face, self._fit.confidence)
        return self._fit

    def _state_of(
        self, seen: Observation, camera: Camera, body: BodyFit, face: FaceFit | None
    ) -> AvatarState:
        expression = np.zeros(len(ARKIT_NAMES), np.float32) if face is None else face.expression
        return AvatarState(
            index=seen.index,
            captured_at_ns=seen.captured_at_ns,
            identity_version=self._person.avatar.identity_version,
            rotations_xyzw=body.rotations_xyzw,
            translation_m=body.translation_m,
            expression=expression,
            camera=camera,
            body_confidence=body.body_confidence,
            face_confidence=0.0 if face is None else face.confidence,
            left_hand_confidence=body.left_hand_confidence,
            right_hand_confidence=body.right_hand_confidence,
        )


def _head_target(face: FaceFit | None, seen: Observation) -> HeadPose | None:
    """The face's head pose; one that was lost says nothing against a pose that is seen."""
    if face is None or (seen.face is None and seen.pose is not None):
        return None
    return HeadPose(
        face.head.rotation_xyzw.astype(np.float64),
        face.confidence,
        face.head.translation_m.astype(np.float64),
    )
