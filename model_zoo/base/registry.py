"""The models there are, by folder. Listing them imports neither torch nor a model.

Each function that takes an id raises a `UserError` with the nearest ids if there is no such model.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from model_zoo.utils.errors import ModelZooError, UserError, unknown_name

if TYPE_CHECKING:
    from model_zoo.base.collection import Model
    from model_zoo.base.info import CodeGen, ModelInfo

#: What a model may be called: it is a folder, a Python module and a command line word.
VALID_ID = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def models_folder() -> Path:
    """The folder that holds one folder a model."""
    return Path(__file__).resolve().parent.parent / "models"


def model_ids() -> list[str]:
    """Ids of all models, sorted."""
    return sorted(
        path.parent.name for path in models_folder().glob("*/info.yaml") if VALID_ID.fullmatch(path.parent.name)
    )


def model_folder(model_id: str) -> Path:
    """The folder of a model."""
    folder = models_folder() / model_id
    if not VALID_ID.fullmatch(model_id) or not (folder / "info.yaml").is_file():
        raise unknown_name("model", model_id, model_ids(), "model-zoo list")
    return folder


def model_info(model_id: str) -> ModelInfo:
    """What info.yaml says about a model; a `UserError` names what is wrong in it."""
    from model_zoo.base.info import ModelInfo, read_yaml

    path = model_folder(model_id) / "info.yaml"
    info = read_yaml(path, ModelInfo)
    if info.id != model_id:
        raise UserError(f"{path}: 'id' is '{info.id}', the folder is called '{model_id}'")
    return info


def model_summary(model_id: str) -> dict[str, str]:
    """Id, use case and headline of a model: all that a list shows, read without the time that checks take."""
    from model_zoo.base.yaml_file import read_fields

    fields = read_fields(model_folder(model_id) / "info.yaml")
    summary = {key: fields.get(key) for key in ("id", "use_case", "headline")}
    if summary["id"] != model_id or not all(isinstance(value, str) and value.strip() for value in summary.values()):
        summary = model_info(model_id).model_dump(include=set(summary))
    return {key: str(value).strip() for key, value in summary.items()}


def code_gen(model_id: str) -> CodeGen:
    """What code-gen.yaml says about a model; the defaults if there is none."""
    from model_zoo.base.info import CodeGen, read_yaml

    path = model_folder(model_id) / "code-gen.yaml"
    return read_yaml(path, CodeGen) if path.exists() else CodeGen()


def load_model_class(model_id: str) -> type[Model]:
    """The class `Model` of the folder's model.py; a `ModelZooError` names a package that is not installed."""
    return cast("type[Model]", _load(model_id, "model", "Model"))


def load_app_class(model_id: str) -> type:
    """The class `App` of the folder's app.py; a `ModelZooError` names a package that is not installed."""
    return cast(type, _load(model_id, "app", "App"))


def load_random_model(model_id: str) -> Model:
    """The model without its published weights: nothing is downloaded."""
    from model_zoo.base.precompiled import BasePrecompiledModel

    model_class = load_model_class(model_id)
    if issubclass(model_class, BasePrecompiledModel):
        return model_class.from_pretrained()
    return model_class.from_pretrained(weights="random")


def _load(model_id: str, module: str, attribute: str) -> Any:
    folder = model_folder(model_id)
    try:
        loaded = importlib.import_module(f"model_zoo.models.{model_id}.{module}")
    except ModuleNotFoundError as error:
        requirements = folder / "requirements.txt"
        if (error.name or "").partition(".")[0] == "model_zoo" or not requirements.exists():
            raise
        hint = f"run `model-zoo install {model_id}`"
        raise ModelZooError(f"{model_id} needs the package {error.name}", hint) from error
    try:
        return getattr(loaded, attribute)
    except AttributeError:
        raise ModelZooError(f"{loaded.__file__} defines no class {attribute}") from None


def lazy_exports(package: str, **modules: str) -> Callable[[str], object]:
    """A package's `__getattr__` (PEP 562) that imports each attribute, from its submodule, only when it is used."""

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
