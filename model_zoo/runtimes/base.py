"""What every compiled model is once loaded: named arrays in and out, and callable on torch tensors like its source."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from model_zoo.base.spec import Arrays, InputSpec, check_arrays
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TimedOutputs:
    """Outputs of samples in their order, and the seconds that running took, without loading."""

    outputs: list[Arrays]
    seconds: float


class CompiledModel(ABC):
    """A compiled file, ready to run. `close`, or a `with` block, ends the process that it may have started.

    Args:
        input_spec: Names, shapes and dtypes of the inputs, in call order, in the layout callers use.
        output_names: In the order of the outputs.
    """

    input_spec: InputSpec
    output_names: list[str]

    @checked()
    def run(self, samples: Sequence[Arrays]) -> list[Arrays]:
        """Run many samples, in order.

        Raises:
            UserError: A sample does not fit `input_spec`.
            ModelZooError: The run failed, or went past a limit.
        """
        return self.run_timed(samples).outputs

    def run_timed(self, samples: Sequence[Arrays]) -> TimedOutputs:
        """Run many samples as `run` does. The time says nothing about a device."""
        if not samples:
            return TimedOutputs([], 0.0)
        return self._run([self._fitted(sample, f"sample {index}") for index, sample in enumerate(samples)])

    @abstractmethod
    def _run(self, samples: Sequence[Arrays]) -> TimedOutputs:
        """Run samples that fit."""

    def _fitted(self, sample: Arrays, where: str) -> Arrays:
        """A sample as the file takes it, or UserError."""
        check_arrays(sample, self.input_spec, where)
        return sample

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """End what the model holds open; the next run opens it again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @checked()
    def __call__(self, *tensors: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Run one sample: the inputs by position, in the order of `input_spec`.

        Returns:
            One tensor, or a tuple in the order of `output_names`.

        Raises:
            UserError: The number, shape or dtype of the tensors does not fit `input_spec`.
        """
        import torch

        if len(tensors) != len(self.input_spec):
            raise UserError(
                f"the model takes {len(self.input_spec)} inputs ({', '.join(self.input_spec)}), got {len(tensors)}"
            )
        for name, tensor in zip(self.input_spec, tensors, strict=True):
            if not isinstance(tensor, torch.Tensor):
                raise UserError(f"input '{name}' is {type(tensor).__name__}, which is no tensor")
            if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
                raise UserError(f"input '{name}' is no plain tensor: it is sparse, quantized or without values")
        sample = {name: t.detach().cpu().numpy() for name, t in zip(self.input_spec, tensors, strict=True)}
        (outputs,) = self.run([sample])
        values = tuple(torch.from_numpy(outputs[name]) for name in self.output_names)
        return values[0] if len(values) == 1 else values


class HostModel(CompiledModel):
    """A compiled model that runs on this machine's CPU, where a time means something."""

    @abstractmethod
    def latencies(self, sample: Arrays, runs: int = 50, seconds: float = 10.0) -> list[float]:
        """Time single runs on all cores after a warm-up: at most `runs`, none started after `seconds`.

        Returns:
            Milliseconds of each run, at least one, copying in and out included.
        """


def run_each(run: Callable[[Arrays], Arrays], samples: Sequence[Arrays]) -> TimedOutputs:
    """Run one sample after the other, and time them together."""
    started = time.perf_counter()
    outputs = [run(sample) for sample in samples]
    return TimedOutputs(outputs, time.perf_counter() - started)


def time_calls(call: Callable[[], object], most: int, seconds: float) -> list[float]:
    """Milliseconds of each call: at most so many, at least one, none started after `seconds`."""
    times: list[float] = []
    end = time.monotonic() + seconds
    while not times or (len(times) < most and time.monotonic() < end):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1e3)
    return times


def write_samples(path: Path, samples: Sequence[Arrays]) -> None:
    """Write samples as one .npz: dtypes survive, arrays keep their names."""
    arrays = {f"{index}.{name}": value for index, sample in enumerate(samples) for name, value in sample.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]


def read_samples(path: Path) -> list[Arrays]:
    """Read back what `write_samples` wrote."""
    samples: list[Arrays] = []
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            index, name = key.split(".", 1)
            if int(index) == len(samples):
                samples.append({})
            samples[-1][name] = file[key]
    return samples
