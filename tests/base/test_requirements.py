"""What a model needs is compared with what is installed; nothing is installed unasked."""

from __future__ import annotations

import json
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from model_zoo.base import registry, requirements
from model_zoo.cli import main
from model_zoo.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NUMPY = metadata.version("numpy")


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The requirements.txt of a model `net`; running a command is an error."""
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "info.yaml").write_text("id: net")
    monkeypatch.setattr(registry, "models_folder", lambda: tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was installed"))
    return folder / "requirements.txt"


def test_plan(net: Path) -> None:
    assert requirements.needs_of("net") == []
    net.write_text(f"# ours\nnumpy=={NUMPY}  # there\nrich==0.1\nnowhere==1.0\nabsent==1 ; python_version < '3'\n")
    assert [need.action for need in requirements.needs_of("net")] == [
        "keep",
        f"replace {metadata.version('rich')}",
        "install",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [("rich", "not pinned"), ("rich>=1", "not pinned"), ("-e .", "no requirement"), ("a b", "no requirement")],
)
def test_a_line_that_pins_nothing_is_named(net: Path, line: str, message: str) -> None:
    net.write_text(f"numpy=={NUMPY}\n{line}\n")
    with pytest.raises(UserError, match=f"requirements.txt:2: .*{message}"):
        requirements.needs_of("net")


def test_nothing_is_installed_unasked(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net.write_text("nowhere==1.0\n")
    assert main(["install", "net", "--json", "--dry-run"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"] == [{"package": "nowhere==1.0", "installed": None, "action": "install"}]
    assert found["command"][-2:] == ["-r", str(net)]
    assert main(["install", "net"]) == 2  # no terminal to ask on
    asked = capsys.readouterr()
    assert "--yes" in asked.err and re.search(r"net needs 1 package\s", asked.out)


def test_a_failed_installation_says_what_is_missing(
    net: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net.write_text("nowhere==1.0\n")
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["install", "net", "--yes"]) == 1
    assert len(ran) == 1 and "still missing: nowhere==1.0" in capsys.readouterr().err


@pytest.mark.parametrize("model_id", [i for i in registry.model_ids() if requirements.requirements_file(i).exists()])
def test_pins_are_those_of_the_zoo(model_id: str) -> None:
    """One environment serves all models, but for those that say that they need their own."""
    zoo = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (ROOT / "global_requirements.txt").read_text(), re.MULTILINE))
    if not registry.code_gen(model_id).global_requirements_incompatible:
        for need in requirements.needs_of(model_id):
            name = need.package.lower().replace("_", "-")
            assert "==" in need.requirement
            if name in zoo:  # others are this model's alone
                assert need.requirement == f"{need.package}=={zoo[name]}"
