"""Nothing calls home: no command opens an internet socket, but for those whose job is a download."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the filter is one of Linux on x86-64"
)

#: Longer than onnxruntime waited before it sent its first event: 9 s after its import.
_PATIENCE_S = 14

_COMMANDS = """
import json, sys, time
from model_zoo.cli import main
for command in json.loads(sys.argv[1]):
    try:
        status = main(command)
    except SystemExit as stop:
        status = stop.code
    print("status", status, *command, file=sys.stderr)
    if status:
        sys.exit(status)
import onnxruntime
time.sleep(float(sys.argv[2]))
"""


def without_network(home: Path, commands: list[list[str]], patience: float = 0.0) -> subprocess.CompletedProcess[str]:
    """Run command lines in one process, with a home of its own, that dies where it opens an internet socket."""
    arguments = [sys.executable, str(Path(__file__).with_name("no_network.py")), sys.executable, "-c", _COMMANDS]
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "HF_", "XDG_"))}
    environment |= {"HOME": str(home), "MODEL_ZOO_CACHE": str(home / "cache")}
    return subprocess.run(
        [*arguments, json.dumps(commands), str(patience)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_no_command_opens_an_internet_socket(tmp_path: Path, tiny_models) -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    torch.save(layers.state_dict(), tmp_path / "weights.pt")
    digits = ["digits_cnn", "--chipset", "sm8650", "--precision", "w8a8"]
    commands = [
        ["list"],
        ["info", "resnet18"],
        ["chipsets"],
        ["devices"],
        ["runtimes"],
        ["dataset", "list"],
        ["install", "resnet18", "--dry-run"],
        ["discover", "--library", "timm", "--test-model", "resnet18"],
        ["inspect", str(tmp_path / "weights.pt")],
        ["recover", str(tmp_path / "weights.pt"), "-o", "recovered", "--by", "structure"],
        ["explore", str(tiny_models["conv"]), "--runs", "2", "--chipset", "sm8650"],
        ["export", *digits],
        ["evaluate", *digits, "--num-samples", "40"],
        ["sensitivity", *digits],
        ["demo", "digits_cnn"],
    ]
    done = without_network(tmp_path / "home", commands, _PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "home").glob(".*")} == set(), "something was left in the user's home"


def test_a_download_is_what_the_filter_stops(tmp_path: Path) -> None:
    """So that the test above can fail."""
    done = without_network(tmp_path / "home", [["export", "resnet18", "--chipset", "sm8650"]])
    assert done.returncode == -signal.SIGSYS, done.stderr
