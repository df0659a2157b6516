"""MediaPipe's own blend-shape network, run by LiteRT: a second opinion on a face's actions.

The task file is a zip of four networks. The one used here looks at single frames: 146 of the 478
landmarks, x and y in pixels, to 52 scores (``face_blendshapes_graph.cc``, MediaPipe, Apache-2.0).
It serves the evaluation only; nothing of it reaches the engine.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from engine.errors import ModelFileError, SetupError
from engine.types import ARKIT_NAMES, F32, F64

MEMBER = "face_blendshapes.tflite"
LARGEST_BYTES = 16 << 20
SUBSET = np.array(
    [
        0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63,
        65, 66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133,
        136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163,
        168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270,
        276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317,
        318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379,
        380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454,
        466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
    ]
)  # fmt: skip
"""The landmarks that the network takes."""
OUTPUTS = 52
SCORED = tuple(name for name in ARKIT_NAMES if name != "tongueOut")
"""Its outputs after the first, which is ``_neutral``; all of them come in ARKit's order here."""


class BlendshapePeer:
    """The network of one task file. Not thread-safe."""

    def __init__(self, task: Path) -> None:
        """Read the network out of the file.

        Args:
            task: ``face_landmarker.task`` as MediaPipe publishes it.

        Raises:
            ModelFileError: the file is missing, is no such zip, or its network is another one.
            SetupError: LiteRT is not installed.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise SetupError(
                "the peer needs LiteRT, found none; install the project's test extra"
            ) from error
        content = _member(task)
        try:
            self._network = Interpreter(model_content=content, num_threads=1)
            self._network.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(f"the network {MEMBER} in {task} cannot be read") from error
        into, out = self._network.get_input_details()[0], self._network.get_output_details()[0]
        found = tuple(into["shape"]), tuple(out["shape"])
        if found != ((1, len(SUBSET), 2), (OUTPUTS,)):
            raise ModelFileError(
                f"{MEMBER} in {task} should take (1, 146, 2) and give (52,), found {found}"
            )
        self._input, self._output = into["index"], out["index"]

    def read(self, points_px: F32) -> F64:
        """(52,) ordered as ARKIT_NAMES, of landmarks (478, 3); tongueOut is always 0."""
        points = np.ascontiguousarray(points_px[SUBSET, :2], np.float32)
        self._network.set_tensor(self._input, points[None])
        self._network.invoke()
        scores = self._network.get_tensor(self._output)
        return np.append(scores[1:], 0.0).astype(np.float64)


def _member(task: Path) -> bytes:
    if not task.is_file():
        raise ModelFileError(
            f"expected MediaPipe's face_landmarker.task at {task}, found no file; name yours with "
            "--model"
        )
    try:
        with zipfile.ZipFile(task) as archive:
            if archive.getinfo(MEMBER).file_size > LARGEST_BYTES:
                raise ModelFileError(f"{MEMBER} in {task} is larger than {LARGEST_BYTES} bytes")
            return archive.read(MEMBER)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelFileError(
            f"expected a zip with {MEMBER} in it, found none in {task}; name MediaPipe's "
            "face_landmarker.task with --model"
        ) from error
