"""Solve for the response of measurements to a build, and for their two kinds of noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.body.build_readout import AVERAGE, DEVIATION, TRAITS, decided, slopes, terms
from engine.types import F64
from exporters.build_calibration.people import BuildSamples

Mask = NDArray[np.bool_]
RIDGE = 0.3
"""In people: how many average ones every term is drawn to nothing by."""
PRIOR_DEVIATION = 0.25
"""Of a measurement of which hardly any view was taken."""
FLOOR = 0.004
"""Smallest standard deviation of the logarithm of a measurement: masks end on whole pixels."""


@dataclass(frozen=True, slots=True)
class BuildFit:
    """What the readout's file holds; see ``engine.body.build_readout.BuildReadout``."""

    response: F64
    scatter: F64
    view_scatter: F64
    decidable: float


@dataclass(frozen=True, slots=True)
class PersonMeans:
    """Each person's measurements, averaged over views."""

    values: F64
    """(P, M)."""
    views: F64
    """(P, M) the weight of the views in which each was taken."""


def person_means(samples: BuildSamples) -> PersonMeans:
    """Average what views of one person say, as ``engine.build_from_video`` does."""
    people, count = len(samples.people), samples.values.shape[1]
    values, views = np.zeros((people, count)), np.zeros((people, count))
    weights = samples.weights[:, None] * samples.valid
    owners = samples.owners.astype(int)
    np.add.at(values, owners, weights * samples.values)
    np.add.at(views, owners, weights)
    return PersonMeans(values / np.maximum(views, 1e-9), views)


def fit_build(samples: BuildSamples) -> BuildFit:
    """Ridge regression for the response; covariances of what it leaves and of views apart."""
    means = person_means(samples)
    design = np.array([terms(row[0], row[1], row[2:]) for row in samples.people])
    response = _regressed(design, means)
    view_scatter = _between_views(samples, means)
    left = np.where(means.views > 0.0, means.values - design @ response, 0.0)
    share = np.where(means.views > 0.0, 1.0 / np.sqrt(np.maximum(means.views, 0.2)), 0.0)
    own: F64 = _covariance(left, means.views > 0.0)
    of_views = view_scatter * _pairs(share, means.views > 0.0)
    scatter = _positive(own - of_views, FLOOR)
    full = np.linalg.inv(scatter + view_scatter / 1e3)
    slope = design_slope() @ response
    hessian = slope @ full @ slope.T + np.eye(len(TRAITS)) / DEVIATION**2
    return BuildFit(
        response=response,
        scatter=scatter,
        view_scatter=view_scatter,
        decidable=decided(np.asarray(np.linalg.inv(hessian), np.float64)),
    )


def _regressed(design: F64, means: PersonMeans) -> F64:
    count = means.values.shape[1]
    response = np.zeros((design.shape[1], count))
    penalty = RIDGE * np.diag((design**2).mean(axis=0))
    penalty[0, 0] = 0.0
    for m in range(count):
        weight = np.minimum(means.views[:, m], 1.0)
        normal = design.T @ (weight[:, None] * design) + penalty
        response[:, m] = np.linalg.solve(normal, design.T @ (weight * means.values[:, m]))
    return response


def _between_views(samples: BuildSamples, means: PersonMeans) -> F64:
    """Covariance of single views about their person's mean, as if that were known."""
    owners = samples.owners.astype(int)
    seen = means.views[owners]
    valid = (samples.valid > 0.0) & (seen > 1.5)
    apart = np.where(valid, samples.values - means.values[owners], 0.0)
    apart *= np.sqrt(np.where(valid, seen / np.maximum(seen - 1.0, 0.5), 1.0))
    return _positive(_covariance(apart, valid), FLOOR)


def _covariance(rows: F64, valid: Mask) -> F64:
    """Of what is there in both of a pair, drawn to a wide diagonal where that is little."""
    has = valid.astype(np.float64)
    pairs = has.T @ has
    prior = 5.0 * PRIOR_DEVIATION**2 * np.eye(rows.shape[1]) * (pairs < 20.0)
    return np.asarray((rows.T @ rows + prior) / np.maximum(pairs, 1.0))


def _pairs(share: F64, valid: Mask) -> F64:
    has = valid.astype(np.float64)
    return np.asarray(share.T @ share / np.maximum(has.T @ has, 1.0))


def _positive(covariance: F64, floor: float) -> F64:
    """The nearest covariance whose smallest standard deviation is ``floor``."""
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return np.asarray((vectors * np.maximum(values, floor**2)) @ vectors.T)


def design_slope() -> F64:
    """(4, 20) derivatives by the traits of the average person, kinks apart."""
    return slopes(0.67, 0.5, np.full(len(TRAITS), AVERAGE))
