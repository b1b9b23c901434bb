"""What an export of YOLO11n costs and keeps, beside Ultralytics' own `format=qnn` on the same network and pictures.

    python benchmarks/beside_ultralytics.py [--runs 2] [--size 640]

Ultralytics gets an environment of its own, benchmarks/.venv-ultralytics, where both sides run. Every cost is a whole
process on this machine: wall time, and peak memory of its process tree (proportional set size). Both sides calibrate on
the same pictures, for the same NPU (Hexagon v75), and are judged on others.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import Cost, run

from model_zoo.runtimes.qnn import HtpEmulator
from model_zoo.utils.console import console, table
from model_zoo.utils.numerics import sqnr_db

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv-ultralytics"
PACKAGES = ("ultralytics==8.4.190", "onnxslim==0.1.98")  # its ONNX export installs onnxslim if it is absent
PEER, BARE, VERIFIED = "Ultralytics format=qnn", "ours, the same work", "ours, verified and timed"
_COLUMNS = ("wall s", "ratio of wall", "CPU s", "ratio of CPU", "peak MB", "ratio of MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--size", type=int, default=640, help="height and width of the pictures, a multiple of 32")
    arguments = parser.parse_args()
    _make_environment()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([_python(), str(HERE / "yolo11n_prepare.py"), name, str(arguments.size)], _env(folder))
        costs: dict[str, list[Cost]] = {PEER: [], BARE: [], VERIFIED: []}
        for _ in range(arguments.runs):
            for side, found in costs.items():
                found.append(_peer(folder, arguments.size) if side == PEER else _ours(folder, arguments.size, side))
        what = f"YOLO11n {arguments.size}×{arguments.size} w8a16 for sm8650, host, median of {arguments.runs}"
        load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        title = f"{what}; {load}"
        shown = console()
        shown.print(table(title, *_cost_rows(costs), right=_COLUMNS))
        title = "SQNR on the NPU emulator against the same network in torch, dB"
        shown.print(table(title, *_accuracy_rows(folder), right=("boxes", "scores")))


def _make_environment() -> None:
    if (VENV / "bin" / "yolo").exists():
        return
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(VENV)], check=True)
    requirements = str(HERE.parent / "global_requirements.txt")
    subprocess.run([*uv, "pip", "install", "--python", _python(), "-r", requirements, *PACKAGES], check=True)


def _python() -> str:
    return str(VENV / "bin" / "python")


def _env(folder: Path) -> dict[str, str]:
    """Nothing of Ultralytics' looks for the network, and nothing of it stays in the user's home."""
    config = {"YOLO_CONFIG_DIR": str(folder / "config"), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    return {**config, "MODEL_ZOO_CACHE": str(folder / "cache"), "PYTHONPATH": str(HERE.parent)}


def _peer(folder: Path, size: int) -> Cost:
    work = folder / "peer"
    shutil.rmtree(work, ignore_errors=True)  # it refuses to write over a file of its own
    work.mkdir()
    weights = Path(shutil.copy(folder / "yolo11n_random.pt", work))
    command = [str(VENV / "bin" / "yolo"), "export", f"model={weights}", "format=qnn", "name=75", f"imgsz={size}"]
    return run([*command, f"data={folder / 'data.yaml'}", "device=cpu"], _env(folder))


def _ours(folder: Path, size: int, side: str) -> Cost:
    kind = "bare" if side == BARE else "verified"
    command = [_python(), str(HERE / "yolo11n_ours.py"), str(folder), str(size), str(folder / kind), kind]
    return run(command, _env(folder))


def _cost_rows(costs: dict[str, list[Cost]]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for side, found in costs.items():
        row = [side]
        for unit, digits in (("seconds", 1), ("cpu_seconds", 1), ("peak_mb", 0)):
            values = [getattr(cost, unit) for cost in found]
            ratio = statistics.median(a / getattr(b, unit) for a, b in zip(values, costs[PEER], strict=True))
            row += [f"{statistics.median(values):.{digits}f}", f"{ratio:.2f}"]
        rows.append(row)
    return ["whole process", *_COLUMNS], rows


def _accuracy_rows(folder: Path) -> tuple[list[str], list[list[str]]]:
    with np.load(folder / "held_out.npz") as file:
        images, boxes, scores = file["image"], file["boxes"], file["scores"]
    rows = []
    ours = {side: next((folder / kind).rglob("*.bin")) for side, kind in ((BARE, "bare"), (VERIFIED, "verified"))}
    for side, binary in {PEER: _unwrapped(folder / "peer"), **ours}.items():
        model = HtpEmulator(binary)
        (name,) = model.input_spec
        outputs = model.run([{name: np.ascontiguousarray(image[None].transpose(0, 2, 3, 1))} for image in images])
        # The peer's only output holds both: boxes in the first four rows.
        joined = np.concatenate([np.concatenate([output[key] for key in sorted(output)], 1) for output in outputs])
        rows.append([side, f"{sqnr_db(boxes, joined[:, :4]):.1f}", f"{sqnr_db(scores, joined[:, 4:]):.1f}"])
    return [f"file, on {len(images)} pictures", "boxes", "scores"], rows


def _unwrapped(folder: Path) -> Path:
    """The peer's context binary, out of the ONNX file that holds it."""
    import onnx

    (node,) = onnx.load(next(folder.glob("*_qnn.onnx"))).graph.node
    (context,) = (each.s for each in node.attribute if each.name == "ep_cache_context")
    (folder / "context.bin").write_bytes(context)
    return folder / "context.bin"


if __name__ == "__main__":
    main()
