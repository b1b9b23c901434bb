"""The command line as a person meets it: exit status, one clear line, no traceback, no file left."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from model_zoo.cli import main

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *argv: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command line."""
    try:
        status = main(list(argv))
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


DIGITS = ("export", "digits_cnn", "-c", "sm8650", "-p", "w8a8")
YOLO = ("export", "yolov7", "--weights", "random", "--variant", "yolov7-tiny", "-c", "sm8650")

WRONG = {
    "command": (("exprot",), "did you mean export"),
    "model": (("export", "resnet8", "-c", "sm8650"), "resnet18"),
    "traversal": (("export", "../utils", "-c", "sm8650"), "unknown model"),
    "chipset": (("export", "digits_cnn", "-c", "sm8659"), "sm8650"),
    "device": (("export", "digits_cnn", "-d", "Galaxy S24"), "Samsung Galaxy S24"),
    "runtime": (("export", "digits_cnn", "-c", "sm8650", "-r", "tflight"), "tflite"),
    "precision": (("export", "digits_cnn", "-c", "sm8650", "-p", "w8a"), "w8a8"),
    "precision with a tail": (
        ("export", "digits_cnn", "-c", "sm8650", "-p", "w8a8junk"),
        "unknown precision 'w8a8junk'",
    ),
    "quantize to float": (("export", "digits_cnn", "-c", "sm8650", "--quantize", "Float"), "--precision float"),
    "no chipset": (("export", "digits_cnn", "-p", "w8a8"), "--chipset"),
    "float without half": (("export", "digits_cnn", "-c", "sm8350", "-p", "float"), "half precision"),
    "no HTP": (("export", "digits_cnn", "-c", "sdm845", "-p", "w8a8"), "tflite and onnx"),
    "tflite w8a16": (("export", "digits_cnn", "-r", "tflite", "-p", "w8a16"), "w8a8"),
    "NPU that fails": (
        ("export", "efficientnet_b4", "-c", "sm8450", "-p", "w8a8"),
        "on qualcomm-snapdragon-8gen1, whose NPU is v69: with random weights",
    ),
    "what is left on it": (("export", "efficientnet_b4", "-c", "sm8450", "-p", "w8a8"), "on v69 it takes float\n"),
    "nothing left on it": (("export", "siglip2", "-c", "sm8350"), "w8a16 is for the NPUs v73, "),
    "not built": (("export", "resnet101", "-c", "sm8650", "-p", "w8a16"), "w8a16 was not built and checked"),
    "batch 0": ((*YOLO, "--batch-size", "0"), "--batch-size: '0' is no positive integer"),
    "batch -2": ((*YOLO, "--batch-size=-2"), "--batch-size: '-2' is no positive integer"),
    "height 7": ((*YOLO, "--height", "7"), "multiple"),
    "height text": ((*YOLO, "--height", "tall"), "--height"),
    "flag": ((*DIGITS, "--fast"), "--fast"),
    "mistyped flag": ((*DIGITS, "--wieghts=random"), "did you mean --weights? run `python -m model_zoo.models.digits"),
    "mistyped flag of a demo": (("demo", "digits_cnn", "--jsn"), "did you mean --json? run `"),
    "mistyped flag of install": (("install", "midas", "--dryrun"), "did you mean --dry-run? run `model-zoo install --"),
    "mistyped flag below a command": (("dataset", "list", "--jsn"), "--json? run `model-zoo dataset list --help`"),
    "one word too many": (("info", "digits_cnn", "extra"), "arguments: extra; run `model-zoo info --help`"),
    "height beyond any memory": (
        ("export", "resnet18", "--weights", "random", "-c", "sm8650", "--height", str(2**62)),
        "more than the 2147483647 values",
    ),
    "empty path": ((*DIGITS, "--calibration-data", ""), "argument --calibration-data: it is empty"),
    "empty folder": (("demo", "digits_cnn", "--output-dir="), "argument --output-dir: it is empty"),
    "no value": (("demo", "digits_cnn", "--output-dir=--"), "argument --output-dir: -- is no value"),
    "long name": (("inspect", "a" * 300), "is longer than a path may be"),
    "name that no file has": (("recover", "~no_such_user/x", "-o", "x"), "Could not determine home directory"),
    "long weights": ((*DIGITS, "--weights", "a" * 300), "weights: 'aaa"),
    "name with a colour": (("info", "\x1b[31m[red]"), "unknown model '\\x1b[31m[red]'"),
    "too much noise": (
        (*DIGITS, "--calibration-data", "random", "--num-calibration-samples", str(2**62)),
        "of noise 1000 are enough",
    ),
    "weights file": ((*DIGITS, "--weights", "none.pt"), "none.pt"),
    "calibration folder": ((*DIGITS, "--calibration-data", "no-such-folder"), "no-such-folder"),
    "calibration count": ((*DIGITS, "--num-calibration-samples", "0"), "at least 1"),
    "calibration count above the set": ((*DIGITS, "--num-calibration-samples", "999999"), "999999"),
    "nothing to be scored on": (
        ("evaluate", "segformer_base", "--weights", "random"),
        "an export compares its outputs with torch: run `model-zoo export segformer_base --help`",
    ),
    "parts": (("evaluate", "whisper_tiny", "--weights", "random"), "run `model-zoo export whisper_tiny --help`"),
    "threshold": (
        ("demo", "superpoint", "--weights", "random", "--threshold", "7"),
        "error: threshold 7: give 0 to 1\n",
    ),
    "no samples": (("evaluate", "digits_cnn", "--num-samples", "0"), "at least 1"),
    "more samples than there are": (("evaluate", "digits_cnn", "--num-samples", "361"), "holds 360"),
    "unknown backend": (("evaluate", "digits_cnn", "--on", "torch,npu"), "unknown backend 'npu'"),
    "no backend": (("evaluate", "digits_cnn", "--on", ","), "--on names nothing"),
    "contradicting backends": (("evaluate", "digits_cnn", "--on", "torch", "--skip-torch-accuracy"), "contradicts"),
    "emulator without chipset": (("evaluate", "digits_cnn", "--on", "emulator"), "--chipset"),
    "nothing emulates": (("evaluate", "digits_cnn", "-c", "sm8650", "-r", "qnn_dlc"), "--on torch,cpu"),
    "interval 0": (("evaluate", "digits_cnn", "--interval", "0"), "more than 0"),
    "workers 0": (("evaluate", "digits_cnn", "--workers", "0"), "at least 1"),
    "negative drop": (("evaluate", "digits_cnn", "--max-drop", "-1"), "0 or more"),
    "report in no folder": (("evaluate", "digits_cnn", "--report", "no-such-folder/r.html"), "no folder"),
    "report is a folder": (("evaluate", "digits_cnn", "--report", "."), "is a folder"),
    "no data": (("evaluate", "yolov7", "--weights", "random"), "dataset configure coco"),
}


@pytest.mark.parametrize("argv, text", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_one_line_and_exit_2(
    capsys: Capture, tmp_path: Path, argv: tuple[str, ...], text: str
) -> None:
    more = ("--output-dir", str(tmp_path / "build")) if argv[0] == "export" else ()
    status, _, err = run(capsys, *argv, *more)
    errors = [line for line in err.splitlines(keepends=True) if line.startswith("error:")]
    assert status == 2 and len(errors) == 1 and text in errors[0], err
    assert "Traceback" not in err and not (tmp_path / "build").exists()


class Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def _checkpoints(folder: Path) -> dict[str, tuple[Path, str]]:
    """Bad weights files, and what the message must name."""
    from model_zoo import load_model

    state = load_model("digits_cnn").state_dict()
    first, second, *_ = state
    cases = ("truncated", "text", "evil", "missing", "extra", "shape")
    paths = {name: folder / f"case{number}.pt" for number, name in enumerate(cases)}
    torch.save(state, paths["truncated"])
    paths["truncated"].write_bytes(paths["truncated"].read_bytes()[:1000])
    paths["text"].write_text("<html>not found</html>")
    paths["evil"].write_bytes(pickle.dumps({"model": Evil(f"touch {folder}/executed")}))
    torch.save({name: value for name, value in state.items() if name not in (first, second)}, paths["missing"])
    torch.save({**state, "one.more": torch.zeros(1), "two.more": torch.zeros(1)}, paths["extra"])
    torch.save({**state, first: torch.zeros(1, 2, 3)}, paths["shape"])
    texts = {
        "truncated": "truncated",
        "text": "web page",
        "evil": "system",
        "missing": second,
        "extra": "two.more",
        "shape": first,
    }
    return {name: (path, texts[name]) for name, path in paths.items()}


@pytest.mark.parametrize("case", ["truncated", "text", "evil", "missing", "extra", "shape"])
def test_bad_weights_are_refused_and_never_run(capsys: Capture, tmp_path: Path, case: str) -> None:
    path, text = _checkpoints(tmp_path)[case]
    status, _, err = run(capsys, *DIGITS, "--weights", str(path), "--output-dir", str(tmp_path / "build"))
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert status == 2 and len(errors) == 1 and text in errors[0], err
    assert not (tmp_path / "executed").exists() and not (tmp_path / "build").exists()


def test_no_network_for_default_weights(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # the discard port: refused at once
    status, _, err = run(capsys, "export", "resnet18", "-c", "sm8650", "--output-dir", str(tmp_path / "build"))
    assert status == 1 and "https://download.pytorch.org/models/resnet18" in err and "--weights random" in err
    assert str(tmp_path.parent) in err or "cache" in err
    assert "Traceback" not in err and not (tmp_path / "build").exists()


def test_absent_qnn_wheel_names_the_pip_line(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from model_zoo.runtimes import qnn

    monkeypatch.setattr(qnn, "find_spec", lambda name: None)
    status, _, err = run(capsys, *DIGITS, "--output-dir", str(tmp_path / "build"))
    assert status == 2 and "pip install onnxruntime-qnn==2.7.0" in err


def test_dry_run_prints_the_plan_and_writes_nothing(capsys: Capture, tmp_path: Path) -> None:
    status, out, _ = run(capsys, *DIGITS, "--dry-run", "--output-dir", str(tmp_path / "build"))
    assert status == 0 and "soc_model 57" in out and "digits (calibration)" in out
    assert not (tmp_path / "build").exists()


def test_export_of_real_digits_is_right_everywhere(capsys: Capture, tmp_path: Path) -> None:
    status, out, err = run(capsys, *DIGITS, "--json", "--output-dir", str(tmp_path))
    assert status == 0, err
    (target,) = json.loads(out)["targets"]
    (component,) = target["components"]
    assert component["compiled"]["npu_nodes"] == component["compiled"]["nodes"] > 0
    assert component["compiled"]["readback"]["soc_model"] == 57
    assert set(component["scores"]) == {"torch", "host CPU", "NPU emulator"}
    for score in component["scores"].values():
        assert score["samples"] >= 200 and score["value"] > 95
    assert component["verified"] is True and component["parity"][0]["emulator"]["value"] > 20
    assert not any("NOISE" in warning for warning in json.loads(out)["plan"]["warnings"])


def test_evaluate_scores_every_place(capsys: Capture) -> None:
    argv = ("evaluate", "digits_cnn", "-c", "sm8650", "-p", "w8a8", "--num-samples", "80", "--json")
    status, out, err = run(capsys, *argv)
    assert status == 0, err
    found = json.loads(out)
    assert found["passed"] is True and list(found["places"]) == ["torch", "cpu", "emulator"]
    assert all(place["score"]["samples"] == 80 and place["score"]["value"] > 95 for place in found["places"].values())


@pytest.mark.parametrize("command", ["list", "chipsets", "devices", "runtimes", "info"])
def test_listings_print_tables_and_json(capsys: Capture, command: str) -> None:
    argv = (command, "digits_cnn") if command == "info" else (command,)
    status, table, _ = run(capsys, *argv)
    json_status, text, _ = run(capsys, *argv, "--json")
    assert status == json_status == 0
    records = json.loads(text)
    assert len(table.splitlines()) > len(records)
    if command == "chipsets":
        assert len(records) == 34
    if command == "devices":
        assert len(records) == 50


def _take_ctrl_c() -> None:
    """A shell lets what it runs in the background ignore it, and so would what these tests start there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_stops_children_and_leaves_nothing(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "model_zoo",
        *YOLO,
        "-p",
        "w8a8",
        "--no-cache",
        "--output-dir",
        str(tmp_path / "build"),
    ]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_take_ctrl_c,
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "capture" in line:
            break
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=90)  # as long as a busy machine may take
    assert child.returncode == 130 and "Traceback" not in err
    assert not (tmp_path / "build").exists()


def test_light_commands_import_nothing_heavy() -> None:
    check = (
        "import sys, model_zoo.cli as c; c.main(['list'])\nprint({'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "set()"
