"""A registry is written as code, read back as data, and held against what holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.utils.errors import UserError
from model_zoo.workbench.discover.model_library import families
from model_zoo.workbench.discover.model_registry import differences, read_registry, registry_code
from model_zoo.workbench.discover.survey_tables import in_families, natural
from model_zoo.workbench.discover.verdict import ModelFinding, Reason, StageVerdict, SurveyReport, SurveyStage


def finding(name: str, ok: bool = True, family: str = "resnet") -> ModelFinding:
    verdict = StageVerdict(reason=None if ok else Reason.CONTROL_FLOW, message="it branches")
    return ModelFinding(
        name=name,
        module=f"torchvision.models.{family}",
        path=f"torchvision.models.{name}",
        call="",
        family=family,
        input="",
        stages={SurveyStage.FX: verdict},
    )


def report(library: str, depth: SurveyStage, chipset: str | None, findings: list[ModelFinding]) -> SurveyReport:
    return SurveyReport(library=library, depth=depth, chipset=chipset, versions={"torch": "0"}, models=findings)


def test_code_is_python_and_comes_back_as_data(tmp_path: Path) -> None:
    found = in_families(
        [finding("resnet101"), finding("vgg11", family="vgg"), finding("resnet18"), finding("x", False)]
    )
    code = registry_code(report("torchvision", SurveyStage.FX, None, found))
    compile(code, "registry.py", "exec")
    assert "    # Resnet family\n    'resnet18': models.resnet18,\n    'resnet101': models.resnet101,\n" in code
    path = tmp_path / "registry.py"
    path.write_text(code + 'raise SystemExit("run")\n', encoding="utf-8")
    stored = read_registry(path)
    assert (stored.library, stored.depth) == ("torchvision", SurveyStage.FX)
    assert stored.claims == {name: {SurveyStage.FX: True} for name in ("resnet18", "resnet101", "vgg11")}


def test_library_path_with_blanks_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "registry.py"
    path.write_text(registry_code(report("my nets/a.py", SurveyStage.NPU, "sm8650", [])), encoding="utf-8")
    stored = read_registry(path)
    assert (stored.library, stored.depth, stored.chipset) == ("my nets/a.py", SurveyStage.NPU, "sm8650")


def test_differences_are_told_in_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "stored.json"
    findings = [finding("a"), finding("b", ok=False), finding("c")]
    path.write_text(report("timm", SurveyStage.FX, None, findings).model_dump_json(), encoding="utf-8")
    stored = read_registry(path)
    assert differences(stored, [finding("a"), finding("b", ok=False), finding("c")], []) == []
    assert differences(stored, [finding("a", ok=False), finding("b")], ["c"]) == [
        "c: the library has no such model",
        "a: FX-traceable: fails now: it branches",
        "b: FX-traceable: passes now",
    ]


@pytest.mark.parametrize("text", ["", "{", "{}", "x = 1", "MODEL_REGISTRY = 3", '# "', "[" * 5000, '{"models": [1]}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "registry.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="holds no registry"):
        read_registry(path)


def test_families_follow_modules() -> None:
    modules = {
        "resnet18": "lib.resnet",
        "wide_resnet50_2": "lib.resnet",
        "mobilenet_v2": "lib.mobilenetv2",
        "mobilenet_v3_small": "lib.mobilenetv3",
        "vit_b_16": "lib.vision_transformer",
        "vit_l_16": "lib.vision_transformer",
        "r3d_18": "lib.video.resnet",
        "s3d": "lib.video.s3d",
    }
    assert families(modules, "lib") == {
        "resnet18": "resnet",
        "wide_resnet50_2": "resnet",
        "mobilenet_v2": "mobilenet",
        "mobilenet_v3_small": "mobilenet",
        "vit_b_16": "vit",
        "vit_l_16": "vit",
        "r3d_18": "video resnet",
        "s3d": "video s3d",
    }


def test_numbers_sort_as_numbers() -> None:
    assert sorted(["vgg11_bn", "resnet101", "resnet18", "vgg11"], key=natural) == [
        "resnet18",
        "resnet101",
        "vgg11",
        "vgg11_bn",
    ]
