"""A stored registry: written as Python code, read back as data, and compared with what holds now."""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from model_zoo.utils.errors import UserError
from model_zoo.utils.files import is_plain_file
from model_zoo.workbench.discover.model_library import module_name
from model_zoo.workbench.discover.verdict import ModelFinding, SurveyReport, SurveyStage
from model_zoo.workbench.libraries import SURVEYED

_LARGEST_BYTES = 64 * 2**20
_VARIABLE = "MODEL_REGISTRY"
_COMMAND = ["model-zoo", "discover"]


def registry_code(report: SurveyReport) -> str:
    """Python code of a dict from names to constructors: of the models that pass the last stage, sorted by family."""
    library, chipset = report.library, report.chipset
    root = f"{library}.models" if library in SURVEYED else module_name(library)
    imported = f"from {library} import models" if library in SURVEYED else f"import {root} as models"
    command = [*_COMMAND, "--library", library, "--depth", report.depth, *(["--chipset", chipset] if chipset else [])]
    made_with = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    families = []
    for family, members in groupby((each for each in report.models if each.deepest_ok), key=lambda each: each.family):
        paths = {each.name: each.path.removeprefix(f"{root}.") for each in members}
        rows = [f"    {name!r}: models.{path},\n" for name, path in paths.items()]
        families.append("".join([f"    # {family.capitalize()} family\n", *rows]))
    head = f"# {shlex.join(command)}\n# {made_with}\n{imported}\n\n{_VARIABLE} = {{\n"
    return head + "\n".join(families) + "}\n"


@dataclass(frozen=True)
class StoredRegistry:
    """A registry from a file.

    Args:
        library: None if the file does not say.
        claims: Whether each model passed each stage, by model and stage.
    """

    library: str | None
    depth: SurveyStage
    chipset: str | None
    claims: dict[str, dict[SurveyStage, bool]]


def read_registry(path: Path) -> StoredRegistry:
    """Read what --json or --generate-code wrote; code is parsed, never run.

    Raises:
        UserError: There is no such file, or it holds no registry.
    """
    hint = "it takes what `model-zoo discover --json` or `--generate-code` wrote"
    try:
        if path.exists() and not is_plain_file(path):
            raise UserError(f"{path} holds no registry: it is empty or no plain file", hint)
        if path.stat().st_size > _LARGEST_BYTES:
            raise UserError(f"{path} is too large for a registry", hint)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", hint) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text", hint) from error
    try:
        return _from_json(text) if text.lstrip().startswith("{") else _from_code(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} holds no registry: {problem}", hint) from error


def _from_json(text: str) -> StoredRegistry:
    report = SurveyReport.model_validate(json.loads(text))  # which takes half a surrogate pair, too
    claims = {model.name: {stage: verdict.ok for stage, verdict in model.stages.items()} for model in report.models}
    return StoredRegistry(report.library, report.depth, report.chipset, claims)


def _from_code(text: str) -> StoredRegistry:
    words = shlex.split(text.partition("\n")[0].removeprefix("# "))
    options = dict(zip(words[2::2], words[3::2], strict=True)) if words[:2] == _COMMAND else {}
    depth = SurveyStage(options.get("--depth", SurveyStage.FX))
    assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    values = [node.value for node in assigned if any(ast.unparse(target) == _VARIABLE for target in node.targets)]
    if not values:
        raise ValueError(f"it sets no {_VARIABLE}")
    if not isinstance(registry := values[-1], ast.Dict):
        raise ValueError(f"{_VARIABLE} is no dict")
    keys = [key.value for key in registry.keys if isinstance(key, ast.Constant)]
    claims = {key: {depth: True} for key in keys if isinstance(key, str)}
    return StoredRegistry(options.get("--library"), depth, options.get("--chipset"), claims)


def differences(stored: StoredRegistry, findings: Sequence[ModelFinding], gone: Sequence[str]) -> list[str]:
    """What a stored registry says that does not hold, one line each; the library lacks models that are `gone`."""
    lines = [f"{name}: the library has no such model" for name in gone]
    for finding in findings:
        for stage, passed in stored.claims[finding.name].items():
            verdict = finding.stages[stage]
            if verdict.ok != passed:
                now = f"fails now: {verdict.message}" if passed else "passes now"
                lines.append(f"{finding.name}: {stage.label}: {now}")
    return lines
