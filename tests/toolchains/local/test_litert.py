from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from model_zoo.base.model import run_torch
from model_zoo.base.spec import Arrays
from model_zoo.runtimes import litert as runtime
from model_zoo.runtimes.litert import LitertModel
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.litert import LitertRuntime
from model_zoo.utils.errors import UserError
from model_zoo.utils.jobs import ChildFailedError, Limits
from model_zoo.utils.numerics import sqnr_db
from tests.toolchains.builds import LitertBuild, compile_tflite

pytestmark = pytest.mark.skipif(find_spec("litert_torch") is None, reason="needs the extra tflite")

INPUTS, OUTPUTS = ["picture", "ids"], ["scores", "label", "features"]


class TwoInputs(torch.nn.Module):
    """A small CNN with a channel-last picture and token ids, giving floats and a class id."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 3, padding=1),
            torch.nn.BatchNorm2d(32),
            torch.nn.ReLU(),
            torch.nn.Conv2d(32, 32, 3, stride=2),
            torch.nn.Hardswish(),
        )
        self.table = torch.nn.Embedding(16, 32)
        self.head = torch.nn.Linear(32, 5)

    def forward(self, picture: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.body(picture.permute(0, 3, 1, 2))
        scores = self.head(features.mean((2, 3)) + self.table(ids).mean(1))
        return scores, scores.argmax(-1), features.permute(0, 2, 3, 1)


def samples(count: int, brightest: float = 1.0) -> list[Arrays]:
    """Pictures that get brighter and brighter."""
    generator = np.random.default_rng(0)
    return [
        {
            "picture": generator.random((1, 16, 16, 3), dtype=np.float32) * np.float32(level),
            "ids": generator.integers(0, 16, (1, 4)),
        }
        for level in np.linspace(0.1, brightest, count)
    ]


@pytest.fixture(scope="module")
def source() -> torch.nn.Module:
    torch.manual_seed(0)
    return TwoInputs().eval()


@pytest.fixture(scope="module")
def program(source: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "two_inputs.pt2"
    example = tuple(torch.from_numpy(value) for value in samples(1)[0].values())
    torch.export.save(torch.export.export(source, example), path)
    return path


def build(program: Path, out_dir: Path, precision: Precision, **options: object) -> LitertBuild:
    return compile_tflite(
        program,
        input_names=INPUTS,
        output_names=OUTPUTS,
        precision=precision,
        out_dir=out_dir,
        stem="two_inputs",
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def float_build(program: Path, tmp_path_factory: pytest.TempPathFactory) -> LitertBuild:
    return build(program, tmp_path_factory.mktemp("float"), Precision.FLOAT)


@pytest.fixture(scope="module")
def w8a8_build(program: Path, tmp_path_factory: pytest.TempPathFactory) -> LitertBuild:
    return build(program, tmp_path_factory.mktemp("w8a8"), Precision.W8A8, calibration=samples(12), holdout=3)


def parity(source: torch.nn.Module, file: Path) -> tuple[dict[str, float], float]:
    """SQNR of each float output against torch, and the share of equal labels."""
    inputs = samples(6, brightest=0.9)
    expected = [run_torch(source, sample, OUTPUTS) for sample in inputs]
    actual = LitertModel(file).run(inputs)
    sqnr = {
        name: sqnr_db(np.stack([e[name] for e in expected]), np.stack([a[name] for a in actual]))
        for name in ("scores", "features")
    }
    return sqnr, float(np.mean([e["label"] == a["label"] for e, a in zip(expected, actual, strict=True)]))


def interface(file: Path) -> list[tuple[str, tuple[int, ...], str]]:
    model = LitertModel(file)
    return [(name, t.shape, t.dtype) for name, t in [*model.input_spec.items(), *model.output_spec.items()]]


EXPECTED_INTERFACE = [
    ("picture", (1, 16, 16, 3), "float32"),
    ("ids", (1, 4), "int32"),
    ("scores", (1, 5), "float32"),
    ("label", (1,), "int32"),
    ("features", (1, 7, 7, 32), "float32"),
]


def test_float_is_the_torch_model(source: torch.nn.Module, float_build: LitertBuild) -> None:
    assert interface(float_build.file) == EXPECTED_INTERFACE
    sqnr, agreement = parity(source, float_build.file)
    assert min(sqnr.values()) >= 60 and agreement == 1.0
    assert not {"range_method", "range_scores_db"} & set(float_build.lowered.settings)
    assert [path.name for path in float_build.file.parent.iterdir()] == ["two_inputs.tflite"]


def test_w8a8_keeps_float_inputs_and_outputs(
    source: torch.nn.Module, float_build: LitertBuild, w8a8_build: LitertBuild
) -> None:
    assert interface(w8a8_build.file) == EXPECTED_INTERFACE
    sqnr, _ = parity(source, w8a8_build.file)
    assert min(sqnr.values()) >= 15 and max(sqnr.values()) < 60  # int8 cannot be that good: it would still be float
    assert w8a8_build.file.stat().st_size < 0.6 * float_build.file.stat().st_size


def test_better_range_method_wins_on_samples_kept_back(w8a8_build: LitertBuild) -> None:
    settings = w8a8_build.lowered.settings
    scores = settings["range_scores_db"]
    assert set(scores) == {"moving_average", "min_max"}
    # a moving average has hardly left the dark pictures it started from
    assert scores["min_max"] > scores["moving_average"] + 3
    assert settings["range_method"] == "min_max"
    assert settings["calibration_samples"] == "9"
    assert settings["ranges_judged_on"] == "3 samples kept back"
    assert w8a8_build.lowered.peak_memory_bytes > 2**28


@pytest.mark.parametrize("limits", [Limits(seconds=0.5), Limits(memory_bytes=50 * 2**20)], ids=["time", "memory"])
def test_stopped_child_leaves_no_file(program: Path, tmp_path: Path, limits: Limits) -> None:
    with pytest.raises(ChildFailedError, match="and was stopped"):
        build(program, tmp_path, Precision.W8A8, calibration=samples(1), limits=limits)
    assert list(tmp_path.iterdir()) == []


def test_refused_requests(program: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tflite has no w8a16"):
        build(program, tmp_path, Precision.W8A16)
    with pytest.raises(UserError, match="needs calibration samples"):
        build(program, tmp_path, Precision.W8A8)
    assert list(tmp_path.iterdir()) == []


def test_absent_extra_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(LitertRuntime().versions().values())
    monkeypatch.setattr(runtime, "find_spec", lambda name: None if name == "litert_torch" else object())
    with pytest.raises(UserError, match=r'needs litert_torch, .*pip install "\.\[tflite\]"'):
        LitertRuntime().versions()


def test_a_tensor_made_in_forward_is_kept(tmp_path: Path) -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.tensor((2.0, 3.0, 5.0, 7.0)[:2]) + torch.tensor((1.0, 2.0))

    path = tmp_path / "scaled.pt2"
    torch.export.save(torch.export.export(Scaled(), (torch.ones(1, 2),)), path)
    made = compile_tflite(
        path, input_names=["x"], output_names=["y"], precision=Precision.FLOAT, out_dir=tmp_path, stem="scaled"
    )
    (found,) = LitertModel(made.file).run([{"x": np.ones((1, 2), np.float32)}])
    np.testing.assert_allclose(found["y"], [[3.0, 5.0]])
