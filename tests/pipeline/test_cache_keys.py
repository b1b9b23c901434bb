"""A stage's key rests on what the stage runs: printing changes none, and a model's own code changes its own alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_zoo.base.registry import models_folder
from model_zoo.sources.torch_network import TORCH_CODE
from model_zoo.sources.zoo import model_code_digest
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.utils import code_digest as module
from model_zoo.utils.code_digest import code_digest

STAGES = ("lower", "layout", "host", "compile", "sensitivity", "layers")


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Pretend that a file of the package was changed."""
    changed: set[Path] = set()
    real = module.sha256_file

    def forget() -> None:
        code_digest.cache_clear()
        module._source.cache_clear()

    def edit(name: str) -> None:
        path = models_folder().parent / name
        assert path.exists()
        changed.add(path)
        forget()

    monkeypatch.setattr(module, "sha256_file", lambda path: "edited" if path in changed else real(path))
    forget()
    yield edit
    forget()


def _keys() -> dict[str, str]:
    support = find_toolchain().support(TargetRuntime.ONNX)
    keys = {stage: code_digest(*support.code[stage]) for stage in STAGES}
    keys |= {stage: code_digest(*modules) for stage, modules in TORCH_CODE.items()}
    return {**keys, **{model: model_code_digest(model) for model in ("resnet18", "digits_cnn")}}


def _changed_by(edited: Callable[[str], None], *files: str) -> set[str]:
    before = _keys()
    for file in files:
        edited(file)
    return {stage for stage, key in _keys().items() if key != before[stage]}


def test_titles_help_texts_and_colours_change_no_key(edited: Callable[[str], None]) -> None:
    printing = ("commands/tables.py", "commands/options.py", "commands/export.py", "utils/console.py", "utils/svg.py")
    assert _changed_by(edited, *printing, "cli.py", "utils/draw.py", "pipeline/evaluation.py") == set()
    about = ("scorecard.yaml", "info.yaml", "code-gen.yaml", "README.md", "app.py")
    assert _changed_by(edited, *(f"models/resnet18/{name}" for name in about)) == set()


def test_a_model_s_code_and_weights_change_its_own_key(edited: Callable[[str], None]) -> None:
    assert _changed_by(edited, "models/resnet18/model.py") == {"resnet18"}
    assert _changed_by(edited, "models/digits_cnn/weights.safetensors") == {"digits_cnn"}


def test_a_stage_s_code_changes_its_key(edited: Callable[[str], None]) -> None:
    assert _changed_by(edited, "toolchains/local/quantize/recipe.py") >= {"lower"}
    assert not {"lower", "capture", "resnet18"} & _changed_by(edited, "toolchains/local/qnn.py")
    assert "capture" in _changed_by(edited, "sources/capture.py")


@pytest.mark.parametrize(("runtime", "file"), [("tflite", "litert.py"), ("onnx", "qnn.py"), ("qnn_dlc", "qnn.py")])
def test_what_finishes_a_file_changes_its_key(edited: Callable[[str], None], runtime: str, file: str) -> None:
    modules = find_toolchain().support(TargetRuntime(runtime)).code["compile"]
    before = code_digest(*modules)
    edited(f"toolchains/local/{file}")
    assert code_digest(*modules) != before
