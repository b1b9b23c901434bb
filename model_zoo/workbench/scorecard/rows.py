"""The rows of a scorecard: what is asked, what was found, and the file that keeps both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_zoo.base.info import CodeGen
from model_zoo.base.registry import code_gen, model_folder
from model_zoo.sources.zoo import RECORD
from model_zoo.targets.chipset import Chipset, chipsets
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import atomic_write


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


@dataclass(frozen=True)
class Row:
    """What came of one build. All figures are of this machine: seconds and memory are the host's, never a device's.

    Args:
        key: Of the model, the code and the tools that made it: another key means that it would be made anew.
        error: Why there is no verified file, in one line; None if there is one.
        npu_nodes: Nodes placed on the NPU, over all components; None where that was not asked.
        nodes: Nodes in all.
        size_bytes: Of all files.
        capture_seconds: From the torch module to ONNX or an exported program.
        quantize_seconds: Graph passes and quantization.
        emulate_seconds: One run on the NPU emulator; None where it was not run.
        emulated_as: The chipset whose emulator stands for this one's, which was not run; None: it was.
        peak_memory_bytes: The largest of the processes that quantized and compiled.
        host_db: SQNR of the worst floating point output on the host CPU against torch; None where all are integers, and
            where the file was compiled only (`emulated_as`).
        emulator_db: The same on the NPU emulator.
        outdated: What changed since in how this build is made, so that its figures no longer hold; None: nothing that
            is known.
    """

    target: Target
    key: str
    date: str
    error: str | None = None
    npu_nodes: int | None = None
    nodes: int | None = None
    size_bytes: int | None = None
    capture_seconds: float | None = None
    quantize_seconds: float | None = None
    compile_seconds: float | None = None
    emulate_seconds: float | None = None
    emulated_as: str | None = None
    peak_memory_bytes: int | None = None
    host_db: float | None = None
    emulator_db: float | None = None
    outdated: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the export gave a file: a verified one, if it was emulated itself."""
        return self.error is None

    def to_json(self) -> dict[str, Any]:
        """Plain values, without empty fields; seconds and dB to two digits."""
        fields = {**{k: str(v) if v else None for k, v in asdict(self.target).items()}, **asdict(self)}
        del fields["target"]
        rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in fields.items()}
        return {key: value for key, value in rounded.items() if value is not None}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Row:
        """Read back what `to_json` gave."""
        rest = dict(fields)
        target = Target(TargetRuntime(rest.pop("runtime")), Precision(rest.pop("precision")), rest.pop("chipset", None))
        return cls(target, **rest)


@dataclass(frozen=True)
class Scorecard:
    """All rows of one model, and the versions of the tools that made them."""

    model_id: str
    rows: tuple[Row, ...] = ()
    versions: dict[str, str] | None = None

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return model_folder(self.model_id) / RECORD

    def with_row(self, row: Row, versions: dict[str, str]) -> Scorecard:
        """The same with a row in the place of an older one for its target."""
        rows = {old.target: old for old in self.rows} | {row.target: row}
        order = {runtime: index for index, runtime in enumerate(TargetRuntime)}
        ranks = {precision: index for index, precision in enumerate(Precision)}
        ranked = sorted(rows.values(), key=lambda r: (order[r.target.runtime], ranks[r.target.precision]))
        return Scorecard(self.model_id, tuple(ranked), versions)

    def write(self) -> None:
        """Keep it in the model's folder."""
        import yaml

        fields = {"tool_versions": self.versions or {}, "rows": [row.to_json() for row in self.rows]}
        with atomic_write(self.path) as temporary:
            temporary.write_text(yaml.safe_dump(fields, sort_keys=False, width=120), encoding="utf-8")


def read_scorecard(model_id: str) -> Scorecard:
    """What is known of a model, without builds that it no longer offers; empty if it was never measured.

    Raises:
        UserError: There is no such model, or its scorecard.yaml is damaged.
    """
    import yaml

    path = model_folder(model_id) / RECORD
    if not path.exists():
        return Scorecard(model_id)
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows, versions = [Row.from_json(row) for row in fields["rows"]], dict(fields["tool_versions"])
    except (yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: damaged: {reason}", "delete it and run `model-zoo scorecard` again") from error
    offered = code_gen(model_id)
    return Scorecard(model_id, tuple(row for row in rows if _is_offered(offered, row.target)), versions)


def targets_of(
    model_id: str,
    runtimes: Sequence[TargetRuntime],
    precisions: Sequence[Precision],
    asked: Sequence[Chipset],
) -> list[Target]:
    """Every build that a model offers among these; builds that share most stages stand together.

    `onnx` and `tflite` files are the same for all chipsets, so they are made once, for none.
    """
    offered = code_gen(model_id)
    found: list[Target] = []
    for runtime in runtimes:
        for precision in precisions:
            for chipset in asked if find_toolchain().support(runtime).needs_chipset else (None,):
                target = Target(runtime, precision, chipset.name if chipset else None)
                if _is_offered(offered, target):
                    found.append(target)
    return found


def _is_offered(offered: CodeGen, target: Target) -> bool:
    chipset = chipsets().get(target.chipset) if target.chipset else None
    support = find_toolchain().support(target.runtime)
    reason = offered.unsupported_reason(target.runtime, target.precision, chipset)
    return reason is None and support.unsupported_reason(target.precision, chipset) is None
