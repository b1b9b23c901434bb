"""Evaluations of the digits model: places, resuming after a kill, the limit of the drop, and the page."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_zoo.cli import main
from model_zoo.commands import evaluate as evaluate_command_module
from model_zoo.pipeline import evaluation_page
from model_zoo.pipeline.cache import Entry, StageCache
from model_zoo.pipeline.evaluate import Evaluation, Observer, evaluate
from model_zoo.pipeline.evaluation import Drop, detail_rows
from model_zoo.pipeline.evaluation_page import write_report
from model_zoo.pipeline.layers import Wrong
from model_zoo.pipeline.options import Backend
from model_zoo.pipeline.worst_samples import View, WorstSample
from model_zoo.toolchains.measurement import LayerError, LayerErrors, Sensitivity

KILLED_AFTER = 15
#: 80 samples are 6 chunks: 12 of torch and the host CPU, and then 6 of the emulator.
ARGUMENTS = ("evaluate", "digits_cnn", "-c", "sm8650", "-p", "w8a8", "--num-samples", "80", "--workers", "1")
KILLED_RUN = f"""
import os, signal, sys
from model_zoo.cli import main
from model_zoo.pipeline.cache import StageCache

keep, made = StageCache._keep, []

def keep_and_die(self, temporary, folder, *made_there):
    entry = keep(self, temporary, folder, *made_there)
    if folder.parent.name == "chunk":
        made.append(folder)
        if len(made) == {KILLED_AFTER}:
            os.kill(os.getpid(), signal.SIGKILL)
    return entry

StageCache._keep = keep_and_die
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that a killed evaluation left."""
    cache = tmp_path_factory.mktemp("cache")
    command = [sys.executable, "-c", KILLED_RUN, *ARGUMENTS]
    environment = {**os.environ, "MODEL_ZOO_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return cache


@pytest.fixture(autouse=True)
def own_cache(killed_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All tests go on from there."""
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(killed_run))
    return killed_run


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Chunks that were worked on."""
    found: list[Path] = []
    keep = StageCache._keep

    def counted(self: StageCache, temporary: Path, folder: Path, *value: Any) -> Entry:
        if folder.parent.name == "chunk":
            found.append(folder)
        return keep(self, temporary, folder, *value)

    monkeypatch.setattr(StageCache, "_keep", counted)
    return found


def digits(**more: object) -> Evaluation:
    settings = {"chipset": "sm8650", "precision": "w8a8", "num_samples": 80, "workers": 1, **more}
    settings["model_arguments"] = {"weights": "DEFAULT"}  # as the command line says it
    return evaluate("digits_cnn", **settings)  # type: ignore[arg-type]


def test_a_killed_run_goes_on_where_it_was(killed_run: Path, made: list[Path]) -> None:
    assert len(list(killed_run.glob("stages/chunk/*/entry.json"))) == KILLED_AFTER
    notes: list[str] = []
    evaluation = digits(observer=Observer(note=notes.append))
    assert len(made) == 18 - KILLED_AFTER
    assert any("NPU emulator: 3 of 6 chunks found" in note for note in notes)
    found = evaluation.results
    assert [result.chunks_cached for result in found.values()] == [6, 6, 3]
    assert all(result.score.samples == 80 and result.score.value > 95 for result in found.values())
    assert found[Backend.EMULATOR].agreement == pytest.approx(100, abs=3)
    assert found[Backend.EMULATOR].seconds_per_sample > 0

    # A damaged chunk is made again, and nothing else.
    made.clear()
    state = next(killed_run.glob("stages/chunk/*/state.npz"))
    state.write_bytes(state.read_bytes()[:-1] + b"?")
    again = digits()
    assert made == [state.parent] and again.results[Backend.CPU].score == found[Backend.CPU].score

    # More samples: the chunks that are whole serve again.
    made.clear()
    assert digits(num_samples=112).results[Backend.TORCH].score.samples == 112
    assert len(made) == 3 * 3


def test_drops_are_taken_on_the_samples_of_both() -> None:
    evaluation = digits(num_samples=112, interval=60.0)
    torch, emulator = evaluation.results[Backend.TORCH], evaluation.results[Backend.EMULATOR]
    assert torch.score.samples == 112 and emulator.score.samples == 50 and "±30 %" in evaluation.subset
    assert emulator.drop is not None and emulator.drop.samples == 50
    assert emulator.drop.value == emulator.drop.torch - emulator.drop.backend
    changed = emulator.drop.model_copy(update={"torch_details": {"top-5": emulator.score.details["top-5"] + 1.5}})
    columns, rows = detail_rows(
        replace(evaluation, results={Backend.EMULATOR: emulator.model_copy(update={"drop": changed})})
    )
    assert rows[0][columns.index("top-5")].endswith(" (-1.5)")
    written = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))["places"]["emulator"]
    assert written["place"] == "emulator" and written["chunks_found"] == emulator.chunks_cached
    assert written["drop"]["samples"] == 50 and written["drop"]["place"] == emulator.drop.backend


def test_without_torch_there_is_no_drop(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--skip-torch-accuracy", "--on", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["places"]) == ["cpu"]
    assert (
        found["passed"] is None
        and found["places"]["cpu"]["drop"] is None
        and found["places"]["cpu"]["agreement"] is None
    )


def test_a_limit_without_torch_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--on", "cpu", "--max-drop", "1"]) == 2
    assert "no drop without torch" in capsys.readouterr().err


def losing(evaluation: Evaluation, drop: Drop) -> Evaluation:
    cpu = evaluation.results[Backend.CPU].model_copy(update={"drop": drop})
    return replace(evaluation, results={**evaluation.results, Backend.CPU: cpu})


def test_too_large_a_drop_fails_the_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = digits()
    sure = losing(evaluation, Drop(value=2.5, samples=80, torch=97.5, backend=95.0, interval=(1.25, 3.75)))
    unsure = losing(evaluation, Drop(value=2.5, samples=80, torch=97.5, backend=95.0, interval=(0.0, 5.0)))
    assert evaluation.error is None and replace(sure, max_drop=float("inf")).error is None
    assert "rule out" in str(unsure.error) and "rule out" not in str(sure.error)

    def evaluate_source(source: object, options: object, observer: Observer) -> Evaluation:
        observer.found(sure)
        return sure

    monkeypatch.setattr(evaluate_command_module, "evaluate_source", evaluate_source)
    assert main(list(ARGUMENTS)) == 1
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert "loses 2.50 % top-1 on the host CPU" in line and "1.00 %" in line and "--precision" in line
    assert "2.50 % [1.25 to 3.75]" in captured.out


def test_a_page_that_fails_does_not_cost_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        assert len(shown) == 1  # told before the page is begun
        raise OSError("disk full")

    shown: list[Evaluation] = []
    monkeypatch.setattr(evaluation_page, "write_report", full)
    evaluation = digits(report_file=tmp_path / "page.html", observer=Observer(found=shown.append))
    assert replace(evaluation, page_error=None) == shown[0] and evaluation.drop_error is None
    assert "page.html was not written: OSError: disk full" in str(evaluation.error)


class Page(HTMLParser):
    """Tags, and what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.references: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


def test_the_page_needs_nothing_and_escapes_everything(tmp_path: Path) -> None:
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    evaluation = replace(digits(), dataset=hostile, subset=hostile)
    layer = LayerError(layer=hostile, op_type=hostile, host_db=20.0, npu_db=3.0)
    tensor = {"layer": hostile, "op_type": "Conv", "kind": "weights", "tensor": hostile}
    picture = Image.fromarray(np.zeros((900, 1200, 3), np.uint8))
    write_report(
        tmp_path / "page.html",
        evaluation,
        layers=LayerErrors(layers=(layer, layer), skipped=(), shift_db={}),
        wrong=Wrong(0, hostile),
        sensitivity=[Sensitivity(**tensor, bits=4, elements=9, noise=0.1)],
        worst=[
            WorstSample(17, (View("input", picture), View(hostile, None, hostile), View("torch", picture, hostile)))
        ],
        notes=[hostile],
    )
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "Sample 17" in text and "bias-corrected bootstrap" in text
    assert {"table", "svg", "img"} <= page.tags and not page.tags & {"script", "link", "iframe", "object"}
    assert "onerror" not in page.attributes
    assert page.references and all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert "url(" not in text and "@import" not in text and len(text) < 100_000


def test_the_report_shows_layers_and_leaves_out_what_was_not_measured(tmp_path: Path) -> None:
    digits(report_file=tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Layer by layer" in text and "Sensitivity" in text and os.fspath(tmp_path) not in text
    write_report(tmp_path / "bare.html", digits())
    bare = (tmp_path / "bare.html").read_text(encoding="utf-8")
    assert "Layer by layer" not in bare and "<svg" not in bare
