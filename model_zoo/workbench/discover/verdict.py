"""What is found out about a model: one verdict for each stage on its way to the NPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    """Steps on the way to the NPU. FX and torch.export start from the module itself, the others from the one before."""

    FX = "fx"
    EXPORT = "export"
    ONNX = "onnx"
    NPU = "npu"

    @property
    def label(self) -> str:
        """What a model that passes is called."""
        return {
            Stage.FX: "FX-traceable",
            Stage.EXPORT: "torch.export",
            Stage.ONNX: "ONNX",
            Stage.NPU: "whole on NPU",
        }[self]

    @property
    def needs(self) -> Stage | None:
        """The stage without which this one cannot be tried."""
        return {Stage.ONNX: Stage.EXPORT, Stage.NPU: Stage.ONNX}.get(self)

    def up_to(self) -> list[Stage]:
        """The stages that a depth of this name runs."""
        stages = list(Stage)
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


@dataclass(frozen=True)
class Verdict:
    """What came out of one stage.

    Args:
        seconds: Wall time on the host.
        reason: Why it failed; None if it did not.
        message: The original message, in one line.
        where: The line of the model's code where it stopped, as "file:line in function: code"; "" if that is not known.
        facts: What else was measured, e.g. shapes of outputs or nodes on the NPU; JSON values.
    """

    seconds: float
    reason: Reason | None = None
    message: str = ""
    where: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the model passes."""
        return self.reason is None

    @property
    def is_lasting(self) -> bool:
        """Whether trying again on the same machine would give the same, as far as one can know."""
        return self.reason not in (Reason.PACKAGE, Reason.NETWORK)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ok": self.ok, **asdict(self)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Verdict:
        """Read back what `to_json` gave."""
        reason = Reason(fields["reason"]) if fields["reason"] else None
        return cls(float(fields["seconds"]), reason, str(fields["message"]), str(fields["where"]), fields["facts"])


@dataclass(frozen=True)
class Candidate:
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


@dataclass(frozen=True)
class Finding:
    """Everything found out about one model.

    Args:
        input: What it was given, and why that.
    """

    candidate: Candidate
    input: str
    verdicts: Mapping[Stage, Verdict]

    @property
    def ok(self) -> bool:
        """Whether it passes every stage that was run."""
        return all(verdict.ok for verdict in self.verdicts.values())

    @property
    def deepest_ok(self) -> bool:
        """Whether it passes the last stage that was run."""
        return list(self.verdicts.values())[-1].ok

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        stages = {str(stage): verdict.to_json() for stage, verdict in self.verdicts.items()}
        return {**asdict(self.candidate), "input": self.input, "stages": stages}
