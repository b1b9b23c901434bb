"""Give a compiled file with channel-last inputs or outputs the interface of the torch model it was made from."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from model_zoo.base.spec import Arrays, TensorSpec
from model_zoo.runtimes.base import CompiledModel, TimedOutputs
from model_zoo.utils.errors import UserError
from model_zoo.utils.layout import channels_first, channels_last
from model_zoo.utils.text import shortened

_MOST_BYTES = 64 * 2**20
#: Batch, channels, and at least one of space.
_CHANNEL_LAST_AXES = 3


class DeclaredTensor(BaseModel, frozen=True):
    """What metadata.json says of a tensor; a channel-last one has the layout NHWC."""

    layout: str | None = None


class DeclaredInterface(BaseModel, frozen=True):
    """What metadata.json says of a file: its inputs in call order, its outputs in order, and class names if any."""

    inputs: dict[str, DeclaredTensor]
    outputs: dict[str, DeclaredTensor]
    labels: tuple[str, ...] | None = None


def read_interface(file: Path) -> DeclaredInterface | None:
    """The interface in the metadata.json beside a file, or None if there is none for it; a damaged one is refused."""
    path = file.parent / "metadata.json"
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        metadata = json.loads(path.read_text(encoding="utf-8"))
        if file.name not in metadata["files"] or file.stem not in metadata["components"]:
            return None
        return DeclaredInterface.model_validate(metadata["components"][file.stem])
    except (ValueError, KeyError, TypeError) as error:
        reason = shortened(" ".join(str(error).split()))
        raise UserError(
            f"{path} is damaged: {reason}", "export the model again, or move the file away from it"
        ) from error


class TorchLayout(CompiledModel):
    """A compiled model in the layout and the order of the torch model that its interface is from."""

    def __init__(self, model: CompiledModel, interface: DeclaredInterface) -> None:
        self.model = model
        tensors = {**interface.inputs, **interface.outputs}
        self.channel_last = frozenset(name for name, tensor in tensors.items() if tensor.layout == "NHWC")
        self._labels = interface.labels
        inputs = _ordered(model.input_spec, interface.inputs)
        self.input_spec = {name: self._torch_spec(name, model.input_spec[name]) for name in inputs}
        self.output_names = _ordered(model.output_names, interface.outputs)

    def labels(self) -> list[str] | None:
        """Class names, as the torch model has them."""
        return list(self._labels) if self._labels is not None else None

    def _torch_spec(self, name: str, spec: TensorSpec) -> TensorSpec:
        if name not in self.channel_last:
            return spec
        _require_channels(name, spec.shape)
        first, *middle, channels = spec.shape
        return replace(spec, shape=(first, channels, *middle))

    def _run(self, samples: Sequence[Arrays]) -> TimedOutputs:
        timed = self.model.run_timed([channels_last(sample, self.channel_last) for sample in samples])
        for name in self.channel_last.intersection(*timed.outputs[:1]):
            _require_channels(name, timed.outputs[0][name].shape)
        return replace(timed, outputs=[channels_first(output, self.channel_last) for output in timed.outputs])

    def close(self) -> None:
        self.model.close()


def _require_channels(name: str, shape: tuple[int, ...]) -> None:
    """Refuse a metadata.json that calls a tensor channel-last which cannot be."""
    if len(shape) < _CHANNEL_LAST_AXES:
        raise UserError(f"metadata.json calls '{name}' {list(shape)} channel-last", "export the model again")


def _ordered(in_file: Collection[str], in_metadata: Collection[str]) -> list[str]:
    return list(in_metadata if set(in_metadata) == set(in_file) else in_file)
