"""The chipsets and devices we know, and how a name finds one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from model_zoo.targets.hexagon import GENERATIONS, HexagonGeneration
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import unknown_name


@dataclass(frozen=True)
class Chipset:
    """One Snapdragon or Dragonwing part.

    Args:
        htp: Generation of the Hexagon NPU, e.g. 75.
        soc_model: The number QNN takes to name this part.
        fp16: Whether the NPU computes in half precision; that of its generation unless the table says otherwise.
        vtcm_mb: Tightly coupled memory of the NPU in MB; None where there is no HTP.
        vtcm_assumed: No public figure: `vtcm_mb` is the smallest that is plausible.
    """

    name: str
    marketing_name: str
    world: str
    htp: int
    soc_model: int
    fp16: bool
    weight_sharing: bool
    reference_device: str
    aliases: tuple[str, ...] = ()
    vtcm_mb: int | None = None
    vtcm_assumed: bool = False

    @property
    def npu(self) -> str:
        """The generation of its NPU as people name it, e.g. "v75"."""
        return f"v{self.htp}"

    @property
    def generation(self) -> HexagonGeneration:
        """What all NPUs of its generation have in common."""
        return GENERATIONS[self.htp]

    @property
    def has_htp(self) -> bool:
        """Whether QNN compiles for this part's NPU."""
        return self.generation.compiles


@dataclass(frozen=True)
class Device:
    """A phone, PC, board or car that carries a chipset."""

    name: str
    chipset: str
    form_factor: str
    os: str
    npu_count: int


@cache
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    import yaml

    text = resources.files("model_zoo.targets").joinpath("chipsets.yaml").read_text(encoding="utf-8")
    table: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(text)
    return table


@cache
def chipsets() -> dict[str, Chipset]:
    """All chipsets by canonical name."""
    return {
        name: Chipset(
            name=name, **{"fp16": GENERATIONS[fields["htp"]].fp16, **fields, "aliases": tuple(fields["aliases"])}
        )
        for name, fields in _table()["chipsets"].items()
    }


@cache
def devices() -> dict[str, Device]:
    """All devices by name."""
    return {name: Device(name=name, **fields) for name, fields in _table()["devices"].items()}


@cache
def _chipset_names() -> dict[str, Chipset]:
    parts = [(part, (part.name, part.name.removeprefix("qualcomm-"), *part.aliases)) for part in chipsets().values()]
    return {name: part for part, names in parts for name in names}


@checked()
def find_chipset(name: str) -> Chipset:
    """The chipset with this name or alias, in any case.

    Raises:
        UserError: There is none.
    """
    if chipset := _chipset_names().get(name.strip().lower()):
        return chipset
    raise unknown_name("chipset", name, _chipset_names(), "model-zoo chipsets")


@checked()
def find_device(name: str) -> Device:
    """The device with this name, in any case.

    Raises:
        UserError: There is none.
    """
    if device := {each.name.lower(): each for each in devices().values()}.get(name.strip().lower()):
        return device
    raise unknown_name("device", name, devices(), "model-zoo devices")
