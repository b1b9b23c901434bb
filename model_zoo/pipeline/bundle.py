"""Bundle: the files of one target and a metadata.json that says what they are."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.pipeline.auto_precision import Search
from model_zoo.pipeline.plan import Plan
from model_zoo.pipeline.result import ComponentResult
from model_zoo.pipeline.stages import TORCH_OUTPUTS, ComponentBuild
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
        if folder.exists() and (found := ", ".join(_foreign_files(folder)) if folder.is_dir() else "it is a file"):
            hint = "move that away, or choose another output_dir"
            raise UserError(f"{folder} was not written by an export alone: {found}", hint)


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
    builds: Mapping[str, ComponentBuild],
    results: Sequence[ComponentResult],
    searches: Mapping[str, Search],
    packed: bool,
) -> Path:
    """Write the folder for one chipset, whole or not at all.

    Raises:
        ModelZooError: It cannot be written.
    """
    final = plan.folder(chipset)
    described = plan.to_json()
    make_folder(final.parent)
    try:
        with temporary_folder(final) as folder:
            files = {}
            for source in (file for result in results for file in result.files):
                shutil.copyfile(source, folder / source.name)
                files[source.name] = {"bytes": source.stat().st_size, "sha256": sha256_file(folder / source.name)}
            metadata = {
                **{key: described[key] for key in ("model", "model_arguments", "runtime", "precision")},
                "searches": {name: search.to_json() for name, search in searches.items()},
                "chipset": chipset and {"name": chipset.name, "soc_model": chipset.soc_model, "htp": chipset.htp},
                "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "tool_versions": {**plan.versions, **installed_versions(*CAPTURE_PACKAGES)},
                **{key: described[key] for key in ("calibration", "check", "warnings")},
                "files": files,
                "components": {each.name: _described(builds[each.name], each) for each in results},
            }
            (folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
            if packed:
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
    return folder.with_name(folder.name + ".zip")


def _described(build: ComponentBuild, result: ComponentResult) -> dict[str, Any]:
    """A component's result, with inputs and outputs as its file has them."""
    fields = {**result.model_dump(mode="json"), "file": result.file.name if result.file else None}
    if build.facts.precompiled:
        return {"inputs": {}, "outputs": {}, "labels": None, **fields}
    specs = {name: tensor.to_json() for name, tensor in build.facts.inputs.items()}
    return {
        "inputs": _tensors(build, "inputs.npz", build.channel_last_inputs, specs),
        "outputs": _tensors(build, TORCH_OUTPUTS, build.channel_last_outputs, {}),
        "labels": build.facts.labels,
        **fields,
    }


def _tensors(
    build: ComponentBuild, samples: str, last: tuple[str, ...], specs: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What is known of each tensor, with its shape, dtype and layout in the file."""
    tensors = {}
    for name, array in channels_last(read_samples(build.reference().file(samples))[0], last).items():
        narrowed = build.support.narrows_integers and array.dtype == np.int64
        in_file = {"shape": list(array.shape), "dtype": "int32" if narrowed else str(array.dtype)}
        tensors[name] = {**specs.get(name, {}), **in_file, **({"layout": "NHWC"} if name in last else {})}
    return tensors
