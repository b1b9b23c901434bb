from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from model_zoo.base.spec import Arrays
from model_zoo.runtimes import litert
from model_zoo.runtimes.litert import LitertModel, _specs
from model_zoo.targets.precision import Precision
from model_zoo.utils import jobs
from model_zoo.utils.errors import UserError
from model_zoo.utils.jobs import ChildFailedError, Limits

pytestmark = pytest.mark.skipif(find_spec("litert_torch") is None, reason="needs the extra tflite")


class Mixed(torch.nn.Module):
    """Names and outputs on purpose not in alphabetical order; integers of 64 bits."""

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x * 2 + 1, ids + 1, x.sum()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.toolchains.builds import compile_tflite

    folder = tmp_path_factory.mktemp("litert")
    example = (torch.zeros(2, 3), torch.zeros(1, 4, dtype=torch.int64))
    torch.export.save(torch.export.export(Mixed(), example), folder / "mixed.pt2")
    return compile_tflite(
        folder / "mixed.pt2",
        input_names=["x", "ids"],
        output_names=["z", "more", "a"],
        precision=Precision.FLOAT,
        out_dir=folder,
        stem="mixed",
    ).file


@pytest.fixture(scope="module")
def model(file: Path) -> LitertModel:
    return LitertModel(file)


def sample(seed: int = 0) -> Arrays:
    generator = np.random.default_rng(seed)
    return {"x": generator.random((2, 3), dtype=np.float32), "ids": generator.integers(0, 9, (1, 4))}


def test_call_is_the_torch_model(model: LitertModel) -> None:
    inputs = [torch.from_numpy(value) for value in sample().values()]
    outputs = model(*inputs)
    assert isinstance(outputs, tuple)
    for actual, expected in zip(outputs, Mixed()(*inputs), strict=True):
        assert actual.shape == expected.shape
        torch.testing.assert_close(actual, expected, check_dtype=False)


def test_names_keep_the_order_of_the_model(model: LitertModel) -> None:
    assert {n: (t.shape, t.dtype) for n, t in model.input_spec.items()} == {
        "x": ((2, 3), "float32"),
        "ids": ((1, 4), "int32"),
    }
    assert list(model.input_spec) == ["x", "ids"]
    assert model.output_names == ["z", "more", "a"]
    assert [(t.shape, t.dtype) for t in model.output_spec.values()] == [
        ((2, 3), "float32"),
        ((1, 4), "int32"),
        ((), "float32"),
    ]


def test_two_names_of_one_tensor_keep_their_places() -> None:
    def details(index: int) -> dict[str, object]:
        return {"index": index, "shape": np.array([1]), "dtype": np.float32}

    named = {"a": details(4), "m": details(5), "z": details(4)}
    assert list(_specs(named, [details(4), details(5), details(4)])) == ["a", "m", "z"]
    with pytest.raises(ValueError, match="does not name every"):
        _specs(named, [details(9)])


def test_run_keeps_samples_apart(model: LitertModel) -> None:
    samples = [sample(seed) for seed in range(3)]
    outputs = model.run(samples)
    for given, got in zip(samples, outputs, strict=True):
        np.testing.assert_allclose(got["z"], given["x"] * 2 + 1, rtol=1e-6)
        np.testing.assert_array_equal(got["more"], given["ids"] + 1)
    assert model.run([]) == []


def test_one_child_takes_many_calls_and_its_death_is_one_line(file: Path) -> None:
    before = set(jobs._running)
    with LitertModel(file) as model:
        model.run([sample()])
        model.latencies(sample(), runs=2)
        (child,) = jobs._running - before
        child.kill()
        with pytest.raises(ChildFailedError, match=r"run mixed\.tflite on the host CPU: .* killed by SIGKILL"):
            model.run([sample()])
        assert len(model.run([sample()])) == 1
    assert jobs._running == before


def test_latencies_are_milliseconds_of_this_cpu(model: LitertModel) -> None:
    assert len(model.latencies(sample(), runs=5)) == 5
    times = model.latencies(sample(), runs=10**9, seconds=0.2)
    assert min(times) > 0 and 50 < sum(times) < 400


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"x": np.zeros((2, 4), np.float32)}, r"sample 0: 'x' is float32\[2, 4\]"),
        ({"x": np.zeros((2, 3), np.float64)}, "'x' is float64"),
        ({"ids": np.full((1, 4), 2**40)}, "beyond 32 bits"),
        ({"x": np.full((2, 3), np.nan, np.float32)}, "NaN"),
        ({"y": np.zeros(1)}, "the model takes"),
    ],
)
def test_sample_that_does_not_fit(model: LitertModel, bad: Arrays, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model.run([{**sample(), **bad}])


def test_wrong_number_of_tensors(model: LitertModel) -> None:
    with pytest.raises(UserError, match="takes 2 inputs"):
        model(torch.zeros(2, 3))


def test_bad_files(file: Path, tmp_path: Path) -> None:
    good = file.read_bytes()
    for name, content, message in [
        ("text.tflite", b"not a model at all", "is no LiteRT file"),
        ("empty.tflite", b"", "is no LiteRT file"),
        ("half.tflite", good[: len(good) // 2], "cannot be loaded"),
        ("junk.tflite", good[:8] + b"\xff" * 500, "cannot be loaded"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            LitertModel(tmp_path / name)
    with pytest.raises(UserError, match="there is no file"):
        LitertModel(tmp_path / "absent.tflite")


def test_limit_stops_a_run(file: Path) -> None:
    model = LitertModel(file)
    model.limits = Limits(seconds=0.5)
    with pytest.raises(ChildFailedError, match="ran longer"):
        model.latencies(sample(), runs=10**9, seconds=60.0)


def test_absent_package_names_the_pip_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "\.\[tflite\]"'):
        LitertModel(file)
