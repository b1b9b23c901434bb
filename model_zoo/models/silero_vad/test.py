"""What holds for Silero VAD."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from model_zoo.models._shared.audio import hum
from model_zoo.models.silero_vad.app import App
from model_zoo.models.silero_vad.demo import main
from model_zoo.models.silero_vad.model import CONTEXT, STEP, Model

pytestmark = pytest.mark.skipif(find_spec("silero_vad") is None, reason="needs `model-zoo install silero_vad`")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained()


def test_task_gives_what_the_package_gives(model: Model) -> None:
    """Step by step, with the memory, against the ONNX file in the package."""
    folder = Path(find_spec("silero_vad").submodule_search_locations[0], "data")
    session = onnxruntime.InferenceSession(folder / "silero_vad_16k_op15.onnx", providers=["CPUExecutionProvider"])
    sound = np.concatenate([np.zeros(STEP, np.float32), hum(0.5), np.zeros(2 * STEP, np.float32)])
    found = App(model).probabilities(sound)
    filled = np.concatenate([np.zeros(CONTEXT, np.float32), sound, np.zeros(STEP, np.float32)])
    state, rate, expected = np.zeros((2, 1, 128), np.float32), np.array(16_000, np.int64), []
    for number in range(len(found)):
        heard = filled[None, number * STEP : (number + 1) * STEP + CONTEXT]
        speech, state = session.run(None, {"input": heard, "state": state, "sr": rate})
        expected.append(speech.item())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(found) > 0.05, "sound and silence make no difference"


@pytest.mark.trace
def test_trace(model: Model) -> None:
    inputs = tuple(torch.from_numpy(value) for value in model.sample_inputs().values())
    traced = torch.export.export(model, inputs, strict=False).module()
    torch.testing.assert_close(traced(*inputs), model(*inputs))


def test_app_joins_and_drops() -> None:
    """A short pause is part of the speech, a click is none, and the end is that of the recording."""
    wanted = (
        [0.1] * 4 + [0.9] * 10 + [0.2] * 2 + [0.8] * 6 + [0.1] * 10 + [0.9] * 3 + [0.0] * 9 + [0.4, 0.9] + [0.4] * 9
    )
    steps = iter(wanted)

    def model(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.tensor([[next(steps)]]), *inputs[1:]

    found = App(model).predict(np.full(len(wanted) * STEP - 100, 0.1, np.float32))
    assert [(round(s.start / 0.032), round(s.end / 0.032, 1)) for s in found] == [(4, 22.0), (45, 54.8)]


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output-dir", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads(Path(printed["saved"]).read_text())["found"] == printed["found"]
    assert main(["--threshold", "0"]) == 2
    assert "threshold 0" in capsys.readouterr().err
