"""A contributor's way: scaffold, generate, fill in, and be told what is out of step."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

import model_zoo.models
from model_zoo.base import registry
from model_zoo.base.registry import model_ids, model_info
from model_zoo.scripts import autofill_info_yaml, new_model, run_codegen
from model_zoo.scripts.autofill_info_yaml import short
from model_zoo.scripts.tasks import task_default
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.hashing import sha256_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of the test's own, in what looks like a clone."""
    folder = tmp_path / "model_zoo/models"
    folder.mkdir(parents=True)
    (tmp_path / "setup.py").touch()
    monkeypatch.setattr(registry, "models_folder", lambda: folder)
    monkeypatch.setattr(new_model, "models_folder", lambda: folder)
    monkeypatch.setattr(model_zoo.models, "__path__", [*model_zoo.models.__path__, str(folder)])
    for name in [name for name in sys.modules if name.startswith("model_zoo.models.my_net")]:
        monkeypatch.delitem(sys.modules, name)
    return folder


@pytest.fixture
def net(models: Path) -> Path:
    """The folder of a scaffolded model."""
    return new_model.new_model("my_net", "tensor")


def test_scaffolds_of_every_task_pass_their_generated_tests(tmp_path: Path) -> None:
    """In a copy of the clone, with the scripts run by their paths from another folder."""
    shutil.copytree(ROOT / "model_zoo", tmp_path / "model_zoo", ignore=_models_and_caches)
    for name in ("pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)

    def run(*arguments: str | Path, cwd: Path = tmp_path) -> str:
        done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first, *others = new_model.TASKS
    folders = [tmp_path / "model_zoo/models" / f"my_{task}" for task in new_model.TASKS]
    script = tmp_path / "model_zoo/scripts/new_model.py"
    assert str(folders[0]) in run(script, f"my_{first}", "--task", first, cwd=ROOT)
    recovery = _recovery(tmp_path / "recovery")
    code = f"from pathlib import Path\nfrom model_zoo.scripts.new_model import new_model\nfor task in {others}: "
    run("-c", f"{code}new_model(f'my_{{task}}', task)\nnew_model('my_recovered', 'tensor', Path('{recovery}'))")
    run("-m", "pytest", "model_zoo/models")
    recovered = folders[0].parent / "my_recovered"
    run("-m", "ruff", "format", "--check", *folders, recovered)
    run("-m", "ruff", "check", *folders, recovered)
    assert {"network.py", "weights.safetensors"} <= {path.name for path in recovered.iterdir()}
    for folder in folders:
        own = [
            path for path in folder.iterdir() if path.is_file() and run_codegen.HEADER not in path.read_text("utf-8")
        ]
        assert sorted(path.name for path in own) == ["info.yaml", "model.py"], folder.name
        assert sum(path.read_text("utf-8").count("\n") for path in own) <= 85, folder.name


def _recovery(folder: Path) -> Path:
    """What `model-zoo recover` writes of a small network."""
    network = torch.nn.Sequential(torch.nn.Linear(6, 3))
    folder.mkdir()
    save_file(network.state_dict(), folder / "weights.safetensors")
    source = '"""A network."""\n\nimport torch\n\n\ndef build_model() -> torch.nn.Module:\n    """The network."""\n'
    (folder / "model.py").write_text(f"{source}    return torch.nn.Sequential(torch.nn.Linear(6, 3))\n")
    record = {
        "model": {"found_by": "structure"},
        "inputs": [{"name": "input", "shape": [1, 6], "dtype": "float32", "high": None}],
        "verification": {"passed": True, "problem": None, "outputs": [{"name": "x", "shape": [1], "dtype": "float32"}]},
        "not_recovered": {"missing": []},
        "weights": {"sha256": sha256_file(folder / "weights.safetensors")},
    }
    (folder / "recovery.json").write_text(json.dumps(record))
    return folder


def _models_and_caches(folder: str, names: list[str]) -> list[str]:
    models = folder == str(ROOT / "model_zoo/models")
    return [n for n in names if n == "__pycache__" or (models and not n.startswith("_"))]


@pytest.mark.parametrize(
    ("model_id", "task", "message"),
    [
        ("My-Net", "tensor", "'My-Net' is no model id .*lower snake case"),
        ("../net", "tensor", "is no model id"),
        ("1net", "tensor", "is no model id"),
        ("class", "tensor", "is no model id"),
        ("n" * 41, "tensor", "is no model id"),
        ("_shared", "tensor", "is no model id"),
        ("taken", "tensor", "taken exists already"),
        ("net", "tenser", r"unknown task 'tenser' .*did you mean tensor\?"),
    ],
)
def test_a_wrong_request_leaves_nothing(models: Path, model_id: str, task: str, message: str) -> None:
    (models / "taken").mkdir()
    with pytest.raises(UserError, match=message):
        new_model.new_model(model_id, task)
    assert [path.name for path in models.parent.rglob("*")] == ["models", "taken"]


@pytest.mark.parametrize("stop", [ModelZooError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(models: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException) -> None:
    def fail(model_id: str) -> list[str]:
        raise stop

    monkeypatch.setattr(run_codegen, "write", fail)
    with pytest.raises(type(stop)):
        new_model.new_model("my_net", "tensor")
    assert list(models.iterdir()) == []


def test_an_installed_package_is_no_place_for_a_new_model(models: Path) -> None:
    (models.parents[1] / "setup.py").unlink()
    with pytest.raises(UserError, match="holds an installed package"):
        new_model.new_model("my_net", "tensor")


def test_drift_is_shown_and_mended(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_codegen.main(["--all", "--check"]) == 0
    (net / "export.py").write_text("# mine\n")
    (net / "test_generated.py").unlink()
    (net / "evaluate.py").write_text("# left over\n")
    info = net / "info.yaml"
    info.write_text(info.read_text().replace("What the model does, in one line.", "Sorts vectors."))
    before = {path: path.read_bytes() for path in net.iterdir() if path.is_file()}
    capsys.readouterr()
    assert run_codegen.main(["-m", "my_net", "--check"]) == 1
    shown = capsys.readouterr().out
    for line in ("-# mine\n", "+Sorts vectors.\n", "-# left over\n", "+class TestContract(ModelContract):\n"):
        assert line in shown
    stale = "evaluate.py, README.md, test_generated.py; run: python model_zoo/scripts/run_codegen.py -m my_net"
    assert f"my_net: not in step: export.py, {stale}" in shown
    assert {path: path.read_bytes() for path in net.iterdir() if path.is_file()} == before
    assert run_codegen.main(["--all"]) == 0
    assert not (net / "evaluate.py").exists()
    assert run_codegen.main(["--all", "--check"]) == 0
    assert run_codegen.write("my_net") == []


def test_a_file_that_the_author_writes_in_place_of_the_default_is_kept(net: Path) -> None:
    mine = 'class App:\n    """`App(model).predict(3)`."""\n\n    def predict(self, number): ...\n'
    (net / "app.py").write_text(mine)
    (net / "demo.py").write_text((net / "demo.py").read_text() + "# edited\n")
    assert list(run_codegen.drift("my_net")) == ["README.md", "demo.py"], "a default that was edited is not kept"
    assert run_codegen.write("my_net") == ["README.md", "demo.py"]
    assert (net / "app.py").read_text() == mine and "print(app.predict(3))" in (net / "README.md").read_text()
    (net / "app.py").unlink()
    (net / "test.py").unlink()
    assert run_codegen.write("my_net") == ["README.md", "app.py", "test.py"], "one that is gone is generated again"


def test_every_default_exists() -> None:
    tasks = {model_info(model_id).use_case for model_id in model_ids()} | {"a task without a default"}
    for default in map(task_default, tasks):
        for module, name in (("app", default.app), ("demo", default.demo)):
            assert hasattr(import_module(f"model_zoo.models._shared.{default.package}.{module}"), name)
        package, tests = default.testing
        assert hasattr(import_module(f"model_zoo.models._shared.{package}.testing"), tests)


def test_generated_commands_are_short_and_evaluate_comes_with_its_datasets(
    net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_class = registry.load_model_class("my_net")
    assert "evaluate.py" not in run_codegen.render("my_net")
    monkeypatch.setattr(model_class, "eval_datasets", staticmethod(lambda: ["digits"]))
    assert "evaluate.py" not in run_codegen.render("my_net")  # nothing scores it
    monkeypatch.setattr(model_class, "get_evaluator", classmethod(lambda cls: object))
    files = run_codegen.render("my_net")
    assert set(files) == {*run_codegen.GENERATED, *run_codegen.DEFAULTS}
    for name, text in files.items():
        assert "enerated by model_zoo/scripts/run_codegen.py" in text
        if name.endswith(".py"):
            compile(text, name, "exec")
            assert text.count("\n") <= 30
    assert "python -m model_zoo.models.my_net.evaluate" in files["README.md"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["-m", "my_ne"], "did you mean my_net?"), (["-m", "../my_net"], "unknown model"), (["-m", ""], "unknown model")],
)
def test_unknown_models(net: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    for script in (run_codegen, autofill_info_yaml):
        assert script.main(arguments) == 2
        assert message in capsys.readouterr().err


def test_a_wrong_info_file_stops_codegen(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (net / "info.yaml").open("a") as file:
        file.write("licence: mit\n")
    assert run_codegen.main(["-m", "my_net"]) == 2
    assert "info.yaml: unknown key 'licence' (did you mean license?)" in capsys.readouterr().err


def test_autofill_counts_and_keeps_everything_else(net: Path) -> None:
    path = net / "info.yaml"
    text = path.read_text().replace("license: unknown", 'license: "mit"   # ours')
    text = text.replace("technical_details: {}", "technical_details:\n  Input: 16 numbers   # of what\n# the end")
    text = text.replace("tags: []", "tags:\n    - a\n    - b  # second")
    text = text.replace("headline: What", f"headline: {'long ' * 40}What")
    path.write_text(text)
    assert autofill_info_yaml.autofill("my_net") is True
    filled = path.read_text()
    assert yaml.safe_load(filled)["technical_details"] == {
        "Input": "16 numbers",
        "Number of parameters": "676",  # 16 * 32 + 32 + 32 * 4 + 4
        "Number of MACs": "640",  # 16 * 32 + 32 * 4
        "Model size (float)": "2.7 kB",
    }
    lines = filled.splitlines()
    assert [line for line in text.splitlines() if line not in lines] == []
    assert autofill_info_yaml.autofill("my_net") is False
    assert path.read_text() == filled


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1000, "1k"), (999_999, "1M"), (11_689_512, "11.7M"), (4e9, "4G")]
)
def test_short_numbers(number: int, text: str) -> None:
    assert short(number) == text
    assert short(number, "B") == (f"{text[:-1]} {text[-1]}B" if text[-1].isalpha() else f"{text} B")
