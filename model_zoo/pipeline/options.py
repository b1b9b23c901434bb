"""What people may ask of an export or an evaluation: declared once, for Python and for the command line."""

from __future__ import annotations

import functools
import inspect
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar, get_origin, get_type_hints

from model_zoo.targets.chipset import Chipset, find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import DEFAULT_RUNTIME, RUNTIME_NAMES, TargetRuntime
from model_zoo.toolchains import TOOLCHAINS
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import ArgumentError, UserError, unknown_name
from model_zoo.utils.files import check_writable

_P = ParamSpec("_P")
_A = TypeVar("_A")
_M = TypeVar("_M")
_R = TypeVar("_R")

#: What people write for a precision that is searched.
AUTO = "auto"


class Backend(StrEnum):
    """What runs a model, in the order in which they are scored."""

    TORCH = "torch"
    CPU = "cpu"
    EMULATOR = "emulator"

    @property
    def label(self) -> str:
        return {"torch": "torch", "cpu": "host CPU", "emulator": "NPU emulator"}[self]


def parse_backends(on: str | Sequence[str]) -> tuple[Backend, ...]:
    """Backends by their names; a text holds them with commas between.

    Raises:
        UserError: There is no such backend, or none is named.
    """
    names = [name.strip().lower() for name in (on.split(",") if isinstance(on, str) else on) if name.strip()]
    if not names:
        raise ArgumentError("on", " names nothing", f"give some of {','.join(Backend)}")
    if wrong := next((name for name in names if name not in set(Backend)), None):
        raise unknown_name("backend", wrong, Backend, "model-zoo evaluate MODEL --help")
    return tuple(backend for backend in Backend if backend in names)


def runtime_hint(able: Sequence[TargetRuntime]) -> str | None:
    """Which runtimes to take instead; None if there is none."""
    return "use " + " or ".join(f'runtime="{runtime}"' for runtime in able) if able else None


@dataclass(frozen=True)
class Option:
    """What is said of a field of an options class.

    Args:
        help: One text for the docstring of the Python function and the help of the command.
        group: Heading on the command line.
    """

    help: str
    group: str = ""


def described(options: type) -> dict[str, tuple[Any, Option]]:
    """Type and description of each field of an options class that is described, in order."""
    hints = get_type_hints(options, include_extras=True).items()
    return {name: (hint.__origin__, *hint.__metadata__) for name, hint in hints if get_origin(hint) is Annotated}


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What is built and for what. Each field says what it means; `fields` lists them.

    Raises:
        UserError: A value does not exist or makes no sense.
    """

    chipset: Annotated[
        str | Sequence[str] | None,
        Option("a chipset's name or alias, or several, e.g. sm8650; see `model-zoo chipsets`", "target"),
    ] = None
    runtime: Annotated[str, Option(f"one of {', '.join(RUNTIME_NAMES)}", "target")] = DEFAULT_RUNTIME
    toolchain: Annotated[str, Option(f"who compiles: {', '.join(TOOLCHAINS)}", "target")] = "local"
    precision: Annotated[
        str | None,
        Option(
            f"{', '.join(Precision)}, or auto: the cheapest bits for each tensor that keep the metric; default: the "
            "first that model, runtime and chipset support",
            "target",
        ),
    ] = None
    calibration_data: Annotated[
        str | Path | None,
        Option("a folder of pictures, an .npz with an array per input, or `random` for noise", "calibration"),
    ] = None
    num_calibration_samples: Annotated[int | None, Option("default: up to 100", "calibration")] = None
    max_drop: float | None = None
    use_cache: Annotated[bool, Option("stages of earlier runs may serve")] = True

    @cached_property
    def chipsets(self) -> tuple[Chipset, ...]:
        names = [self.chipset] if isinstance(self.chipset, str) else self.chipset or ()
        return tuple(dict.fromkeys(find_chipset(name) for name in names))

    @cached_property
    def target_runtime(self) -> TargetRuntime:
        return TargetRuntime.parse(self.runtime)

    @property
    def auto(self) -> bool:
        return self.precision is not None and self.precision.strip().lower() == AUTO

    @cached_property
    def fixed_precision(self) -> Precision | None:
        """The precision, or what its search starts from; None: the first that is supported."""
        if self.auto:
            return Precision.W8A8
        return None if self.precision is None else Precision.parse(self.precision)

    def __post_init__(self) -> None:
        _ = self.chipsets, self.target_runtime, self.fixed_precision
        if self.max_drop is not None and not self.max_drop >= 0:
            raise ArgumentError(
                "max_drop", f" {self.max_drop:g}: give 0 or more in the unit of the metric, or inf for any"
            )


@dataclass(frozen=True, kw_only=True)
class ExportOptions(BuildOptions):
    """What people may ask of an export."""

    max_drop: Annotated[
        float | None,
        Option(
            "what the precision auto may lose against torch, in the unit of the metric; default: what the evaluator "
            "counts as fine",
            "target",
        ),
    ] = None
    skip_compiling: Annotated[bool, Option("check capture and quantization only; no files", "work")] = False
    skip_profiling: Annotated[bool, Option("no latency on this machine's CPU", "work")] = False
    skip_inferencing: Annotated[bool, Option("run the result nowhere: it is then not verified", "work")] = False
    output_dir: Annotated[
        str | Path, Option("files go to OUTPUT_DIR/<model>/<runtime>-<precision>-<chipset>/", "work")
    ] = Path("build")
    zip_assets: Annotated[bool, Option("write a .zip beside each output folder", "work")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_drop is not None and not self.auto:
            raise UserError(
                'max_drop says what precision="auto" may lose', 'give precision="auto", or leave max_drop out'
            )


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(BuildOptions):
    """What people may ask of an evaluation."""

    dataset_name: Annotated[str | None, Option("default: the model's first evaluation dataset", "data")] = None
    num_samples: Annotated[
        int | None,
        Option("default: the whole test set; the emulator takes as many of them as the interval needs", "data"),
    ] = None
    seed: Annotated[int, Option("which samples are taken", "data")] = 0
    on: Annotated[
        str | Sequence[str] | None,
        Option("some of torch,cpu,emulator; default: torch,cpu, and the emulator if a chipset is named", "where"),
    ] = None
    workers: Annotated[int | None, Option("emulators at once; default: one for each core", "where")] = None
    interval: Annotated[
        float | None,
        Option(
            "the emulator takes so many samples that the 95% interval of its drop is this wide, in the unit of the "
            "metric; default: twice the drop that still counts as fine, within half an hour",
            "verdict",
        ),
    ] = None
    max_drop: Annotated[
        float | None,
        Option(
            "fail if the model loses more than this against torch anywhere, in the unit of the metric; inf: never; "
            "default: what the evaluator counts as fine",
            "verdict",
        ),
    ] = None
    report_file: Annotated[str | Path | None, Option("write an HTML page too", "verdict")] = None

    @cached_property
    def backends(self) -> tuple[Backend, ...] | None:
        """Where the model is scored; None: everywhere."""
        return None if self.on is None else parse_backends(self.on)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_samples is not None and self.num_samples < 1:
            raise ArgumentError("num_samples", f" {self.num_samples}: ask for at least 1")
        if not 0 <= self.seed < 2**32:
            raise ArgumentError("seed", f" {self.seed}: a seed is 0 to {2**32 - 1}")
        compared = self.backends is None or Backend.TORCH in self.backends or self.auto  # whose search scores torch
        if self.max_drop is not None and self.max_drop < math.inf and not compared:
            raise ArgumentError("max_drop", f" {self.max_drop:g}: there is no drop without torch", "add torch to `on`")
        if self.interval is not None and not 0 < self.interval < math.inf:
            raise ArgumentError("interval", f" {self.interval:g}: a width is more than 0, in the unit of the metric")
        if self.workers is not None and self.workers < 1:
            raise ArgumentError("workers", f" {self.workers}: at least 1 is needed")
        if len(self.chipsets) > 1:
            raise UserError("an evaluation takes one chipset", "run it once for each")
        if self.report_file is not None:
            check_writable(Path(self.report_file), "name another file in report_file")


def keywords_of(
    options: Callable[_P, _A],
) -> Callable[[Callable[[_M, _A], _R]], Callable[Concatenate[_M, _P], _R]]:
    """Give a function of a model and an options object the fields of the options class as keyword arguments.

    Their types are checked as `checked` does, and their help texts become the `Args:` of the docstring.
    """

    def decorate(function: Callable[[_M, _A], _R]) -> Callable[Concatenate[_M, _P], _R]:
        @functools.wraps(function)
        def call(model: _M, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            return function(model, options(*args, **kwargs))

        model, *_ = inspect.signature(function).parameters.values()
        texts = described(options)  # type: ignore[arg-type]
        given = inspect.signature(options).parameters
        call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [model, *(given[name].replace(annotation=kind) for name, (kind, _) in texts.items())]
        )
        lines = [f"{name}: {text.help}." for name, (_, text) in texts.items()]
        arguments = "\n".join(
            textwrap.fill(line, 116, initial_indent="    ", subsequent_indent="        ") for line in lines
        )
        call.__doc__ = (inspect.getdoc(function) or "").replace("\n\nRaises:", f"\n{arguments}\n\nRaises:")
        # A ParamSpec has no way to say that the model may be given by name too.
        return checked(**{model.name: Any}, **{name: kind for name, (kind, _) in texts.items()})(call)  # type: ignore[return-value]

    return decorate
