"""The command on a module of a user's: every way to fail has its reason, and nothing is done twice."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from model_zoo.cli import main
from model_zoo.scripts import discover_models
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.discover.survey import SurveyCache
from model_zoo.workbench.discover.verdict import Attempt, Listing, Reason, StageVerdict, SurveyStage

EXPECTED = {
    "Fine": None,
    "Branch": "dynamic control flow",
    "Lists": "list or dict inputs",
    "Length": "non-tensor operations",
    "Baked": "the traced graph is not the model",
    "Hangs": "timeout",
    "Exits": "crash",
    "Dies": "crash",
    "Fetches": "needs the network",
    "Lacks": "needs a package",
    "Broken": "cannot be built",
    "made": None,
}

#: Enough for every model but the one that hangs, also on a busy machine.
LIMIT = ("--time-limit", "8")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(cache))


def state_file(cache: Path) -> Path:
    (file,) = (cache / "discover").glob("*.jsonl")
    return file


def models_in(file: Path) -> list[str]:
    """The models of a state file, once for each time they were tested."""
    if not file.is_file():
        return []
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.endswith("}")]
    return [record["model"] for record in records if "model" in record]


def discover(*arguments: str) -> int:
    return main(["discover", *arguments])


def killed_run(module_file: Path, cache: Path) -> None:
    """Start the command and kill it when it has two results."""
    command = [sys.executable, "-m", "model_zoo", "discover", "--library", str(module_file), *LIMIT]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while run.poll() is None and time.monotonic() < deadline:
        files = list((cache / "discover").glob("*.jsonl"))
        if files and len(models_in(files[0])) >= 2:
            break
        time.sleep(0.05)
    run.kill()
    run.wait()


@pytest.fixture(scope="module")
def answer(module_file: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of a run that goes on where a killed one stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_ZOO_CACHE", str(cache))
        killed_run(module_file, cache)
        with state_file(cache).open("a") as file:
            file.write('{"model": "Fine", "sta')  # as a kill in the middle of a write leaves it
        out = subprocess.run(
            [sys.executable, "-m", "model_zoo", "discover", "--library", str(module_file), *LIMIT, "--json"],
            capture_output=True,
            check=False,
            cwd=tmp_path_factory.mktemp("here"),
        )
    assert out.returncode == 0, out.stderr.decode()
    result: dict[str, Any] = json.loads(out.stdout)
    return result


def test_every_failure_has_its_reason(answer: dict[str, Any]) -> None:
    assert {model["name"]: model["stages"]["fx"]["reason"] for model in answer["models"]} == EXPECTED
    stages = {model["name"]: model["stages"]["fx"] for model in answer["models"]}
    assert stages["Branch"]["where"].endswith("in forward: if x.sum() > 0:")
    assert "example.invalid" in stages["Fetches"]["message"]
    assert "no_such_package_here" in stages["Lacks"]["message"]
    assert "half built" in stages["Broken"]["message"]
    assert stages["Fine"]["facts"]["outputs"] == [1, 8, 222, 222]


def test_functions_that_may_do_anything_are_not_called(answer: dict[str, Any], module_file: Path) -> None:
    assert set(answer["left_out"]) == {"Needs", "unasked"}
    assert "width" in answer["left_out"]["Needs"]
    assert not list(module_file.parent.rglob("unasked"))


def test_killed_run_goes_on(answer: dict[str, Any], cache: Path) -> None:
    names = models_in(state_file(cache))
    assert sorted(names) == sorted(EXPECTED)


def test_code_is_all_there_is_on_standard_output(
    answer: dict[str, Any], module_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert discover("--library", str(module_file), *LIMIT, "-g", "-v", "--skip-patterns", "L*", "Fetch") == 0
    shown = capsys.readouterr()
    last = ast.parse(shown.out).body[-1]
    assert isinstance(last, ast.Assign) and ast.unparse(last.value) == "{'Fine': models.Fine, 'made': models.made}"
    assert "✗ Hangs" in shown.err and "Lists" not in shown.err and "Lacks" not in shown.err


def test_check_tells_what_no_longer_holds(
    answer: dict[str, Any], module_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skipped = [model for model in answer["models"] if model["name"] not in ("Lacks", "Fetches")]
    stored = tmp_path / "stored.json"
    stored.write_text(json.dumps({**answer, "models": skipped}), encoding="utf-8")
    capsys.readouterr()
    assert discover("--check", str(stored), *LIMIT) == 2  # the file names a library: its code is not run for that
    assert f"--library {module_file}" in capsys.readouterr().err
    assert discover("--library", str(module_file), "--check", str(stored), *LIMIT) == 0
    registry = tmp_path / "registry.py"
    registry.write_text("MODEL_REGISTRY = {'Fine': 1, 'Branch': 2, 'Gone': 3}", encoding="utf-8")
    capsys.readouterr()
    assert discover("--library", str(module_file), "--check", str(registry), *LIMIT) == 1
    shown = capsys.readouterr().out
    assert "Gone: the library has no such model" in shown
    assert "Branch: FX-traceable: fails now" in shown
    assert "Fine" not in shown


def test_changed_source_is_tested_again(answer: dict[str, Any], tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text("a = 1")
    kept = SurveyCache("net.py", "", 5.0, [1])
    kept.start(Listing(models=[], sources={str(source): sha256_file(source)}))
    kept.keep("A", SurveyStage.FX, Attempt(verdict=StageVerdict(seconds=5.0, reason=Reason.TIME)))
    kept.keep("B", SurveyStage.FX, Attempt(verdict=StageVerdict(reason=Reason.PACKAGE)))
    kept = SurveyCache("net.py", "", 5.0, [1])
    assert kept.find("A", SurveyStage.FX) and not SurveyCache("net.py", "", 6.0, [1]).find("A", SurveyStage.FX)
    assert kept.find("B", SurveyStage.FX) is None
    source.write_text("a = 2")
    kept = SurveyCache("net.py", "", 5.0, [1])
    assert kept.listing is None and kept.find("A", SurveyStage.FX) is None


def test_a_name_is_no_file_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nets.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    (tmp_path / "timm.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    assert discover("--library", "nets", *LIMIT) == 2
    assert "--library ./nets.py" in capsys.readouterr().err
    assert discover("--library", "timm", "--test-model", "no_such_model", *LIMIT) == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--library", "no_such_module_here"),
        ("--library", "no/such/file.py"),
        ("--depth", "npu", "--chipset", "snapdragon-8-elit"),
        ("--chipset", "sm8650"),
        ("-g", "--json"),
        ("--time-limit", "-1"),
        ("--workers", "0"),
        ("--check", "no_such_file"),
    ],
)
def test_wrong_request_starts_nothing(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert discover(*arguments) == 2
    assert discover_models.main(list(arguments)) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == second
