"""Real inputs come first and must fit; noise says that it is noise."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_zoo.utils.errors import UserError
from model_zoo.workbench.explore.input_samples import ChosenSamples, choose_samples, inputs_of_file
from model_zoo.workbench.explore.loaded_model import DeclaredInputs, ModelInput


def _choose(files: list[Path], folders: list[Path], inputs: list[ModelInput]) -> ChosenSamples:
    return choose_samples(files, folders, DeclaredInputs(inputs=tuple(inputs), source="a test"))


PICTURE = [ModelInput("image", ("batch", 3, 16, 16))]


def _picture(path: Path) -> Path:
    Image.new("RGB", (40, 30), (255, 0, 0)).save(path)
    return path


def test_given_before_found_before_noise(tmp_path: Path) -> None:
    noise = _choose([], [tmp_path], PICTURE)
    assert not noise.record.real and noise.record.origin.startswith("synthetic") and noise.record.chosen == {"batch": 1}
    (tmp_path / "examples").mkdir()
    _picture(tmp_path / "examples/cat.png")
    np.save(tmp_path / "weights.npy", np.zeros(7))
    found = _choose([], [tmp_path], PICTURE)
    assert found.record.real and found.record.origin.startswith("found") and "cat.png" in found.record.origin
    assert found.samples[0]["image"].shape == (1, 3, 16, 16) and found.samples[0]["image"][0, 0].min() == 1.0
    assert len(found.record.passed_over) == 1 and found.record.passed_over[0].startswith("weights.npy")
    np.savez(tmp_path / "mine.npz", image=np.full((5, 3, 16, 16), 0.5, np.float32))
    given = _choose([tmp_path / "mine.npz"], [tmp_path], [ModelInput("image", (1, 3, 16, 16))])
    assert given.record.origin.startswith("given") and len(given.samples) == 5


def test_layouts_and_dtypes_follow_the_model(tmp_path: Path) -> None:
    picture = _picture(tmp_path / "p.png")
    (bytes_last,) = _choose([picture], [], [ModelInput("x", (1, 8, 12, 3), "uint8")]).samples
    assert bytes_last["x"].shape == (1, 8, 12, 3) and bytes_last["x"].dtype == np.uint8 and bytes_last["x"].max() == 255
    (grey,) = _choose([picture], [], [ModelInput("x", (1, 1, 8, 8))]).samples
    assert grey["x"].shape == (1, 1, 8, 8)
    with wave.open(str(tmp_path / "s.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.full((50, 2), 16384, "<i2").tobytes())
    (sound,) = _choose([tmp_path / "s.wav"], [], [ModelInput("x", (1, 100))]).samples
    assert sound["x"].shape == (1, 100) and sound["x"][0, 0] == 0.5 and sound["x"][0, 99] == 0.0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((1, 3, 8, 8), np.float32), "not \\['batch', 3, 16, 16\\].*the model takes image"),
        (np.zeros((1, 3, 16, 16), np.int64), "int64, not float32"),
        (np.full((1, 3, 16, 16), np.nan, np.float32), "NaN"),
        (np.zeros((0, 3, 16, 16), np.float32), "not"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(tmp_path: Path, value: np.ndarray, said: str) -> None:
    np.save(tmp_path / "x.npy", value)
    with pytest.raises(UserError, match=said):
        _choose([tmp_path / "x.npy"], [], PICTURE)


@pytest.mark.parametrize("name", ["x.npz", "x.npy", "x.png", "x.wav"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x93NUMPY\x01\x00\xff\xff"])
def test_damaged_files_are_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError):
        _choose([tmp_path / name], [], PICTURE)
    assert not _choose([], [tmp_path], PICTURE).record.real  # found, it is passed over


def test_an_archive_tells_the_inputs_of_a_model_that_does_not(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", b=np.zeros((1, 4), np.int64), a=np.zeros((1, 2), np.float32))
    declared = inputs_of_file(tmp_path / "x.npz", ["a", "b"])
    assert declared.inputs == (ModelInput("a", (1, 2), "float32"), ModelInput("b", (1, 4), "int64"))


def test_token_ids_stay_in_their_vocabulary() -> None:
    chosen = _choose([], [], [ModelInput("ids", (1, 500), "int64", high=7), ModelInput("mask", (1, 500), "bool")])
    assert chosen.samples[0]["ids"].min() >= 0 and chosen.samples[0]["ids"].max() == 6
    assert chosen.samples[0]["mask"].all()
