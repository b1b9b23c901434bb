"""What info.yaml and code-gen.yaml may say. Unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import pydantic

from model_zoo.base.yaml_file import read_fields
from model_zoo.targets.chipset import Chipset, chipsets, find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.errors import UserError, nearest, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import ErrorDetails


def _by(parse: Callable[[str], object]) -> pydantic.BeforeValidator:
    """Read a value with the parser that the command line uses."""

    def validate(value: object) -> object:
        try:
            return parse(str(value))
        except UserError as error:
            raise ValueError(str(error)) from error

    return pydantic.BeforeValidator(validate)


def _npu(name: str) -> str:
    npus = {chipset.npu for chipset in chipsets().values()}
    if name not in npus:
        raise unknown_name("NPU", name, sorted(npus), "model-zoo chipsets")
    return name


Text = Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=1)]
Url = Annotated[str, pydantic.StringConstraints(pattern=r"^https?://\S+$")]
PrecisionName = Annotated[Precision, _by(Precision.parse)]
RuntimeName = Annotated[TargetRuntime, _by(TargetRuntime.parse)]
ChipsetName = Annotated[str, _by(lambda name: find_chipset(name).name)]
NpuName = Annotated[str, _by(_npu)]

#: Who may see a model.
ModelStatus = Literal["public", "private", "unpublished"]
#: Kinds of device, as in the device table.
FormFactor = Literal["Phone", "Tablet", "Compute", "Auto", "IoT", "XR"]


class Schema(pydantic.BaseModel):
    """A YAML file with known keys only."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, defer_build=True)


class ModelInfo(Schema):
    """info.yaml: what a person reads about a model.

    Args:
        name: As published, e.g. "YOLOv7".
        id: Name of the folder.
        domain: E.g. "Computer Vision".
        use_case: E.g. "Object Detection".
        license: Of the code and the weights: an SPDX name, or which has which, where they differ.
        deploy_license: Of the exported files, where it differs: that of the weights in them.
        tags: Free words: what it serves as ("backbone", "segmentation"), or what it is good at ("real-time").
        technical_details: Figures by name; `autofill_info_yaml.py` writes parameters, MACs and size.
        dataset: What the weights were trained on.
    """

    name: Text
    id: Text
    status: ModelStatus
    headline: Text
    description: Text
    domain: Text
    use_case: Text
    license: Text
    tags: tuple[Text, ...] = ()
    research_paper: Url | None = None
    research_paper_title: Text | None = None
    deploy_license: Text | None = None
    source_repo: Url | None = None
    technical_details: dict[str, str | int | float] = {}
    applicable_scenarios: tuple[Text, ...] = ()
    related_models: tuple[Text, ...] = ()
    form_factors: tuple[FormFactor, ...] = ()
    dataset: tuple[Text, ...] = ()


class Unsupported(Schema):
    """A target the model cannot be built for, or loses much on. An absent key stands for every value.

    Args:
        npus: Generations as `model-zoo chipsets` names them, e.g. v68.
        weights: The weights this was found with, where it depends on them: others may fare better, so that people are
            warned and their own build's verification decides. If None, the target is refused.
        reason: Shown to the person who asks for it.
    """

    runtime: RuntimeName | None = None
    precision: PrecisionName | None = None
    npus: Annotated[tuple[NpuName, ...], pydantic.Field(min_length=1)] | None = None
    weights: Text | None = None
    reason: Text

    @property
    def target(self) -> str:
        """As people read it, e.g. "w8a8, v68"."""
        return ", ".join(filter(None, (self.runtime, self.precision, *(self.npus or ()))))

    @property
    def described(self) -> str:
        """The reason, and what it rests on."""
        return (
            f"with the weights {self.weights}, and others may fare better: {self.reason}"
            if self.weights
            else self.reason
        )


class CodeGen(Schema):
    """code-gen.yaml: what the model can be built for.

    Args:
        global_requirements_incompatible: Its requirements.txt needs an environment of its own.
    """

    supported_precisions: Annotated[tuple[PrecisionName, ...], pydantic.Field(min_length=1)] = (Precision.FLOAT,)
    supported_runtimes: Annotated[tuple[RuntimeName, ...], pydantic.Field(min_length=1)] = tuple(TargetRuntime)
    unsupported: tuple[Unsupported, ...] = ()
    global_requirements_incompatible: bool = False

    def rule(self, runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> Unsupported | None:
        """What is known against a target, or None; a rule without weights comes before one with them."""
        rules = [
            rule
            for rule in self.unsupported
            if rule.runtime in (None, runtime)
            and rule.precision in (None, precision)
            and (rule.npus is None or (chipset is not None and chipset.npu in rule.npus))
        ]
        return min(rules, key=lambda rule: rule.weights is not None, default=None)

    def unsupported_reason(self, runtime: TargetRuntime, precision: Precision, chipset: Chipset | None) -> str | None:
        """Why the model is not offered for a target, or None."""
        if rule := self.rule(runtime, precision, chipset):
            return rule.described
        checked = (*self.supported_runtimes, *self.supported_precisions)
        unchecked = next((target for target in (runtime, precision) if target not in checked), None)
        return f"{unchecked} was not built and checked for this model" if unchecked else None


SchemaT = TypeVar("SchemaT", bound=Schema)


def read_yaml(path: Path, schema: type[SchemaT]) -> SchemaT:
    """Read and check a file; a `UserError` names the file, and the keys that do not fit the schema."""
    try:
        return schema.model_validate(read_fields(path))
    except pydantic.ValidationError as error:
        problems = [_problem(schema, detail) for detail in error.errors(include_url=False)]
        raise UserError(f"{path}: {'; '.join(problems)}") from error


def _problem(schema: type[Schema], detail: ErrorDetails) -> str:
    """One finding of pydantic in our words."""
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"key '{key}' is missing"
    if detail["type"] == "extra_forbidden":
        valid = (schema if len(detail["loc"]) == 1 else Unsupported).model_fields
        near = nearest(str(detail["loc"][-1]), valid, most=1)
        return f"unknown key '{key}' ({f'did you mean {near[0]}?' if near else 'valid: ' + ', '.join(valid)})"
    if detail["type"] == "value_error":
        return f"'{key}': {detail['ctx']['error']}"
    message = (detail["msg"][0].lower() + detail["msg"][1:]).replace("tuple", "list")
    return f"'{key}': {message}, got {detail['input']!r}"
