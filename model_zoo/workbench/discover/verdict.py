"""What discover finds out: the models of a library, and a verdict for each stage on a model's way to the NPU."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, computed_field

from model_zoo.utils.hashing import sha256_file

#: What the stage onnx leaves in the work directory of its child process, and the stage npu starts from.
ONNX_FILE = "model.onnx"


class SurveyStage(StrEnum):
    """A step on the way to the NPU. FX and torch.export start from the module, the others from the step before."""

    FX = "fx"
    EXPORT = "export"
    ONNX = "onnx"
    NPU = "npu"

    @property
    def label(self) -> str:
        """What a model that passes is called."""
        return {"fx": "FX-traceable", "export": "torch.export", "onnx": "ONNX", "npu": "whole on NPU"}[self]

    @property
    def needs(self) -> SurveyStage | None:
        """The stage without which this one cannot be tried."""
        return {SurveyStage.ONNX: SurveyStage.EXPORT, SurveyStage.NPU: SurveyStage.ONNX}.get(self)

    def up_to(self) -> list[SurveyStage]:
        """The stages that a depth of this name runs."""
        stages = list(SurveyStage)
        return stages[: stages.index(self) + 1]


class Reason(StrEnum):
    """Classes of reasons for a failure."""

    CONTROL_FLOW = "dynamic control flow"
    CONTAINERS = "list or dict inputs"
    NON_TENSOR = "non-tensor operations"
    DIFFERS = "the traced graph is not the model"
    NO_INPUT = "no input known"
    BUILD = "cannot be built"
    PACKAGE = "needs a package"
    NETWORK = "needs the network"
    TIME = "timeout"
    MEMORY = "memory"
    CRASH = "crash"
    FALLBACK = "nodes that the NPU does not take"
    EARLIER = "not tried"
    OTHER = "other"


class StageVerdict(BaseModel, frozen=True):
    """What came out of one stage.

    Args:
        seconds: Wall time on the host.
        reason: Why it failed; None if it did not.
        message: The original message, in one line.
        where: The line of the model's code where it stopped, as "file:line in function: code"; "" if that is not known.
        facts: What else was measured, e.g. shapes of outputs or nodes on the NPU; JSON values.
    """

    seconds: float = 0.0
    reason: Reason | None = None
    message: str = ""
    where: str = ""
    facts: dict[str, Any] = {}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        return self.reason is None


class Attempt(BaseModel, frozen=True):
    """One stage of one model: the input it was tried with, and why that one; and the verdict."""

    input: str = ""
    verdict: StageVerdict


class ListedModel(BaseModel, frozen=True):
    """A model of a library.

    Args:
        module: Where its constructor is defined.
        path: The constructor as one imports it, e.g. "torchvision.models.detection.ssd300_vgg16".
        call: How it is built here.
        family: What it is listed under.
    """

    name: str
    module: str
    path: str
    call: str
    family: str


class Listing(BaseModel, frozen=True):
    """The models of a library.

    Args:
        left_out: What else might be a model, and why it is not built, by name.
        sources: Digests of the Python files behind a user's module, by path.
    """

    models: list[ListedModel]
    left_out: dict[str, str] = {}
    sources: dict[str, str] = {}

    @property
    def is_current(self) -> bool:
        """Whether every source is as it was."""
        return all(Path(p).is_file() and sha256_file(Path(p)) == sha256 for p, sha256 in self.sources.items())


class ModelFinding(ListedModel, frozen=True):
    """Everything found out about one model; `input` is what it was tried with, and why that."""

    input: str
    stages: dict[SurveyStage, StageVerdict]

    @property
    def ok(self) -> bool:
        """Whether it passes every stage that was run."""
        return all(verdict.ok for verdict in self.stages.values())

    @property
    def deepest_ok(self) -> bool:
        """Whether it passes the last stage that was run."""
        return list(self.stages.values())[-1].ok


class SurveyReport(BaseModel, frozen=True):
    """What `model-zoo discover --json` prints."""

    library: str
    depth: SurveyStage
    chipset: str | None
    time_limit_s: float = 0.0
    versions: dict[str, str] = {}
    models: list[ModelFinding]
    skipped: list[str] = []
    left_out: dict[str, str] = {}
