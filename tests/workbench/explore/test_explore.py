"""The command as a user runs it: what it leaves, how it goes on, what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model_zoo.cli import main
from model_zoo.utils.errors import UserError
from model_zoo.utils.jobs import ChildFailedError, Limits
from model_zoo.workbench.explore import recovered
from model_zoo.workbench.explore.figures import STEPS, ModelRun, NpuChecks
from model_zoo.workbench.explore.model_file import code_beside, find_source
from model_zoo.workbench.explore.records import ExploreRequest
from model_zoo.workbench.explore.workspace import FOLDERS, Workspace, open_workspace

MODEL = """
import time
import torch

def build_model():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def forward(self, x):
            if x[0, 0] > 5:
                time.sleep(60)
            return {"scores": self.layer(x), "pair": (x, x + 1)}

    return Net()
"""

Explore = Callable[..., subprocess.CompletedProcess[str]]


def _read(workspace: Path, name: str) -> dict:
    return json.loads((workspace / "outputs" / name).read_text())


def test_a_whole_exploration_leaves_every_record(explored: Path) -> None:
    assert all((explored / folder).is_dir() for folder in FOLDERS)
    for kind in STEPS:
        kind.model_validate_json((explored / "outputs" / kind.file).read_bytes())
    assert _read(explored, "state.json")["outcome"] == "finished"
    run = ModelRun.model_validate(_read(explored, "run.json"))
    assert run.latency and run.latency.runs == 12 and run.latency.p50_ms <= run.latency.p90_ms <= run.latency.p99_ms
    assert run.cold and run.cold.total_ms > run.cold.first_ms > 0
    assert [(tensor.name, tensor.shape) for tensor in run.outputs] == [("features", (1, 8, 16, 16))]
    layers = _read(explored, "layers.json")
    assert layers["macs"] == 8 * 3 * 9 * 16 * 16  # the convolution, counted by hand
    assert run.parameters == 8 * 3 * 9
    npus = NpuChecks.model_validate(_read(explored, "npu.json"))
    fits = {(check.generation, check.precision): str(check.fit) for check in npus.checks}
    assert fits == {
        ("v68", "float"): "not possible",
        ("v75", "float"): "in parts",
        ("v68", "w8a8"): "in parts",
        ("v75", "w8a8"): "in parts",
    }
    assert all(check.on_cpu[0].node == "the_erf" for check in npus.checks if check.on_cpu)
    verdicts = [each["verdict"] for each in _read(explored, "targets.json")["judgements"]]
    assert verdicts == ["met", "not measured", "missed", "missed"]
    assert np.load(explored / "inputs/samples.npz")["0.image"].shape == (1, 3, 16, 16)


def test_an_unfinished_workspace_goes_on_where_it_was(explored: Path, tmp_path: Path, explore: Explore) -> None:
    folder = explored.parents[1]
    unfinished = tmp_path / "unfinished"
    shutil.copytree(explored, unfinished)
    state = _read(unfinished, "state.json")
    (unfinished / "outputs/state.json").write_text(json.dumps(state | {"outcome": "unfinished"}))
    (unfinished / "outputs/targets.json").unlink()
    run = (unfinished / "outputs/run.json").read_bytes()
    same = ["erf.onnx", "--runs", "12", "--targets", "targets.yaml", "--chipset", "sm8350", "--chipset", "sm8650"]
    done = explore(folder, *same, "--resume", str(unfinished), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"]["state.json"]["outcome"] == "finished"
    assert (unfinished / "outputs/run.json").read_bytes() == run  # not measured again
    assert (unfinished / "outputs/targets.json").is_file()
    other = explore(folder, "erf.onnx", "--runs", "13", "--resume", str(unfinished))
    assert other.returncode == 2 and "made for another request" in other.stderr


def test_scripts_make_the_reports_and_the_experiment_again(explored: Path) -> None:
    report = explored / "reports/stakeholder.md"
    before = report.read_text()
    subprocess.run([sys.executable, explored / "scripts/report.py"], check=True, capture_output=True)
    assert report.read_text() == before
    again = subprocess.run(["sh", explored / "scripts/rerun.sh"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    (new,) = [path for path in explored.parent.iterdir() if path != explored]
    assert _read(new, "request.json") == _read(explored, "request.json")
    shutil.rmtree(new)


def test_code_of_a_folder_builds_what_a_checkpoint_fills(tmp_path: Path, explore: Explore) -> None:
    import torch
    from safetensors.torch import save_file

    (tmp_path / "net").mkdir()
    (tmp_path / "net/model.py").write_text(MODEL)
    torch.save({"layer.weight": torch.full((2, 4), float("nan")), "layer.bias": torch.zeros(2)}, tmp_path / "nan.pt")
    done = explore(tmp_path, "nan.pt", "--source", "net", "--runs", "2", "--chipset", "sm8350", "-o", "nan")
    assert done.returncode == 0, done.stderr
    (workspace,) = (tmp_path / "nan").iterdir()
    run = _read(workspace, "run.json")
    assert [tensor["name"] for tensor in run["outputs"]] == ["scores", "pair_0", "pair_1"]
    assert "NaN or infinite values" in (workspace / "reports/stakeholder.md").read_text()
    assert run["batches"][-1]["batch"] == 8
    assert _read(workspace, "layers.json")["layers"][0]["macs"] == 8

    save_file({"layer.weight": torch.zeros(2, 4), "layer.bias": torch.zeros(2)}, tmp_path / "ok.safetensors")
    np.savez(tmp_path / "hang.npz", x=np.full((1, 4), 9, np.float32))
    hung = explore(
        tmp_path, "ok.safetensors", "--source", "net", "--input", "hang.npz", "--timeout", "40", "-o", "hung"
    )
    assert hung.returncode == 1 and "ran longer than its 40 s" in hung.stderr
    (workspace,) = (tmp_path / "hung").iterdir()
    assert _read(workspace, "state.json")["outcome"] == "failed"
    assert "ran longer" in (workspace / "reports/experiment.md").read_text()


def test_a_folder_of_the_same_name_does_not_hide_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from safetensors.torch import save_file

    from model_zoo.workbench.explore.loaded_torch import from_source

    (tmp_path / "model").mkdir()
    (tmp_path / "model/__init__.py").touch()
    (tmp_path / "model.py").write_text("import torch\n\ndef build_model():\n    return torch.nn.Linear(2, 1)\n")
    save_file(torch.nn.Linear(2, 1).state_dict(), tmp_path / "m.safetensors")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "model", raising=False)
    assert from_source(tmp_path, tmp_path / "m.safetensors", "cpu").facts.parameters == 3
    monkeypatch.delitem(sys.modules, "model")


def test_code_beside_a_model_is_not_run_unasked(tmp_path: Path, tiny_models, explore: Explore) -> None:
    files = tmp_path / "a download"
    files.mkdir()
    (files / "m.onnx").write_bytes(tiny_models["conv"].read_bytes())
    (files / "recovery.json").write_text("{}")
    (files / "config.json").write_text('{"architectures": ["Net"], "auto_map": {"AutoModel": "modeling_net.Net"}}')
    names = ("model", "torch", "json", "onnx", "sitecustomize", "usercustomize", "tokenizer", "modeling_net", "setup")
    for name in names:
        (files / f"{name}.py").write_text(f"open({str(tmp_path / name)!r} + '.ran', 'w').close()\n")
    done = explore(files, "m.onnx", "--runs", "2", "--chipset", "sm8650")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*.ran")) == []
    from safetensors.numpy import save_file

    save_file({"0.weight": np.ones((2, 4), np.float32)}, files / "weights.safetensors")
    refused = explore(files, "weights.safetensors")
    assert refused.returncode == 2
    assert "model-zoo explore weights.safetensors --source ." in refused.stderr
    assert list(tmp_path.glob("*.ran")) == []


def test_code_beside_weights_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "model.py").touch()
    assert f"--source {tmp_path}" in (code_beside(tmp_path / "weights.pt") or "")
    (tmp_path / "model.py").unlink()
    assert code_beside(tmp_path / "weights.pt") is None


def test_no_source_is_found_where_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.py").touch()
    assert find_source(None) is None
    assert find_source(tmp_path) == tmp_path.resolve()


def test_an_exported_program_is_explored_as_data(tmp_path: Path, explore: Explore) -> None:
    import torch

    program = torch.export.export(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()), (torch.zeros(1, 4),))
    torch.export.save(program, tmp_path / "net.pt2")
    done = explore(tmp_path, "net.pt2", "--runs", "2", "--chipset", "sm8650")
    assert done.returncode == 0, done.stderr
    (workspace,) = (tmp_path / "tmp").iterdir()
    layers = _read(workspace, "layers.json")["layers"]
    assert [(each["kind"], each["macs"], each["parameters"]) for each in layers] == [("linear", 8, 10), ("relu", 0, 0)]
    assert {check["fit"] for check in _read(workspace, "npu.json")["checks"]} == {"whole"}


def test_a_resumed_workspace_leads_nowhere_else(tmp_path: Path, explored: Path) -> None:
    shutil.copytree(explored, tmp_path / "w")
    request = ExploreRequest.model_validate_json((explored / "outputs/request.json").read_bytes())
    open_workspace(tmp_path / "w", request)
    (tmp_path / "w/logs/run.txt").unlink(missing_ok=True)
    (tmp_path / "w/logs/run.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link"):
        open_workspace(tmp_path / "w", request)


def test_code_in_a_resumed_workspace_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows who wrote it: the model is recovered again."""

    def fails(*_: object) -> None:
        raise ChildFailedError("nothing fits")

    monkeypatch.setattr(recovered, "run_child", fails)
    folder = tmp_path / recovered.RECOVERED
    folder.mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    (folder / "model.py").touch()
    with pytest.raises(UserError, match="nothing fits"):
        recovered.recover(tmp_path / "m.safetensors", Workspace(tmp_path), Limits())


def test_missing_packages_end_it_before_anything_runs(tmp_path: Path, explore: Explore) -> None:
    from safetensors.numpy import save_file

    (tmp_path / "net").mkdir()
    (tmp_path / "net/model.py").write_text("import absent_package\n" + MODEL)
    save_file({"layer.bias": np.zeros(2, np.float32)}, tmp_path / "m.safetensors")
    done = explore(tmp_path, "m.safetensors", "--source", "net", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["outputs"]["requirements.json"]["missing"] == ["absent_package"]
    assert told["outputs"]["state.json"]["outcome"] == "stopped" and "run.json" not in told["outputs"]
    report = (Path(told["workspace"]) / "reports/stakeholder.md").read_text()
    assert "Install what is missing" in report and "pip install absent" in report


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.onnx"], "no file at absent.onnx"),
        (["empty.pt"], "zero bytes"),
        (["text.pt"], "text file"),
        (["nothing"], "holds no weights"),
        (["model.onnx", "--runs", "0"], "--runs 0"),
        (["model.onnx", "--timeout", "nan"], "--timeout nan"),
        (["model.onnx", "--chipset", "sm865"], "unknown chipset 'sm865'"),
        (["model.onnx", "--targets", "absent.yaml"], "absent.yaml"),
        (["model.onnx", "--input", "absent.png"], "there is no such file"),
        (["model.onnx", "--source", "absent"], "no such folder"),
        (["model.onnx", "--source", "nothing"], "no model.py"),
        (["model.onnx", "--resume", "nothing"], "is no workspace"),
        (["model.onnx", "-o", "text.pt"], "cannot create the folder"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(
    tmp_path: Path,
    tiny_models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_models["conv"].read_bytes())
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("hello, I am text")
    (tmp_path / "nothing").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["explore", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
