"""Bundle: the files of one target and a metadata.json that says what they are."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.pipeline.plan import Plan
from model_zoo.pipeline.result import ComponentResult
from model_zoo.pipeline.search import Search
from model_zoo.pipeline.stages import ComponentBuild
from model_zoo.runtimes.base import read_samples
from model_zoo.sources.base import CAPTURE_PACKAGES
from model_zoo.targets.chipset import Chipset
from model_zoo.utils.code_digest import installed_versions
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import make_folder, write_error
from model_zoo.utils.folder_lock import lock_alone
from model_zoo.utils.hashing import sha256_file
from model_zoo.utils.layout import channels_last
from model_zoo.utils.temporary import remove_leftovers, replace_folder, temporary_folder

#: The packed folder as long as it lies in the folder.
_PACKED = ".packed.zip"


def check_output(plan: Plan) -> None:
    """Refuse before the work what would fail, or destroy something, after it.

    Raises:
        UserError: A folder cannot be written to, or holds files that no export wrote.
    """
    if plan.output_dir is None:
        return
    existing = plan.output_dir.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"{existing} is a file, not a folder", "choose another folder in output_dir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write to {existing}", "choose another folder in output_dir")
    for chipset in plan.chipsets:
        folder = plan.folder(chipset)
        put_right(folder.parent)
        if folder.exists() and (not folder.is_dir() or _foreign_files(folder)):
            found = ", ".join(_foreign_files(folder)) if folder.is_dir() else "it is a file"
            raise UserError(
                f"{folder} was not written by an export alone: {found}", "move that away, or choose another output_dir"
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
    zip_assets: bool,
    chipset: Chipset | None,
    builds: dict[str, ComponentBuild],
    parts: dict[str, tuple[ComponentResult, list[Path]]],
    searches: Mapping[str, Search],
) -> Path:
    """Write the folder for one chipset, whole or not at all.

    Args:
        zip_assets: Whether the folder is packed too.
        parts: Result and files of each component.

    Returns:
        The folder.

    Raises:
        ModelZooError: It cannot be written.
    """
    final = plan.folder(chipset)
    make_folder(final.parent)
    try:
        with temporary_folder(final) as folder:
            files = {}
            for _, sources in parts.values():
                for source in sources:
                    shutil.copyfile(source, folder / source.name)
                    files[source.name] = {"bytes": source.stat().st_size, "sha256": sha256_file(folder / source.name)}
            metadata = _metadata(
                plan, chipset, builds, {name: result for name, (result, _) in parts.items()}, searches, files
            )
            (folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
            if zip_assets:
                _pack(folder, final.name)
            put_in_place(folder, final)
    except OSError as error:
        raise write_error(final, error) from error
    return final


def _pack(folder: Path, name: str) -> None:
    files = sorted(folder.iterdir())
    with zipfile.ZipFile(folder / _PACKED, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"{name}/{file.name}")


def put_in_place(new: Path, final: Path) -> None:
    """Put a new folder, and the packed one in it, in the place of an older one and its packed one.

    A packed folder lies beside a folder only while both are of one export: the old one goes into the old folder, the
    folders change places in one step, and the new one comes out of the new folder. If the process is killed between
    these steps, `put_right` does what is left of them.
    """
    with lock_alone(final.parent):  # two exports to one folder: all steps of one, then all of the other
        if final.is_dir() and zip_path(final).exists():
            zip_path(final).replace(final / _PACKED)
        zip_path(final).unlink(missing_ok=True)  # of no folder
        try:
            replace_folder(new, final)
        finally:
            _take_out(final)


def put_right(parent: Path) -> None:
    """Remove what killed runs left beside the folders in a folder, and take packed ones out of them."""
    if parent.is_dir():
        remove_leftovers(parent)
        with lock_alone(parent):
            for folder in parent.iterdir():
                if not folder.name.startswith("."):
                    _take_out(folder)


def _take_out(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        (folder / _PACKED).replace(zip_path(folder))


def zip_path(folder: Path) -> Path:
    """Where the packed folder goes."""
    return folder.with_name(folder.name + ".zip")


def _metadata(
    plan: Plan,
    chipset: Chipset | None,
    builds: dict[str, ComponentBuild],
    results: dict[str, ComponentResult],
    searches: Mapping[str, Search],
    files: dict[str, Any],
) -> dict[str, Any]:
    described = plan.to_json()
    return {
        "model": plan.source.name,
        "model_arguments": described["model_arguments"],
        "runtime": plan.runtime,
        "precision": plan.precision_name,
        "searches": {name: search.to_json() for name, search in searches.items()},
        "chipset": {"name": chipset.name, "soc_model": chipset.soc_model, "htp": chipset.htp} if chipset else None,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "tool_versions": {**plan.versions, **installed_versions(*CAPTURE_PACKAGES)},
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
    narrowed = build.support.narrows_integers and array.dtype == np.int64
    return "int32" if narrowed else str(array.dtype)


def _layout(name: str, channel_last: tuple[str, ...]) -> dict[str, str]:
    return {"layout": "NHWC"} if name in channel_last else {}
