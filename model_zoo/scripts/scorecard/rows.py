"""The rows of a scorecard: a build that was asked for, its outcome, and the file that keeps both."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pydantic

from model_zoo.base.info import CodeGen
from model_zoo.base.registry import code_gen, model_folder
from model_zoo.sources.zoo import RECORD
from model_zoo.targets.chipset import Chipset, chipsets
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import atomic_write

_Rounded = Annotated[float, pydantic.AfterValidator(lambda value: round(value, 2))]


@dataclass(frozen=True)
class Target:
    """One build of a model.

    Args:
        chipset: Canonical name; None for a file that is made for no chipset in particular.
    """

    runtime: TargetRuntime
    precision: Precision
    chipset: str | None

    @property
    def name(self) -> str:
        """As people read it, e.g. "qnn_context_binary w8a8 snapdragon-8gen3"."""
        return " ".join(filter(None, (self.runtime, self.precision, (self.chipset or "").removeprefix("qualcomm-"))))


class Row(pydantic.BaseModel):
    """Outcome of one build. All figures are of this machine: seconds and memory are the host's, never a device's.

    Args:
        key: Digest of the model, the code and the tools: a build with another key is made again.
        error: Why there is no verified file, in one line; None if there is one.
        npu_nodes: Nodes on the NPU, over all components; None if that was not asked.
        nodes: Nodes in all.
        size_bytes: Size of all files.
        capture_seconds: From the torch module to ONNX or an exported program.
        quantize_seconds: Graph passes and quantization.
        emulate_seconds: One run on the NPU emulator; None if it was not run.
        emulated_as: Chipset whose emulator ran instead of this one's; None if this one's ran.
        peak_memory_bytes: The largest of the processes that quantized and compiled.
        host_db: SQNR of the worst floating point output on the host CPU against torch; None if all are integers, or if
            the file was compiled only (`emulated_as`).
        emulator_db: The same on the NPU emulator.
        outdated: A later change in how this build is made, after which its figures no longer hold; None if none is
            known.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    runtime: TargetRuntime
    precision: Precision
    chipset: str | None = None
    key: str = ""
    date: str = ""
    error: str | None = None
    npu_nodes: int | None = None
    nodes: int | None = None
    size_bytes: int | None = None
    capture_seconds: _Rounded | None = None
    quantize_seconds: _Rounded | None = None
    compile_seconds: _Rounded | None = None
    emulate_seconds: _Rounded | None = None
    emulated_as: str | None = None
    peak_memory_bytes: int | None = None
    host_db: _Rounded | None = None
    emulator_db: _Rounded | None = None
    outdated: str | None = None

    @property
    def target(self) -> Target:
        """The build."""
        return Target(self.runtime, self.precision, self.chipset)

    @property
    def passed(self) -> bool:
        """Whether the export wrote a file: a verified one, if it was emulated itself."""
        return self.error is None

    def to_json(self) -> dict[str, Any]:
        """Plain values, without empty fields; `model_validate` reads them back."""
        return self.model_dump(mode="json", exclude_none=True)


class Scorecard(pydantic.BaseModel):
    """All rows of one model, and the versions of the tools that made them."""

    model_config = pydantic.ConfigDict(frozen=True)

    model_id: str
    rows: tuple[Row, ...] = ()
    tool_versions: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """Its file."""
        return model_folder(self.model_id) / RECORD

    def with_row(self, row: Row, versions: dict[str, str]) -> Scorecard:
        """The same with a row in the place of an older one for its target."""
        rows = {old.target: old for old in self.rows} | {row.target: row}
        runtimes, precisions = list(TargetRuntime), list(Precision)
        ranked = sorted(rows.values(), key=lambda r: (runtimes.index(r.runtime), precisions.index(r.precision)))
        return Scorecard(model_id=self.model_id, rows=tuple(ranked), tool_versions=self.tool_versions | versions)

    def write(self) -> None:
        """Write it into the model's folder, a row a line."""
        import yaml

        fields = {"tool_versions": self.tool_versions, "rows": [row.to_json() for row in self.rows]}
        text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=sys.maxsize, default_flow_style=None)
        with atomic_write(self.path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def read_scorecard(model_id: str) -> Scorecard:
    """The scorecard of a model, without builds that it no longer offers; empty if it was never measured."""
    import yaml

    card = Scorecard(model_id=model_id)
    if not card.path.exists():
        return card
    try:
        card = Scorecard(model_id=model_id, **yaml.safe_load(card.path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{card.path}: damaged: {reason}", "delete it and run `model-zoo scorecard` again") from error
    offered = code_gen(model_id)
    return card.model_copy(update={"rows": tuple(row for row in card.rows if _is_offered(offered, row.target))})


def targets_of(
    model_id: str, runtimes: Sequence[TargetRuntime], precisions: Sequence[Precision], asked: Sequence[Chipset]
) -> list[Target]:
    """Every build that a model offers among these; builds that share most stages stand together.

    `onnx` and `tflite` files are the same for all chipsets, so they are made once, for none.
    """

    offered = code_gen(model_id)
    targets = (
        Target(runtime, precision, chipset.name if chipset else None)
        for runtime, precision in itertools.product(runtimes, precisions)
        for chipset in (asked if find_toolchain().support(runtime).needs_chipset else (None,))
    )
    return [target for target in targets if _is_offered(offered, target)]


def _is_offered(offered: CodeGen, target: Target) -> bool:
    chipset = chipsets().get(target.chipset) if target.chipset else None
    support = find_toolchain().support(target.runtime)
    reason = offered.unsupported_reason(target.runtime, target.precision, chipset)
    return reason is None and support.unsupported_reason(target.precision, chipset) is None
