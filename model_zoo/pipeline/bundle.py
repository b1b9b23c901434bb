"""Bundle: the files of one target and a metadata.json that says what they are."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.pipeline.plan import Plan
from model_zoo.pipeline.result import ComponentResult
from model_zoo.pipeline.source import installed_versions
from model_zoo.pipeline.stages import ComponentBuild
from model_zoo.runtimes.base import read_samples
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import atomic_folder, atomic_write
from model_zoo.utils.hashing import sha256_file
from model_zoo.utils.layout import channels_last


def check_output(plan: Plan) -> None:
    """Refuse before the work what would fail, or destroy something, after it.

    Raises:
        UserError: A folder cannot be written to, or holds files that no export wrote.
    """
    existing = plan.options.output_dir.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"{existing} is a file, not a folder", "choose another folder with --output-dir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write to {existing}", "choose another folder with --output-dir")
    for chipset in plan.chipsets:
        folder = plan.folder(chipset)
        if folder.exists() and (not folder.is_dir() or _foreign_files(folder)):
            found = ", ".join(_foreign_files(folder)) if folder.is_dir() else "it is a file"
            raise UserError(
                f"{folder} was not written by an export alone: {found}", "move that away, or use --output-dir"
            )


def _foreign_files(folder: Path) -> list[str]:
    """Names in a folder that its metadata.json does not list."""
    try:
        listed = set(json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        listed = set()
    return sorted(path.name for path in folder.iterdir() if path.name not in {*listed, "metadata.json"})


def write_bundle(
    plan: Plan,
    chipset: Chipset | None,
    builds: dict[str, ComponentBuild],
    parts: dict[str, tuple[ComponentResult, list[Path]]],
) -> Path:
    """Write the folder for one chipset, whole or not at all.

    Args:
        parts: Result and files of each component.

    Returns:
        The folder.

    Raises:
        ModelZooError: It cannot be written.
    """
    final = plan.folder(chipset)
    with atomic_folder(final) as folder:
        files = {}
        for _, sources in parts.values():
            for source in sources:
                shutil.copyfile(source, folder / source.name)
                files[source.name] = {"bytes": source.stat().st_size, "sha256": sha256_file(folder / source.name)}
        metadata = _metadata(plan, chipset, builds, {name: result for name, (result, _) in parts.items()}, files)
        (folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    packed = zip_path(final)
    packed.unlink(missing_ok=True)  # of an earlier export: it would hold other files than the folder
    if plan.options.zip_assets:
        with (
            atomic_write(packed) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for file in sorted(final.iterdir()):
                archive.write(file, f"{final.name}/{file.name}")
    return final


def zip_path(folder: Path) -> Path:
    """Where the packed folder goes."""
    return folder.with_name(folder.name + ".zip")


def _metadata(
    plan: Plan,
    chipset: Chipset | None,
    builds: dict[str, ComponentBuild],
    results: dict[str, ComponentResult],
    files: dict[str, Any],
) -> dict[str, Any]:
    described = plan.to_json()
    return {
        "model": plan.source.name,
        "model_arguments": described["model_arguments"],
        "runtime": plan.options.runtime,
        "precision": plan.precision_name,
        "searches": described["searches"],
        "chipset": {"name": chipset.name, "soc_model": chipset.soc_model, "htp": chipset.htp} if chipset else None,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "tool_versions": {**plan.versions, **installed_versions("torch", "torchvision", "onnx", "onnxscript")},
        "calibration": described["calibration"],
        "check": described["check"],
        "warnings": described["warnings"],
        "files": files,
        "components": {
            name: {**_interface(builds[name]), **result.to_json(), "file": result.file.name if result.file else None}
            for name, result in results.items()
        },
    }


def _interface(build: ComponentBuild) -> dict[str, Any]:
    """Inputs and outputs as the file has them."""
    if build.facts.precompiled:
        return {"inputs": {}, "outputs": {}, "labels": None}
    reference = build.reference()
    sample = read_samples(reference.file("inputs.npz"))[0]
    inputs = {}
    for name, array in channels_last(sample, build.channel_last_inputs).items():
        spec = {**build.facts.inputs[name].to_json(), "dtype": _file_dtype(build, array)}
        inputs[name] = {**spec, "shape": list(array.shape), **_layout(name, build.channel_last_inputs)}
    outputs = {}
    torch_outputs = read_samples(reference.file("torch.npz"))[0]
    for name, array in channels_last(torch_outputs, build.channel_last_outputs).items():
        described = {"shape": list(array.shape), "dtype": _file_dtype(build, array)}
        outputs[name] = {**described, **_layout(name, build.channel_last_outputs)}
    return {"inputs": inputs, "outputs": outputs, "labels": list(build.facts.labels) if build.facts.labels else None}


def _file_dtype(build: ComponentBuild, array: np.ndarray) -> str:
    """LiteRT files hold no 64-bit integers: the converter narrows them."""
    narrowed = build.runtime is TargetRuntime.TFLITE and array.dtype == np.int64
    return "int32" if narrowed else str(array.dtype)


def _layout(name: str, channel_last: tuple[str, ...]) -> dict[str, str]:
    return {"layout": "NHWC"} if name in channel_last else {}
