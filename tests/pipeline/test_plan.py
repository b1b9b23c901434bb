"""What a plan settles before anything slow runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.pipeline.cache import open_cache
from model_zoo.pipeline.options import ExportOptions
from model_zoo.pipeline.plan import Plan, make_plan
from model_zoo.sources.zoo import ZooSource
from model_zoo.toolchains import find_toolchain


@pytest.fixture
def plan_of(tmp_path: Path) -> object:
    def run(model: str, weights: str, **options: str) -> Plan:
        source = ZooSource(model, {"weights": weights}, {})
        with open_cache(True) as cache:
            return make_plan(source, ExportOptions(**options, output_dir=tmp_path), find_toolchain(), cache)

    return run


def test_outputs_that_mean_nothing_are_checked_on_one_sample(plan_of) -> None:
    options = {"chipset": "sm8650", "precision": "w8a8"}
    (trained,) = plan_of("unet_segmentation", "reference", **options).check.values()
    (random,) = plan_of("unet_segmentation", "random", **options).check.values()
    assert trained.count >= 8 and random.count == 1


def test_what_other_weights_lost_warns_and_does_not_refuse(plan_of) -> None:
    plan = plan_of("mobilenet_v2", "random", chipset="sm8650", precision="w4a16")
    assert "not among what this model offers: with the weights random" in plan.warnings[0]
    plan = plan_of("resnet101", "random", chipset="sm8650", precision="w8a16")
    assert "w8a16 was not built and checked for this model" in plan.warnings[0]
