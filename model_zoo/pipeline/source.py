"""Where a model comes from, and the facts about it that a plan needs without loading torch."""

from __future__ import annotations

import itertools
import re
import reprlib
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.base.flags import signature_flags
from model_zoo.base.spec import InputSpec, TensorSpec, random_arrays
from model_zoo.checkpoints.state_dict import check_weights
from model_zoo.pipeline.cache import StageCache
from model_zoo.targets.chipset import Chipset, chipsets
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.download import MAX_BYTES
from model_zoo.utils.errors import ArgumentError, UserError, unknown_name
from model_zoo.utils.hashing import digest, sha256_file
from model_zoo.utils.paths import is_plain_file, path_problem

if TYPE_CHECKING:
    import torch

    from model_zoo.base.collection import Component, Model
    from model_zoo.datasets.base import BaseDataset, Split

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_LONGEST_NAME = 200

#: A finished model's packages: another version may give other numbers.
_MODEL_PACKAGES = ("torch", "torchvision", "numpy", "timm", "transformers")

#: In a model's folder: what was measured of it. Changing it changes nothing else.
RECORD = "scorecard.yaml"


def installed_versions(*packages: str) -> dict[str, str]:
    """Versions of the packages that are installed, without importing them."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


#: What stands above this room: nothing that is built depends on it.
_ABOVE = ("__init__.py", "__main__.py", "cli.py", "hub", "models", "scripts", "workbench")


@cache
def code_digest(*above: str) -> str:
    """Digest of this room and those below it: code, tables, and weights that lie there.

    Args:
        above: Folders of the package above this room that count too, e.g. "models/_shared".
    """
    root = Path(str(resources.files("model_zoo")))
    rooms = [path for path in root.iterdir() if path.name not in _ABOVE]
    files = sorted(
        path
        for room in (*rooms, *(root / folder for folder in above))
        for path in (room.rglob("*") if room.is_dir() else [room])
        if path.suffix in (".py", ".yaml", ".safetensors", ".json") and path.name != RECORD and path.is_file()
    )
    return digest([[str(path.relative_to(root)), sha256_file(path)] for path in files])


@dataclass(frozen=True)
class ComponentFacts:
    """What the pipeline must know of one component.

    Args:
        evaluator: Where the evaluator's class is, as "module:class"; None where there is none.
        outputs_16bit: Outputs that 8 bits are too coarse for.
        unsupported: Reason by "runtime precision chipset", for what this component cannot be built for.
        precompiled: The asset to bundle, for a component without source.
        tokenizer: The file that turns text into the component's token ids, if it takes text and the file is known.
    """

    inputs: InputSpec
    output_names: tuple[str, ...]
    channel_last_inputs: tuple[str, ...] = ()
    channel_last_outputs: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    calibration_dataset: str | None = None
    eval_datasets: tuple[str, ...] = ()
    evaluator: str | None = None
    mixed_percentage: float = 30.0
    outputs_16bit: tuple[str, ...] = ()
    unsupported: Mapping[str, str] | None = None
    precompiled: bool = False
    tokenizer: str | None = None

    def dataset(self, name: str, split: Split) -> BaseDataset:
        """Open a dataset for this component.

        Raises:
            UserError: There is none of this name, or it cannot feed the component.
            MissingDataError: The data, or the tokenizer for it, is not on this machine.
        """
        from model_zoo.datasets import load_dataset

        return load_dataset(name, self.inputs, split, self.tokenizer)

    def unsupported_reason(self, runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> str | None:
        """Why this component cannot be built for a target, or None."""
        return (self.unsupported or {}).get(_target_key(runtime, precision, chipset))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        fields = dict(vars(self))
        fields["inputs"] = {name: tensor.to_json() for name, tensor in self.inputs.items()}
        fields["unsupported"] = dict(self.unsupported or {})
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ComponentFacts:
        """Read back what `to_json` gave."""
        lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        lists["inputs"] = {name: TensorSpec.from_json(tensor) for name, tensor in fields["inputs"].items()}
        return cls(**lists)


class ModelSource:
    """A model that is loaded only when a stage really needs it.

    Args:
        name: Names the output folder and files.
        key: Equal keys mean equal models; part of every cache key.
    """

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        self._programs: dict[str, torch.export.ExportedProgram] = {}

    @cached_property
    def components(self) -> dict[str, Component | torch.nn.Module]:
        """The parts by file stem, in evaluation mode."""
        raise NotImplementedError

    def facts(self, cache: StageCache) -> dict[str, ComponentFacts]:
        """Facts of each component."""
        raise NotImplementedError

    def program(self, stem: str, inputs: InputSpec) -> torch.export.ExportedProgram:
        """One component as torch traces it: once, whatever files are made of it.

        Raises:
            ModelZooError: It cannot be traced.
        """
        from model_zoo.pipeline.capture import export_program

        if stem not in self._programs:
            module: torch.nn.Module = self.components[stem]  # type: ignore[assignment]
            self._programs[stem] = export_program(module, random_arrays(inputs))
        return self._programs[stem]


class ZooSource(ModelSource):
    """A model of the zoo, by id.

    Args:
        model_arguments: For `from_pretrained`.
        input_arguments: For `get_input_spec`.
    """

    def __init__(self, model_id: str, model_arguments: Mapping[str, Any], input_arguments: Mapping[str, Any]) -> None:
        from model_zoo.base.registry import model_folder

        model_folder(model_id)
        _check_values("model_arguments", model_arguments)
        _check_values("input_arguments", input_arguments)
        self.model_id = model_id
        self.model_arguments = dict(model_arguments)
        self.input_arguments = dict(input_arguments)
        files = [sha256_file(path) for path in map(_as_file, self.model_arguments.values()) if path]
        key = digest(
            code_digest("models/_shared", f"models/{model_id}"),
            model_id,
            _plain(self.model_arguments),
            files,
            installed_versions(*_MODEL_PACKAGES),
        )
        super().__init__(model_id, key)

    @cached_property
    def model(self) -> Model:
        """The loaded model."""
        from model_zoo.base.registry import load_model_class

        model_class = load_model_class(self.model_id)
        names = [flag.name for flag in signature_flags(model_class.from_pretrained)]
        check_arguments(self.model_id, self.model_arguments, names)
        model: Model = model_class.from_pretrained(**self.model_arguments)
        return model

    @cached_property
    def components(self) -> dict[str, Component | torch.nn.Module]:
        from model_zoo.base.collection import components_of

        return dict(components_of(self.model, self.model_id))

    def facts(self, cache: StageCache) -> dict[str, ComponentFacts]:
        key = [self.key, _plain(self.input_arguments)]

        def make(folder: Path) -> dict[str, Any]:
            return {
                name: component_facts(component, self.input_arguments).to_json()
                for name, component in self.components.items()
            }

        value = cache.get_or_make("facts", key, make).value
        return {name: ComponentFacts.from_json(fields) for name, fields in value.items()}


class GivenSource(ModelSource):
    """A model object of the caller's. It has no key that outlives the run, so its capture is always made anew.

    Args:
        spec: Needed for a plain torch module, which does not bring one.
        output_names: For a plain torch module; default: output_0, output_1, …
    """

    def __init__(
        self, model: Model | torch.nn.Module, name: str, spec: InputSpec | None, output_names: Sequence[str] | None
    ) -> None:
        import torch

        from model_zoo.base.collection import CollectionModel
        from model_zoo.base.precompiled import BasePrecompiledModel

        if not isinstance(model, (torch.nn.Module, CollectionModel, BasePrecompiledModel)):
            problem = f": cannot export {type(model).__name__} {reprlib.repr(model)}"
            raise ArgumentError("model", problem, "give a zoo id, a zoo model or a torch module")
        if not _SAFE_NAME.fullmatch(name):
            raise UserError(
                f"the name {reprlib.repr(name)} names files: use up to 100 letters, digits, '_', '-' and '.'",
                "e.g. my_model",
            )
        if isinstance(model, torch.nn.Module):
            check_weights(model)
        _check_names("input_spec", None if spec is None else list(spec), set())
        _check_names("output_names", output_names, set(spec or ()))
        super().__init__(name, uuid.uuid4().hex)
        self._model = model
        self._spec = spec
        self._output_names = None if output_names is None else tuple(output_names)

    @cached_property
    def components(self) -> dict[str, Component | torch.nn.Module]:
        from model_zoo.base.collection import CollectionModel, components_of
        from model_zoo.base.model import BaseModel
        from model_zoo.base.precompiled import BasePrecompiledModel

        if isinstance(self._model, (BaseModel, CollectionModel, BasePrecompiledModel)):
            return dict(components_of(self._model, self.name))
        return {self.name: self._model.eval()}

    def facts(self, cache: StageCache) -> dict[str, ComponentFacts]:
        from model_zoo.base.model import BaseModel
        from model_zoo.base.precompiled import BasePrecompiledModel

        facts = {}
        for name, component in self.components.items():
            if isinstance(component, (BaseModel, BasePrecompiledModel)):
                found = component_facts(component, {})
                if self._spec is not None:
                    found = ComponentFacts(**{**vars(found), "inputs": self._spec})
            else:
                found = self._module_facts(component)
            facts[name] = found
        return facts

    def _module_facts(self, module: torch.nn.Module) -> ComponentFacts:
        if self._spec is None:
            raise UserError("a plain torch module needs input_spec", "give export(module, input_spec={...})")
        names = self._output_names
        if names is None:
            import torch

            from model_zoo.base.model import call_torch

            with torch.inference_mode():
                names = tuple(f"output_{i}" for i, _ in enumerate(call_torch(module, random_arrays(self._spec))))
        return ComponentFacts(inputs=self._spec, output_names=names)


def _check_values(argument: str, values: Mapping[str, Any]) -> None:
    """Refuse what no argument of a model takes, and no cache key can hold."""
    for name, value in values.items():
        if not isinstance(value, str | int | float | Path | None):
            problem = f": {name} is {type(value).__name__} {reprlib.repr(value)}"
            raise ArgumentError(argument, problem, "give a text, number, truth value or path")


def _check_names(argument: str, names: Sequence[str] | None, taken: Collection[str]) -> None:
    """Refuse names of tensors that no file can hold.

    Raises:
        UserError: There are none, or one is empty, long, not printable, or given twice.
    """
    if names is None:
        return
    if not names:
        raise ArgumentError(argument, " names nothing", "leave it out, or name at least one tensor")
    for index, name in enumerate(names):
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise ArgumentError(argument, f": {reprlib.repr(name)} is no name of a tensor", "e.g. image")
        if name in taken or name in names[:index]:
            raise ArgumentError(argument, f": the name {reprlib.repr(name)} is given twice", "choose another")


def component_facts(component: Any, input_arguments: Mapping[str, Any]) -> ComponentFacts:
    """Ask a component for everything a plan needs, for all targets at once."""
    from model_zoo.base.precompiled import BasePrecompiledModel

    if isinstance(component, BasePrecompiledModel):
        return ComponentFacts(inputs={}, output_names=(), precompiled=True)
    labels = component.labels()
    evaluator = component.get_evaluator()
    targets = itertools.product(TargetRuntime, Precision, [None, *chipsets().values()])
    reasons: dict[str, str] = {
        _target_key(*target): reason for target in targets if (reason := component.get_unsupported_reason(*target))
    }
    return ComponentFacts(
        inputs=component.input_spec(**input_arguments),
        output_names=tuple(component.get_output_names()),
        channel_last_inputs=tuple(component.get_channel_last_inputs()),
        channel_last_outputs=tuple(component.get_channel_last_outputs()),
        labels=tuple(labels) if labels else None,
        calibration_dataset=component.calibration_dataset_name(),
        eval_datasets=tuple(component.eval_datasets()) if evaluator else (),
        evaluator=f"{evaluator.__module__}:{evaluator.__qualname__}" if evaluator else None,
        outputs_16bit=tuple(component.get_16bit_outputs()),
        mixed_percentage=float(component.get_hub_litemp_percentage(Precision.W8A8_MIXED_INT16)),
        unsupported=reasons,
        tokenizer=str(tokenizer.resolve()) if (tokenizer := component.tokenizer_path()) else None,
    )


def _target_key(runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> str:
    return f"{runtime} {precision} {chipset.name if chipset else '-'}"


def check_arguments(model_id: str, arguments: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse arguments that the model does not have.

    Raises:
        UserError: Naming the nearest that it has.
    """
    for name in arguments:
        if name not in names:
            raise unknown_name("argument", name, names, f"model-zoo export {model_id} --help")


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
