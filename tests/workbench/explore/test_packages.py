"""Packages are told from files and syntax, nothing is imported, and nothing is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.workbench.explore.environment import PythonEnvironment, describe_environment
from model_zoo.workbench.explore.packages import check_requirements, imports_of, install_options
from model_zoo.workbench.explore.records import Environment, PackageStatus


@pytest.fixture
def environment() -> Environment:
    return describe_environment([], PythonEnvironment("venv", Path("/v")), Path("/v"))


def test_imports_follow_the_code_from_its_entry(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "import os, absent_a.part\nfrom typing import TYPE_CHECKING\nfrom layers import block\n"
        "if TYPE_CHECKING:\n    import absent_types\n"
        "try:\n    import absent_fast\nexcept ImportError:\n    absent_fast = None\n"
        "def build_model():\n    import absent_late\n"
    )
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers/__init__.py").write_text("")
    (tmp_path / "layers/block.py").write_text("from . import deeper\nimport absent_b")
    (tmp_path / "layers/deeper.py").write_text("import model\nimport absent_c")
    (tmp_path / "train.py").write_text("import absent_training")
    (tmp_path / "layers/bad.py").write_text("def (")
    problems: list[str] = []
    found = list(imports_of(tmp_path / "model.py", tmp_path, problems))
    assert {(each.package, each.needed) for each in found} == {
        ("absent_a", True), ("absent_fast", False), ("absent_late", True), ("absent_b", True), ("absent_c", True),
    }  # fmt: skip
    assert not problems
    assert next(each.where for each in found if each.package == "absent_b") == "layers/block.py:2"


def test_missing_and_conflicting_packages_are_told_apart(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "model.py").write_text("import numpy\n")
    (tmp_path / "requirements.txt").write_text(
        "numpy<1  # old\nabsent-one>=2,<3\n-r other.txt\nabsent-windows; sys_platform == 'win32'\n"
    )
    (tmp_path / "requirements-dev.txt").write_text("absent-dev\n")
    (tmp_path / "pyproject.toml").write_text("[project]\ndependencies = ['absent-two~=1.0']\n")
    (tmp_path / "setup.cfg").write_text("[options]\ninstall_requires =\n    absent_one\n    packaging\n")
    found = check_requirements(["numpy"], "ONNX", tmp_path, environment, [])
    assert found.missing == ("absent-one<3,>=2", "absent-two~=1.0")
    by_name = {each.package: each for each in found.requirements}
    assert by_name["numpy"].status is PackageStatus.CONFLICT and "model.py:1" in by_name["numpy"].where
    assert not by_name["absent-dev"].needed and "absent-windows" not in by_name
    assert found.skipped == ("requirements.txt:3: '-r other.txt' names no package with a version",)
    assert all("absent-one" in option.command for option in found.options)
    without = check_requirements(["numpy"], "ONNX", tmp_path, environment, ["Absent_One", "absent-two"])
    assert without.missing == () and without.options == ()


@pytest.mark.parametrize(("kind", "first"), [("pixi", "pixi add --pypi "), ("uv", "uv add "), ("conda", "/")])
def test_each_environment_has_its_own_ways(environment: Environment, kind: str, first: str) -> None:
    options = list(install_options(["a>=1", "b"], environment.model_copy(update={"kind": kind})))
    assert options[0].command.startswith(first) and options[0].command.endswith("'a>=1' b")
    assert len(options) >= 2
