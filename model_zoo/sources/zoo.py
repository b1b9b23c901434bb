"""A model of the zoo, by its id."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.base.flags import signature_flags
from model_zoo.base.registry import code_gen, load_model_class, model_folder
from model_zoo.sources.facts import ComponentFacts, component_facts
from model_zoo.sources.torch_network import TORCH_PACKAGES, TorchSource
from model_zoo.utils.code_digest import code_digest, data_files, installed_versions
from model_zoo.utils.download import MAX_BYTES
from model_zoo.utils.errors import ArgumentError, UserError, unknown_name
from model_zoo.utils.files import is_plain_file, path_problem
from model_zoo.utils.hashing import digest, sha256_file

if TYPE_CHECKING:
    from model_zoo.base.collection import Component
    from model_zoo.base.info import CodeGen

#: In a model's folder: what was measured of it.
RECORD = "scorecard.yaml"
#: Files of a model's folder that its network does not read.
_ABOUT_THE_MODEL = (RECORD, "info.yaml", "code-gen.yaml", "requirements.txt")
#: What these run depends on no network: their results have keys of their own.
_NOT_THE_NETWORK = ("model_zoo.datasets", "model_zoo.evaluators")


class ZooSource(TorchSource):
    """A model of the zoo, with arguments of `from_pretrained` and of `get_input_spec`.

    Raises:
        UserError: There is no such model, or an argument is of no use to one.
    """

    def __init__(self, model_id: str, arguments: Mapping[str, Any], input_arguments: Mapping[str, Any]) -> None:
        model_folder(model_id)
        _check_values("model_arguments", arguments)
        _check_values("input_arguments", input_arguments)
        self.name = model_id
        self.arguments: Mapping[str, Any] = _plain(arguments)
        self.input_arguments: Mapping[str, Any] = _plain(input_arguments)
        self._arguments = dict(arguments)
        self.key = digest(
            model_code_digest(model_id),
            model_id,
            self.arguments,
            [sha256_file(path) for path in map(_as_file, arguments.values()) if path],
            installed_versions(*TORCH_PACKAGES),
        )
        super().__init__()

    @property
    def limits(self) -> CodeGen:
        """What code-gen.yaml says of the model."""
        return code_gen(self.name)

    @cached_property
    def components(self) -> dict[str, Component]:
        from model_zoo.base.collection import components_of

        model_class = load_model_class(self.name)
        names = [flag.name for flag in signature_flags(model_class.from_pretrained)]
        for name in self._arguments:
            if name not in names:
                raise unknown_name("argument", name, names, f"model-zoo export {self.name} --help")
        return components_of(model_class.from_pretrained(**self._arguments), self.name)

    def facts(self) -> dict[str, ComponentFacts]:
        return {name: component_facts(component, self.input_arguments) for name, component in self.components.items()}


def model_code_digest(model_id: str) -> str:
    """Digest of what a model's `model.py` runs: its code and all that it imports, and the data in the folders."""
    folder = model_folder(model_id)
    data = (*data_files(folder, without=_ABOUT_THE_MODEL), *data_files(folder.parent / "_shared"))
    return code_digest(f"model_zoo.models.{model_id}.model", data=data, without=_NOT_THE_NETWORK)


def _check_values(argument: str, values: Mapping[str, Any]) -> None:
    """Refuse what no argument of a model takes, and no cache key can hold."""
    for name, value in values.items():
        if not isinstance(value, str | int | float | Path | None):
            problem = f": {name} is {type(value).__name__} {reprlib.repr(value)}"
            raise ArgumentError(argument, problem, "give a text, number, truth value or path")


def _as_file(value: object) -> Path | None:
    """The file that an argument names, if it does."""
    if not isinstance(value, str | Path) or path_problem(value):
        return None
    path = Path(value).expanduser()
    if not is_plain_file(path):
        return None
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} has {path.stat().st_size:,} bytes: no weights here have more than {MAX_BYTES:,}")
    return path


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
