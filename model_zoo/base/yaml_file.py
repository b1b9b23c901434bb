"""YAML files that people write: plain values, and errors that name the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from model_zoo.utils.errors import UserError

#: libyaml reads ten times faster; both loaders build plain values only.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_fields(path: Path) -> dict[Any, Any]:
    """Keys and values of a file; none if it is empty. A file that holds something else, or no YAML, is refused."""
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise UserError(f"{path}: must hold keys and values, got a {type(fields).__name__}")
    return fields
