"""Which environment is current is told from the folder, and asked where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.utils.errors import UserError
from model_zoo.workbench.explore.environment import choose_environment, find_environments


def _venv(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    return folder


def test_pixi_and_venv_both_there_is_a_question(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pixi.workspace]\nname = 'x'\n")
    venv = _venv(tmp_path / ".venv")
    found = find_environments(tmp_path, {})
    assert [each.kind for each in found] == ["pixi", "venv"]
    with pytest.raises(UserError, match="--environment pixi or --environment venv"):
        choose_environment(found, None, venv)
    assert choose_environment(found, "pixi", venv).kind == "pixi"
    with pytest.raises(UserError, match="no conda environment"):
        choose_environment(found, "conda", venv)


def test_the_kind_is_told_by_files_and_variables(tmp_path: Path) -> None:
    venv = _venv(tmp_path / ".venv")
    assert choose_environment(find_environments(tmp_path, {}), None, venv).kind == "venv"
    (tmp_path / "uv.lock").touch()
    assert choose_environment(find_environments(tmp_path, {}), None, venv).kind == "uv"
    conda = tmp_path / "conda"
    both = find_environments(tmp_path, {"CONDA_PREFIX": str(conda)})
    assert choose_environment(both, None, conda).kind == "conda"  # the one that runs
    with pytest.raises(UserError, match="which environment"):
        choose_environment(both, None, Path("/elsewhere"))
    assert choose_environment([], None, Path("/usr")).kind == "plain"
    pixi_shell = {"CONDA_PREFIX": str(tmp_path / ".pixi/envs/default")}
    assert "conda" not in [each.kind for each in find_environments(tmp_path, pixi_shell)]


def test_an_environment_behind_a_link_is_the_same(tmp_path: Path) -> None:
    _venv(tmp_path / "real")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    for prefix in (tmp_path / "real", tmp_path / "linked"):
        assert choose_environment([], None, tmp_path / "linked").runs(prefix)


def test_a_broken_pyproject_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool")
    with pytest.raises(UserError, match="cannot be read"):
        find_environments(tmp_path, {})
