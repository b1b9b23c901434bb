"""The places an evaluation runs a model in."""

from __future__ import annotations

from enum import StrEnum

from model_zoo.targets.chipset import Chipset
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import Toolchain, runtimes_with
from model_zoo.utils.errors import ArgumentError, UserError, unknown_name


class Backend(StrEnum):
    """Where a model runs, in the order in which the places are scored."""

    TORCH = "torch"
    CPU = "cpu"
    EMULATOR = "emulator"

    @property
    def label(self) -> str:
        """For tables."""
        return {"torch": "torch", "cpu": "host CPU", "emulator": "NPU emulator"}[self]


def parse_backends(on: str, skip_torch: bool = False, compute_quant_cpu: bool = False) -> tuple[Backend, ...]:
    """The places that `--on` names.

    Args:
        on: Names with commas between.
        skip_torch: Whether --skip-torch-accuracy was given.
        compute_quant_cpu: Whether --compute-quant-cpu-accuracy was given.

    Raises:
        UserError: There is no such place, none is named, or two flags contradict each other.
    """
    names = [name.strip().lower() for name in on.split(",") if name.strip()]
    if not names:
        raise ArgumentError("on", " names no place", f"give some of {','.join(Backend)}")
    if wrong := next((name for name in names if name not in set(Backend)), None):
        raise unknown_name("place", wrong, Backend, "model-zoo evaluate MODEL --help")
    if skip_torch and Backend.TORCH in names:
        raise UserError("--skip-torch-accuracy contradicts --on with torch", "leave one of them out")
    if compute_quant_cpu and Backend.CPU not in names:
        raise UserError("--compute-quant-cpu-accuracy contradicts --on without cpu", "leave one of them out")
    return tuple(place for place in Backend if place in names)


def check_backends(
    asked: tuple[Backend, ...] | None, chipset: Chipset | None, runtime: TargetRuntime, toolchain: Toolchain
) -> tuple[Backend, ...]:
    """The places to score.

    Args:
        asked: None: all, but for the emulator where no chipset is named.

    Raises:
        UserError: The emulator cannot run this.
    """
    places = asked or (tuple(Backend) if chipset else (Backend.TORCH, Backend.CPU))
    if Backend.EMULATOR in places:
        if chipset is None:
            raise UserError("the NPU emulator needs a chipset", "name it with --chipset; run `model-zoo chipsets`")
        able = runtimes_with(toolchain, lambda support: support.emulated)
        if runtime not in able:
            other = f"use --target-runtime {' or '.join(able)}, or --on" if able else "use --on"
            raise UserError(f"nothing here can emulate {runtime}", f"{other} torch,cpu to do without")
    return places
