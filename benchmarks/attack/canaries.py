"""Files that carry code, and code that lies beside files: nothing of it runs without --trust.

python benchmarks/attack/canaries.py
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from outcome import Outcome, report

#: Whatever runs it leaves this file in the folder that the variable names.
_RAN = "import os; open(os.path.join(os.environ['CANARY'], 'ran'), 'w').close()\n"
_CALL = f"exec({_RAN!r})"


class Bomb:
    """Pickled, it asks for code to be run."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return exec, (_RAN,)


def pickled(folder: Path) -> Path:
    """torch's oldest format: a pickle."""
    path = folder / "weights.pt"
    path.write_bytes(pickle.dumps({"weight": Bomb()}, protocol=2))
    return path


def pickled_zip(folder: Path) -> Path:
    """torch's zip with such a pickle."""
    path = folder / "weights.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"weight": Bomb()}, protocol=2))
        archive.writestr("x/version", "3")
    return path


def pickled_array(folder: Path) -> Path:
    """An array of objects."""
    path = folder / "weights.npz"
    np.savez(path, weight=np.array([Bomb()], dtype=object), other=np.ones(3, np.float32))
    return path


def scripted(folder: Path) -> Path:
    """TorchScript, which is code."""
    import torch

    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    path = folder / "model.pt"
    torch.jit.script(Writes()).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/extra/x.py", _RAN)
    return path


def named_with_code(folder: Path) -> Path:
    """An exported program in which every name of a weight is Python text."""
    import torch

    class Scales(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight

    sound, path = folder / "sound.pt2", folder / "model.pt2"
    torch.export.save(torch.export.export(Scales(), (torch.ones(2, 3),)), sound)
    text = f'x", None) or {_CALL} or getattr(self, "weight'

    def renamed(value: object) -> object:
        if isinstance(value, dict):
            return {text if key == "weight" else key: renamed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [renamed(each) for each in value]
        return text if value == "weight" else value

    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, json.dumps(renamed(json.loads(content))) if name.endswith(".json") else content)
    sound.unlink()
    return path


def _weights(folder: Path) -> Path:
    from safetensors.numpy import save_file

    path = folder / "weights.safetensors"
    weights = {"0.weight": np.ones((8, 4), np.float32), "0.bias": np.ones(8, np.float32)}
    save_file(weights | {"2.weight": np.ones((3, 8), np.float32)}, path)
    return path


def beside(folder: Path) -> Path:
    """Sound weights, with Python files beside them that an import might find, and everything that speaks for those."""
    for name in _BESIDE:
        (folder / name).write_text(_RAN + "def build_model(): raise SystemExit\n")
    auto = {"AutoConfig": "model.Config", "AutoModel": "model.Model", "AutoTokenizer": ["tokenizer.T", None]}
    for name in ("recovery.json", "config.json", "tokenizer_config.json"):
        (folder / name).write_text(json.dumps({"model_type": "bert", "auto_map": auto, "architectures": ["M"]}))
    return _weights(folder)


def hostile_names(folder: Path) -> Path:
    """Names of tensors that would be code in a module that is written from them."""
    from safetensors.numpy import save_file

    path = folder / "weights.safetensors"
    for text in ("0.weight", f"1.{_CALL}.weight", f'2."]\n{_RAN}#.weight', f"{_CALL}.weight"):
        save_file({text: np.ones((8, 8), np.float32), "0.bias": np.ones(8, np.float32)}, path)
    return path


_BESIDE = (
    *("model.py", "modeling.py", "tokenizer.py", "conftest.py", "setup.py", "sitecustomize.py", "usercustomize.py"),
    *("torch.py", "numpy.py", "json.py", "yaml.py", "rich.py", "onnx.py", "psutil.py", "safetensors.py", "typing.py"),
)
FILES: dict[str, Callable[[Path], Path]] = {
    "pickle": pickled,
    "zip with a pickle": pickled_zip,
    "array of objects": pickled_array,
    "TorchScript": scripted,
    "exported program with code for names": named_with_code,
    "names that would be code": hostile_names,
    "Python files beside the weights": beside,
}
COMMANDS = (
    ("inspect", "{file}", "--values"),
    ("explore", "{file}", "--runs", "1", "-o", "{out}/explored"),
    ("recover", "{file}", "-o", "{out}/recovered", "--by", "structure"),
)


def run() -> Iterator[Outcome]:
    """Give every file to every command, started in the folder where the file lies."""
    program = Path(sys.executable).with_name("model-zoo")
    for title, make in FILES.items():
        for command in COMMANDS:
            with tempfile.TemporaryDirectory() as name:
                folder, canary = Path(name, "downloaded"), Path(name, "canary")
                folder.mkdir()
                canary.mkdir()
                places = {"file": str(make(folder)), "out": name}
                done = subprocess.run(
                    [program, *(word.format(**places) for word in command)],
                    cwd=folder,
                    env=os.environ | {"CANARY": str(canary)},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                problem = "code ran" if (canary / "ran").exists() else ""
                if done.returncode not in (0, 1, 2) or "--debug" in done.stderr or "Traceback" in done.stderr:
                    problem = problem or f"exit status {done.returncode}: {done.stderr[-200:]}"
            yield Outcome("code in and beside files", f"{command[0]}: {title}", problem)


if __name__ == "__main__":
    sys.exit(report(run()))
