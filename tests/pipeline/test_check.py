"""What an export says of a build that loses something, on samples that calibrated nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_zoo.base.spec import InputSpec, TensorSpec
from model_zoo.pipeline import check
from model_zoo.pipeline.check import ParityError
from model_zoo.pipeline.result import ExportFailedError
from model_zoo.pipeline.verdict import Verdict
from model_zoo.runtimes.base import read_samples
from model_zoo.utils.errors import ModelZooError
from tests.pipeline.conftest import Digits

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
    assert "the parts of 'output_0' share one scale" in error.message and "accept_loss=True" in str(error.hint)
    whole, boxes, scores = caught.value.result.targets[0].components[0].parity
    assert whole.host.value > 30 and boxes.passed and not scores.passed
    assert whole.host.samples == 12 and scores.host.interval is not None


def test_the_layer_where_the_loss_begins_is_named(lossy: Export) -> None:
    class Coarse(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (1000 + x) - 1000

    with pytest.raises(ExportFailedError) as caught:
        lossy(Coarse())
    assert "the loss begins at node_" in caught.value.result.errors[0].message


def test_a_refusal_stands_where_layers_cannot_be_compared(lossy: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ModelZooError("no memory")

    monkeypatch.setattr(check, "layer_errors", fail)
    with pytest.raises(ExportFailedError) as caught:
        lossy(BoxesAndScores())
    assert "is refused" in str(caught.value) and "could not be compared: no memory" in str(caught.value)


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


@pytest.mark.parametrize("data", ["own", "repeated", "noise"])
def test_no_checked_sample_was_fitted(
    lossy: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, samples: Path, data: str
) -> None:
    """Whatever the quantizer reads must not be among what the build is compared on."""
    from model_zoo.pipeline import stages

    read, checked = list[bytes](), list[bytes]()
    calibration, reference = stages.ComponentBuild.calibration_inputs, stages.ComponentBuild._make_reference

    def spy_calibration(self: Any) -> Any:
        inputs = calibration(self)
        read.extend(sample["x"].tobytes() for sample in inputs)
        return inputs

    def spy_reference(self: Any, folder: Path) -> Any:
        made = reference(self, folder)
        checked.extend(sample["x"].tobytes() for sample in read_samples(folder / "inputs.npz"))
        return made

    monkeypatch.setattr(stages.ComponentBuild, "calibration_inputs", spy_calibration)
    monkeypatch.setattr(stages.ComponentBuild, "_make_reference", spy_reference)
    repeated = tmp_path / "repeated.npz"
    np.savez(repeated, x=np.random.default_rng(0).random((24, 8), np.float32).repeat(2, axis=0))
    given = {"own": samples, "repeated": repeated, "noise": "random"}[data]
    lossy(BoxesAndScores(), precision="w8a16", calibration_data=given, use_cache=False)
    counts = {"own": (36, 12), "repeated": (38, 10), "noise": (4, 1)}
    assert (len(read), len(checked)) == counts[data] and not set(read) & set(checked)


class CrowdedDigits(Digits):
    """Scores so near to each other, beside what is added to all of them, that 8 bits change answers."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            linear = torch.nn.Linear(64, 10)
        with torch.no_grad():
            linear.weight *= 0.02
            linear.bias.fill_(30.0)
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), linear)


def test_answers_that_change_are_a_loss_however_near_the_scores_are(small_export: Export) -> None:
    with pytest.raises(ExportFailedError) as caught:
        small_export(CrowdedDigits(), runtime="onnx", precision="w8a8", calibration_data=None)
    (component,) = caught.value.result.targets[0].components
    (share,) = component.agreement
    assert component.parity[0].verdict is Verdict.GOOD and share.value < 0.5 and share.samples == 360
    assert "answers differ from torch's on the host CPU" in component.losses[0]
