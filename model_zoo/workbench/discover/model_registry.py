"""A stored registry: written as Python code, read back as data, and held against what holds now."""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from model_zoo.utils.errors import UserError
from model_zoo.utils.paths import is_plain_file
from model_zoo.workbench.discover.verdict import Finding, Stage

_LARGEST_BYTES = 64 * 2**20
_VARIABLE = "MODEL_REGISTRY"
_COMMAND = ["model-zoo", "discover"]


def registry_code(library: str, depth: Stage, chipset: str | None, made_with: str, findings: Sequence[Finding]) -> str:
    """Python code of a dict from names to constructors: of the models that pass the last stage.

    Args:
        made_with: Versions, for the comment at its head, which also holds the command.
        findings: Sorted by family.
    """
    root = {"torchvision": "torchvision.models", "timm": "timm.models"}.get(library)
    if root:
        imported = f"from {library} import models"
    else:
        root = Path(library).stem if library.endswith(".py") else library
        imported = f"import {root} as models"
    command = [*_COMMAND, "--library", library, "--depth", depth, *(["--chipset", chipset] if chipset else [])]
    lines = [f"# {shlex.join(command)}", f"# {made_with}", imported, "", f"{_VARIABLE} = {{"]
    kept = [finding for finding in findings if finding.deepest_ok]
    for index, (family, members) in enumerate(groupby(kept, key=lambda finding: finding.candidate.family)):
        lines += [""] * (index > 0) + [f"    # {family.capitalize()} family"]
        for each in members:
            path = each.candidate.path.removeprefix(f"{root}.")
            lines.append(f"    {each.candidate.name!r}: models.{path},")
    return "\n".join([*lines, "}", ""])


@dataclass(frozen=True)
class Stored:
    """A registry from a file.

    Args:
        library: None where the file does not say.
        claims: Whether each model passed each stage, by model and stage.
    """

    library: str | None
    depth: Stage
    chipset: str | None
    claims: dict[str, dict[Stage, bool]]


def read_registry(path: Path) -> Stored:
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
        return _from_json(json.loads(text)) if text.lstrip().startswith("{") else _from_code(text)
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError, RecursionError, MemoryError) as error:
        raise UserError(f"{path} holds no registry: {error}", hint) from error


def _from_json(fields: dict[str, Any]) -> Stored:
    claims = {
        str(model["name"]): {Stage(stage): bool(verdict["ok"]) for stage, verdict in model["stages"].items()}
        for model in fields["models"]
    }
    return Stored(str(fields["library"]), Stage(fields["depth"]), fields["chipset"], claims)


def _from_code(text: str) -> Stored:
    names = None
    words = shlex.split(text.partition("\n")[0].removeprefix("# "))
    options = dict(zip(words[2::2], words[3::2], strict=True)) if words[:2] == _COMMAND else {}
    depth = Stage(options.get("--depth", Stage.FX))
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == _VARIABLE for target in node.targets):
            if not isinstance(node.value, ast.Dict):
                raise ValueError(f"{_VARIABLE} is no dict")
            names = [
                key.value for key in node.value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
            ]
    if names is None:
        raise ValueError(f"it sets no {_VARIABLE}")
    claims = {name: {depth: True} for name in names}
    return Stored(options.get("--library"), depth, options.get("--chipset"), claims)


def differences(stored: Stored, findings: Sequence[Finding], gone: Sequence[str]) -> list[str]:
    """What a stored registry says that does not hold, one line each.

    Args:
        gone: Models of the registry that the library does not have.
    """
    lines = [f"{name}: the library has no such model" for name in gone]
    for finding in findings:
        for stage, said in stored.claims[finding.candidate.name].items():
            verdict = finding.verdicts[stage]
            if verdict.ok != said:
                now = f"fails now: {verdict.message}" if said else "passes now"
                lines.append(f"{finding.candidate.name}: {stage.label}: {now}")
    return lines
