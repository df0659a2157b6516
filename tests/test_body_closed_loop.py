"""A known body, rendered, seen by the real networks, and fitted."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.performer import BODY_JOINTS, PerformerComparison
from engine.engine import Engine, EngineOptions
from engine.inference.store import ModelStore
from engine.slot import Policy
from engine.sources.performer import open_performer


@pytest.mark.slow
async def test_hands_that_come_up_fast_do_not_throw_the_arms_out(model_cache: ModelStore) -> None:
    """For five frames both arms were stretched out and the body a hand's breadth too near."""
    pytest.importorskip("moderngl")
    performer = open_performer("webcam", frames=62)
    comparison = PerformerComparison(performer)
    options = EngineOptions(semantics=False, store=model_cache)
    with Engine.open(options) as engine, performer:
        async with engine.pipeline.run(performer, Policy.BLOCK) as results:
            async for result in results:
                comparison.add(result)
    series = comparison._series
    neck = BODY_JOINTS.index("neck01")
    elbows = [BODY_JOINTS.index(name) for name in ("lowerarm01.L", "lowerarm01.R")]
    raised = slice(52, 60)
    found, true = (np.array(j)[raised] for j in (series.joints, series.true_joints))
    error_m = found - true
    about_neck_m = np.linalg.norm(error_m - error_m[:, neck : neck + 1], axis=2)
    assert about_neck_m[:, elbows].max() < 0.15
    assert np.ptp(error_m[:, neck, 2]) < 0.06
