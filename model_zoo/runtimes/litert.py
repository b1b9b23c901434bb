"""Run a LiteRT file on the host CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from model_zoo.base.spec import Arrays, InputSpec, TensorSpec, check_arrays
from model_zoo.runtimes.base import CompiledModel, read_samples, write_samples
from model_zoo.runtimes.litert_file import narrow_integers
from model_zoo.utils.arguments import checked
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import ChildFailedError, Limits, run_child

_WORKER = "model_zoo.runtimes.litert_file"
_LIMITS = Limits(seconds=600.0)


def require_packages(*packages: str) -> None:
    """Refuse if a package of the extra `tflite` is absent.

    Raises:
        UserError: With the pip line.
    """
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        raise UserError(
            f"the runtime tflite needs {', '.join(absent)}, not installed here",
            'run `pip install ".[tflite]"` in the clone',
        )


class LitertModel(CompiledModel):
    """A .tflite file as a callable on torch tensors, in the layout of the file. It runs in a child process each call.

    Inputs and outputs are in the order of the model. The converter turns 64-bit integers into 32-bit ones: inputs of
    either width are taken, outputs stay 32-bit.

    Args:
        path: A file with one signature.
        limits: What one call may use.

    Raises:
        UserError: The file is missing, damaged, or no LiteRT file, or LiteRT is not installed.
    """

    def __init__(self, path: str | Path, limits: Limits = _LIMITS) -> None:
        require_packages("ai_edge_litert")
        self.path = Path(path).resolve()
        self.limits = limits
        if not self.path.is_file():
            raise UserError(f"there is no file {path}")
        with self.path.open("rb") as file:
            if file.read(8)[4:] != b"TFL3":
                raise UserError(f"{path} is no LiteRT file")
        try:
            with self._child("load", {"task": "describe"}, ()) as (found, _):
                self.input_spec = _read_spec(found["inputs"])
                self.output_spec = _read_spec(found["outputs"])
        except ChildFailedError as error:
            raise UserError(f"{path} cannot be loaded as LiteRT: {error.message}") from error
        self.output_names = list(self.output_spec)

    @checked()
    def run(self, samples: Sequence[Arrays]) -> list[Arrays]:
        """Run many samples in one child process.

        Args:
            samples: Shapes and dtypes as in `input_spec`; int64 is taken for int32.

        Raises:
            UserError: A sample does not fit `input_spec`.
            ModelZooError: The run failed, or went past a limit.
        """
        if not samples:
            return []
        with self._child("run", {"task": "run"}, samples) as (_, work_dir):
            return read_samples(work_dir / "outputs.npz")

    def latencies(self, sample: Arrays, runs: int = 50, seconds: float = 10.0) -> list[float]:
        """Time single runs on this machine's CPU, all cores, after a warm-up. This says nothing about a device.

        Args:
            runs: At most this many.
            seconds: Start no further run after this long.

        Returns:
            Milliseconds of each run, at least one, copying in and out included.
        """
        job = {"task": "time", "runs": runs, "seconds": seconds}
        with self._child("time", job, [sample]) as (result, _):
            return [float(value) for value in result["milliseconds"]]

    @contextmanager
    def _child(
        self, verb: str, job: dict[str, Any], samples: Sequence[Arrays]
    ) -> Iterator[tuple[dict[str, Any], Path]]:
        with work_folder() as work_dir:
            if samples:
                write_samples(work_dir / "samples.npz", [self._fit(s, f"sample {n}") for n, s in enumerate(samples)])
            what = f"{verb} {self.path.name} on the host CPU"
            yield run_child(_WORKER, {"file": str(self.path), **job}, work_dir, self.limits, what).value, work_dir

    def _fit(self, sample: Arrays, where: str) -> Arrays:
        try:
            fitted = narrow_integers(sample, self.input_spec)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from error
        check_arrays(fitted, self.input_spec, where)
        return fitted


def _read_spec(tensors: dict[str, dict[str, Any]]) -> InputSpec:
    return {name: TensorSpec.from_json(fields) for name, fields in tensors.items()}
