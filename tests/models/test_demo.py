"""Demos print and save what they found, and refuse a wrong request in one line without leaving a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from model_zoo.models._shared.demo import draw_lines
from model_zoo.models.digits_cnn.demo import main


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "demo_cache"))


def test_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output-dir", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].strip() == "digits_cnn"  # also above sizes and depths, which are not in the picture
    assert "probability" in text and str(tmp_path / "digits_cnn.png") in text
    assert Image.open(tmp_path / "digits_cnn.png").size == (256, 256)


def test_a_long_table_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("model_zoo.models._shared.demo._MOST_ROWS", 3)
    assert main(["--output-dir", str(tmp_path)]) == 0
    assert "and 2 more, which --json prints" in capsys.readouterr().out
    assert main(["--output-dir", str(tmp_path), "--top-k", "3"]) == 0
    assert " more, " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--image", "/nowhere/picture.png"], "no image file at /nowhere/picture.png"),
        (["--weights", "randum"], "did you mean random?"),
        (["--compiled", "/nowhere/model.onnx"], "there is no file /nowhere/model.onnx"),
        (["--compiled", "model.onnx", "--weights", "random"], "leave --weights out"),
        (["--top-k", "0"], "top_k is 0"),
        (["--junk"], "--junk"),
    ],
)
def test_wrong_requests(flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["--output-dir", str(tmp_path), *flags])
    except SystemExit as stopped:
        status = stopped.code
    printed = capsys.readouterr()
    assert status == 2 and message in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(8, 8), (2000, 300), (1, 900), (900, 1)])
def test_lines_are_drawn_on_pictures_of_any_size(size: tuple[int, int]) -> None:
    drawn = draw_lines(Image.new("RGB", size, "white"), ["seven  99.9%"])
    assert max(drawn.size) >= 256
    assert min(size) == 1 or drawn.convert("L").getextrema()[0] < 200
