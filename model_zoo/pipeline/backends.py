"""The backends that an evaluation runs a model on."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from model_zoo.targets.chipset import Chipset
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import Toolchain, runtimes_with
from model_zoo.utils.errors import ArgumentError, UserError, unknown_name


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


def check_backends(
    asked: tuple[Backend, ...] | None, chipset: Chipset | None, runtime: TargetRuntime, toolchain: Toolchain
) -> tuple[Backend, ...]:
    """The backends to score.

    Args:
        asked: None: all, but for the emulator where no chipset is named.

    Raises:
        UserError: The emulator cannot run this.
    """
    backends = asked or (tuple(Backend) if chipset else (Backend.TORCH, Backend.CPU))
    if Backend.EMULATOR in backends:
        if chipset is None:
            raise UserError("the NPU emulator needs a chipset", "name one in `chipset`; run `model-zoo chipsets`")
        able = runtimes_with(toolchain, lambda support: support.emulated)
        if runtime not in able:
            other = f'{runtime_hint(able)}, or on="torch,cpu"' if able else 'use on="torch,cpu"'
            raise UserError(f"nothing here can emulate {runtime}", f"{other} to do without")
    return backends
