"""Models are found by their folders, and what their YAML says is checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model_zoo.base import registry
from model_zoo.base.info import CodeGen, ModelInfo, read_yaml
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.errors import ModelZooError, UserError

INFO = """name: Net
id: net
status: public
headline: Does it.
description: At length.
domain: Computer Vision
use_case: Image Classification
license: bsd-3-clause
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder with one model, one folder that is none, and one file outside that must not be reached."""
    monkeypatch.setattr(registry, "models_folder", lambda: tmp_path / "models")
    for folder in ("models/net", "models/_shared", "models/Odd-Name", "outside"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "info.yaml").write_text(INFO)
    (tmp_path / "models/empty").mkdir()
    return tmp_path / "models"


def test_found_by_folder(models: Path) -> None:
    assert registry.model_ids() == ["net"]
    assert registry.model_folder("net") == models / "net"
    assert registry.model_info("net").name == "Net"


@pytest.mark.parametrize(
    "wrong", ["nett", "NET", "../outside", "net/../net", "/etc", "", ".", "_shared", "Odd-Name", "empty"]
)
def test_anything_else_is_no_model(models: Path, wrong: str) -> None:
    with pytest.raises(UserError, match=r"unknown model .*model-zoo list") as caught:
        registry.model_folder(wrong)
    if wrong == "nett":
        assert "did you mean net?" in str(caught.value)


def test_the_id_is_the_folder(models: Path) -> None:
    (models / "net/info.yaml").write_text(INFO.replace("id: net", "id: other"))
    with pytest.raises(UserError, match=r"net/info.yaml: 'id' is 'other', the folder is called 'net'"):
        registry.model_info("net")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{INFO}licence: mit", r"unknown key 'licence' \(did you mean license\?\)"),
        (INFO.replace("license", "licence"), "key 'license' is missing; unknown key 'licence'"),
        (f"{INFO}zzz: 1", r"unknown key 'zzz' \(valid: name, id, status"),
        (INFO.replace("public", "open"), "'status': input should be 'public', 'private' or 'unpublished', got 'open'"),
        (f"{INFO}research_paper: 2103.0", "'research_paper': .*got 2103.0"),
        (f"{INFO}tags: real-time", "'tags': input should be a valid list, got 'real-time'"),
        (f"{INFO}form_factors: [Fridge]", "'form_factors.0': .*'Phone'.* got 'Fridge'"),
        (INFO.replace("Does it.", "' '"), "'headline': .*at least 1"),
        ("- a", "must hold keys and values, got a list"),
        ("a: [", "not valid YAML"),
        ("a: !!python/object/apply:os.system [echo]", "not valid YAML: could not determine a constructor"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_wrong_info_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "info.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_yaml(path, ModelInfo)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_list_reads_three_keys_and_says_what_is_wrong_with_them(models: Path) -> None:
    path = models / "net/info.yaml"
    summary = {"id": "net", "use_case": "Image Classification", "headline": "Does it."}
    path.write_text(INFO + "licence: not asked here")
    assert registry.model_summary("net") == summary
    for wrong in (INFO.replace("Does it.", ""), INFO.replace("use_case", "case"), INFO.replace("id: net", "id: other")):
        path.write_text(wrong)
        with pytest.raises(UserError, match=r"net/info.yaml: "):
            registry.model_summary("net")


def test_code_gen(models: Path) -> None:
    assert registry.code_gen("net") == CodeGen()
    path = models / "net/code-gen.yaml"
    path.write_text(
        "supported_precisions: [float, w8a8]\n"
        "supported_runtimes: [qnn, onnx]\n"
        "unsupported:\n"
        "  - {runtime: qnn, precision: w8a8, npus: [v68, v79], reason: SQNR of 3 dB}\n"
        "  - {precision: float, npus: [v75], reason: too slow}\n"
    )
    settings = registry.code_gen("net")
    qnn, elite = TargetRuntime.QNN_CONTEXT_BINARY, find_chipset("snapdragon-8-elite")
    assert settings.unsupported_reason(qnn, Precision.W8A8, elite) == "SQNR of 3 dB"
    assert settings.unsupported_reason(qnn, Precision.FLOAT, elite) is None
    assert settings.unsupported_reason(TargetRuntime.ONNX, Precision.W8A8, elite) is None
    assert settings.unsupported_reason(TargetRuntime.ONNX, Precision.FLOAT, find_chipset("sm8650")) == "too slow"
    assert settings.unsupported_reason(TargetRuntime.ONNX, Precision.FLOAT, None) is None
    assert "tflite was not built and checked" in str(
        settings.unsupported_reason(TargetRuntime.TFLITE, Precision.FLOAT, None)
    )
    assert "w4a16 was not built and checked" in str(settings.unsupported_reason(qnn, Precision.W4A16, elite))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "supported_precisions: [w8a8junk]",
            "'supported_precisions.0': unknown precision 'w8a8junk' .*did you mean w8a8",
        ),
        ("supported_precisions: []", "'supported_precisions': .*at least 1"),
        ("supported_runtimes: [tflight]", "unknown runtime 'tflight'"),
        ("unsupported: [{npus: [v68, v7], reason: x}]", "unknown NPU 'v7' .*did you mean v7"),
        ("unsupported: [{npus: [], reason: x}]", "'unsupported.0.npus': .*at least 1"),
        ("unsupported: [{runtime: qnn}]", "key 'unsupported.0.reason' is missing"),
        ("unsupported: [{reason: x, reasn: x}]", r"unknown key 'unsupported.0.reasn' \(did you mean reason"),
    ],
)
def test_a_wrong_code_gen_file_names_the_key(models: Path, text: str, message: str) -> None:
    (models / "net/code-gen.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        registry.code_gen("net")


def test_a_missing_package_or_class_is_said(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / "net/requirements.txt").write_text("nowhere==1.0\n")
    for text, message in (
        ("import nowhere.at_all", r"net needs the package nowhere.* \(run `model-zoo install net`\)"),
        ("class Network: ...", "model.py defines no class Model"),
    ):
        (models / "net/model.py").write_text(text)
        for name in [name for name in sys.modules if name.startswith("model_zoo.models.net")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr("model_zoo.models.__path__", [str(models)])
        with pytest.raises(ModelZooError, match=message):
            registry.load_model_class("net")


def test_listing_and_importing_a_model_package_load_no_torch() -> None:
    """Every model, its info and its package, in a fresh interpreter."""
    code = (
        "import importlib, sys\n"
        "from model_zoo.base.registry import code_gen, model_ids, model_info\n"
        "for i in model_ids():\n"
        "    model_info(i), code_gen(i), importlib.import_module(f'model_zoo.models.{i}')\n"
        "heavy = {'torch', 'torchvision', 'onnx', 'onnxruntime', 'sklearn', 'PIL', 'transformers', 'timm'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(__file__).parents[2])


def test_lazy_exports() -> None:
    get = registry.lazy_exports("model_zoo.utils", UserError="errors")
    assert get("UserError") is UserError
    with pytest.raises(AttributeError, match=r"'model_zoo.utils' has no attribute 'Nothing'"):
        get("Nothing")
