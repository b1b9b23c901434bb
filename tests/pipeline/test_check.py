"""What an export says of a build that loses something, on samples that calibrated nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, TensorSpec
from model_zoo.pipeline.check import ParityError
from model_zoo.pipeline.result import ExportFailedError
from model_zoo.pipeline.verdict import Verdict

Export = Callable[..., Any]
SPEC: InputSpec = {"x": TensorSpec((1, 8), value_range=(0.0, 1.0))}


class BoxesAndScores(torch.nn.Module):
    """Pixels beside probabilities in one output: 8 bits for both leave nothing of the probabilities."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([640 * x[:, :4], (x[:, 4:] - 0.5).sigmoid()], 1)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Four of each of twelve things."""
    random = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=random.random((48, 8), np.float32), content=np.arange(48) // 4)
    return tmp_path / "x.npz"


@pytest.fixture
def lossy(small_export: Export, samples: Path) -> Export:
    """Export to the runtime onnx in w8a8, for this machine alone."""

    def run(module: torch.nn.Module, **arguments: Any) -> Any:
        request = {"runtime": "onnx", "precision": "w8a8", "calibration_data": samples, "input_spec": SPEC}
        return small_export(module, **request | arguments)

    return run


def test_a_lost_part_refuses_the_build_and_is_named(lossy: Export) -> None:
    with pytest.raises(ExportFailedError) as caught:
        lossy(BoxesAndScores())
    (error,) = caught.value.result.errors
    assert isinstance(error, ParityError) and "'output_0[:, 4:8]' is " in error.message
    assert "the loss begins at " in error.message and "accept_loss=True" in str(error.hint)
    whole, boxes, scores = caught.value.result.targets[0].components[0].parity
    assert whole.host.value > 30 and boxes.passed and not scores.passed
    assert whole.host.samples == 12 and scores.host.interval is not None


def test_an_accepted_loss_is_written_down(lossy: Export) -> None:
    (target,) = lossy(BoxesAndScores(), accept_loss=True).targets
    described = json.loads((target.folder / "metadata.json").read_text())["components"]["small"]
    assert described["verdict"] == "refused" and "'output_0[:, 4:8]'" in " ".join(described["losses"])
    assert "LOST, kept as it is (accept_loss)" in " ".join(described["notes"])


def test_nothing_is_lost_in_sixteen_bits(lossy: Export) -> None:
    (component,) = lossy(BoxesAndScores(), precision="w8a16").targets[0].components
    assert component.verdict is Verdict.GOOD and component.losses == ()


def test_a_float_build_is_checked_on_the_samples_that_are_given(lossy: Export) -> None:
    result = lossy(BoxesAndScores(), precision="float")
    assert result.targets[0].components[0].parity[0].host.samples == 32 and result.plan.warnings == ()
    assert "noise" not in " ".join(result.targets[0].components[0].notes)


def test_samples_that_calibrated_are_told(lossy: Export, tmp_path: Path) -> None:
    alike = tmp_path / "alike.npz"
    np.savez(alike, x=np.random.default_rng(0).random((48, 8), np.float32), content=np.zeros(48, int))
    (component,) = lossy(BoxesAndScores(), precision="w8a16", calibration_data=alike).targets[0].components
    assert "PARITY WAS MEASURED ON SAMPLES THAT CALIBRATED" in " ".join(component.notes)


def test_no_checked_sample_was_fitted(lossy: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the quantizer reads must not be among what the build is compared on."""
    from model_zoo.pipeline import stages

    read, checked = list[bytes](), list[bytes]()
    calibration, reference = stages.ComponentBuild.calibration_inputs, stages.ComponentBuild._make_reference

    def spy_calibration(self: Any) -> Any:
        inputs = calibration(self)
        read.extend(sample["x"].tobytes() for sample in inputs)
        return inputs

    def spy_reference(self: Any, folder: Path) -> Any:
        checked.extend(sample["x"].tobytes() for sample in self.check.load(self.facts.inputs)[0])
        return reference(self, folder)

    monkeypatch.setattr(stages.ComponentBuild, "calibration_inputs", spy_calibration)
    monkeypatch.setattr(stages.ComponentBuild, "_make_reference", spy_reference)
    lossy(BoxesAndScores(), precision="w8a16", use_cache=False)
    assert len(read) == 36 and len(checked) == 12 and not set(read) & set(checked)


class Classifier(BaseModel):
    """Digits by a fixed projection, whose scores are so near to each other that 8 bits change answers."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.linear = torch.nn.Linear(64, 10)
        with torch.no_grad():
            self.linear.weight *= 0.02
            self.linear.bias.fill_(30.0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.linear(image.flatten(1))

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Classifier:
        return cls().eval()

    @staticmethod
    def get_input_spec() -> InputSpec:
        return {"image": TensorSpec((1, 1, 8, 8), io_type="image", value_range=(0.0, 1.0), color_order="gray")}

    @staticmethod
    def get_output_names() -> list[str]:
        return ["logits"]

    @staticmethod
    def eval_datasets() -> list[str]:
        return ["digits"]

    @staticmethod
    def calibration_dataset_name() -> str:
        return "digits"

    def get_evaluator(self) -> Any:
        from model_zoo.evaluators.classification import ClassificationEvaluator

        return ClassificationEvaluator


def test_answers_that_change_are_a_loss_however_near_the_scores_are(small_export: Export) -> None:
    with pytest.raises(ExportFailedError) as caught:
        small_export(Classifier(), runtime="onnx", precision="w8a8", calibration_data=None)
    (component,) = caught.value.result.targets[0].components
    (share,) = component.agreement
    assert component.parity[0].verdict is Verdict.GOOD and share.value < 0.5 and share.samples == 360
    assert "answers differ from torch's on the host CPU" in component.losses[0]
