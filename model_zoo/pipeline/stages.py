"""The stages of one component: each is found in the cache or made, and each makes the ones it needs first."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.evaluators.base import BaseEvaluator, Score
from model_zoo.pipeline.cache import Entry, Make, StageCache
from model_zoo.pipeline.plan import Plan
from model_zoo.pipeline.samples import SampleSet
from model_zoo.runtimes.base import read_samples, write_samples
from model_zoo.sources.base import CAPTURE_PACKAGES, Network, Source
from model_zoo.sources.facts import ComponentFacts
from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains.base import (
    ArrangesLayout,
    Assignment,
    CompileRequest,
    LoweringRequest,
    MeasuresOnDevice,
    RuntimeSupport,
    Toolchain,
)
from model_zoo.toolchains.measurement import HOST_CPU, Measurement
from model_zoo.utils.code_digest import code_digest, installed_versions, own_file
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.hashing import digest
from model_zoo.utils.layout import channels_first, channels_last

_PROFILE_RUNS, _PROFILE_SECONDS = 50, 1.0
_PERCENTILES = (50, 90, 99)
#: What every stage runs: it reads and writes samples, and lays them out.
_SHARED_CODE = ("model_zoo.runtimes.base", "model_zoo.utils.layout")
#: Files of outputs, by the stage that writes them; those of the reference are in torch's layout.
HOST_OUTPUTS, TORCH_OUTPUTS, HALF_OUTPUTS = "host.npz", "torch.npz", "half.npz"
_REFERENCE_FILES = (TORCH_OUTPUTS, HALF_OUTPUTS)

#: Wraps the work of a stage: takes its title and the work, and returns the work's result.
Reporter = Callable[[str, Callable[[], Entry]], Entry]


def silent(title: str, work: Callable[[], Entry]) -> Entry:
    """The reporter of a run that nobody watches."""
    return work()


@dataclass(frozen=True)
class ComponentBuild:
    """One component on its way to one runtime and precision.

    Args:
        check: Samples that every backend runs; the model's own sample if None.
        calibration: None for float.
        half: Run torch in half precision too: the yardstick of a float build on the NPU.
        assignment: Tensors of an 8-bit precision that get other than 8 bits.
    """

    component: str
    source: Source
    facts: ComponentFacts
    runtime: TargetRuntime
    precision: Precision
    toolchain: Toolchain
    cache: StageCache
    calibration: SampleSet | None
    check: SampleSet | None
    half: bool
    report: Reporter
    assignment: Assignment | None = None
    _done: dict[str, Entry] = field(default_factory=dict)

    @property
    def support(self) -> RuntimeSupport:
        return self.toolchain.support(self.runtime)

    @property
    def tools(self) -> list[Any]:
        """The toolchain and its versions, for the keys of all that it makes."""
        return [self.toolchain.name, self.toolchain.versions(self.runtime)]

    @property
    def channel_last_inputs(self) -> tuple[str, ...]:
        """Inputs that are channel-last in the file."""
        return self.facts.channel_last_inputs if self.support.layout != "torch" else ()

    @property
    def channel_last_outputs(self) -> tuple[str, ...]:
        """Outputs that are channel-last in the file."""
        return self.facts.channel_last_outputs if self.support.layout != "torch" else ()

    def network(self) -> Network:
        return self.source.load(self.component, self.facts)

    def reference(self) -> Entry:
        """Stage: inputs, reference outputs, and reference outputs in half precision where asked."""
        chosen = self.check.fingerprint if self.check else "own sample"
        key = [*self.network_key(), chosen, self.half, installed_versions("torch", "numpy")]
        return self.stage("torch reference", "reference", key, self._make_reference, *self.source.code["reference"])

    def network_key(self) -> list[Any]:
        """What the outputs of the network depend on beside its samples."""
        inputs = {name: tensor.to_json() for name, tensor in self.facts.inputs.items()}
        return [code_digest(data=own_file(self.source.load)), self.source.key, self.component, inputs]

    def _make_reference(self, folder: Path) -> dict[str, Any]:
        network = self.network()
        if self.check is not None:
            inputs, real = self.check.load(self.facts.inputs)[0], self.check.real
        else:
            sample, real = network.sample()
            inputs = [sample]
        write_samples(folder / "inputs.npz", inputs)
        write_samples(folder / TORCH_OUTPUTS, network.run(inputs))
        half_error = None
        if self.half:
            try:
                outputs = network.run(inputs, half=True)
                if all(np.isfinite(array).all() for output in outputs for array in output.values()):
                    write_samples(folder / HALF_OUTPUTS, outputs)
                else:  # no yardstick: any number would be nearer
                    half_error = "its outputs are not finite"
            except ModelZooError as error:  # an operator without a half kernel on the CPU
                half_error = str(error).strip().splitlines()[0]
        return {"half_error": half_error, "real_inputs": real}

    def calibration_inputs(self) -> list[Arrays]:
        """The calibration samples, in torch's layout."""
        if self.calibration is None:
            raise ModelZooError("a quantized build reached its quantizer without calibration samples")
        return self.calibration.load(self.facts.inputs)[0]

    def captured(self) -> Entry:
        """Stage: the captured file, in torch's layout."""
        form = self.support.capture_format
        file = f"captured.{form}"
        key = [*self.network_key(), list(self.facts.output_names), form, installed_versions(*CAPTURE_PACKAGES)]

        def make(folder: Path) -> dict[str, Any]:
            self.network().capture(form, folder / file)
            return {"file": file}

        return self.stage("capture", "capture", key, make, *self.source.code["capture"])

    def lowered(self) -> Entry:
        """Stage: the captured file in its target precision and layout, still runnable on the host."""
        lowered, last_in, last_out = self.in_precision(), self.channel_last_inputs, self.channel_last_outputs
        toolchain = self.toolchain
        if self.support.layout != "arranged" or not (last_in or last_out):
            return lowered
        assert isinstance(toolchain, ArrangesLayout)

        def make(folder: Path) -> dict[str, Any]:
            file = lowered.value["file"]
            toolchain.arrange(lowered.file(file), last_in, last_out, folder / file)
            return lowered.value

        key = [lowered.files, list(last_in), list(last_out)]
        return self.stage("lay out channel-last", "layout", key, make, *self.code("layout"))

    def in_precision(self) -> Entry:
        """Stage: the captured file in its target precision; in torch's layout, unless lowering gives it another."""
        captured = self.captured()
        last = [self.channel_last_inputs, self.channel_last_outputs] if self.support.layout == "lowered" else []
        assignment = asdict(self.assignment) if self.assignment else None
        bits = [self.precision, self.facts.mixed_percentage, assignment, self.facts.outputs_16bit]
        runtime = self.support.lowers_as or self.runtime
        key = [captured.files, runtime, last, *bits, self.calibration and self.calibration.fingerprint, *self.tools]

        def make(folder: Path) -> dict[str, Any]:
            request = LoweringRequest(
                source=captured.main_file,
                runtime=self.runtime,
                precision=self.precision,
                input_names=list(self.facts.inputs),
                output_names=list(self.facts.output_names),
                calibration=self.calibration_inputs,
                mixed_percentage=self.facts.mixed_percentage,
                component=self.component,
                assignment=self.assignment,
                outputs_16bit=self.facts.outputs_16bit,
                channel_last_inputs=self.channel_last_inputs,
                channel_last_outputs=self.channel_last_outputs,
            )
            return self.toolchain.lower(request, folder).model_dump(mode="json")

        title = "quantize" if self.precision.is_quantized else "lower"
        return self.stage(title, "lower", key, make, *self.code("lower"))

    def host(self) -> Entry:
        """Stage: outputs of the lowered file on this machine's CPU."""
        lowered, reference = self.lowered(), self.reference()

        def make(folder: Path) -> dict[str, Any]:
            with self.toolchain.load(lowered.main_file, self.runtime) as model:
                write_samples(folder / HOST_OUTPUTS, model.run(self._inputs(reference)))
            return {}

        key = [lowered.files, reference.files, *self.tools]
        return self.stage("run on host CPU", "host", key, make, *self.code("host"))

    def compiled(self, chipset: Chipset | None, emulate: bool) -> Entry:
        """Stage: the binary for a chipset, read back and run on the emulator; its value is a `Compiled`."""
        reference = self.reference() if emulate else None
        request, key = self._compile_request(chipset, reference)
        key += [reference.files if reference else None, self.component]
        compiles = chipset is not None and self.support.layout != "lowered"
        title = f"compile for {chipset.name.removeprefix('qualcomm-')}" if chipset and compiles else "finish file"
        return self.stage(title, "compile", key, partial(self.toolchain.compile, request), *self.code("compile"))

    def _compile_request(self, chipset: Chipset | None, reference: Entry | None) -> tuple[CompileRequest, list[Any]]:
        """What is compiled, and the start of the key of all that is made of it."""
        lowered = self.lowered()
        request = CompileRequest(
            lowered=lowered.main_file,
            runtime=self.runtime,
            precision=self.precision,
            chipset=chipset,
            samples=partial(self._inputs, reference) if reference else None,
            component=self.component,
        )
        target = asdict(chipset) if chipset else None
        return request, [lowered.files, *self.tools, self.runtime, self.precision, target]

    def measured_on_device(self, chipset: Chipset | None, compiled: Entry) -> list[Measurement]:
        """Stage: what the toolchain measures of a compiled component on real devices; empty if it has none."""
        toolchain, reference = self.toolchain, self.reference()
        if not isinstance(toolchain, MeasuresOnDevice):
            return []
        request, key = self._compile_request(chipset, reference)
        files = [compiled.file(name) for name in compiled.value["files"]]

        def make(folder: Path) -> dict[str, Any]:
            return {"measurements": [each.model_dump(mode="json") for each in toolchain.measure(request, files)]}

        key += [compiled.files, reference.files]
        return measurements(self.stage("measure on device", "measure", key, make, *self.code("measure")))

    def outputs(self, entry: Entry, file: str) -> list[Arrays]:
        """The outputs that a stage wrote, in torch's layout."""
        last = () if file in _REFERENCE_FILES else self.channel_last_outputs
        return [channels_first(output, last) for output in read_samples(entry.file(file))]

    def score(self, where: str, entry: Entry, file: str) -> Score | None:
        """Stage: the metric of the outputs that a stage wrote to a file; None where the samples have no targets."""
        if self.check is None or self.check.dataset is None or self.check.dataset not in self.facts.eval_datasets:
            return None
        check = self.check

        def make(folder: Path) -> dict[str, Any]:
            evaluator = self.new_evaluator()
            _, targets = check.load(self.facts.inputs)
            for output, batch in zip(self.outputs(entry, file), targets, strict=True):
                evaluator.add(output, batch)
            return evaluator.score().model_dump()

        key = [self.source.key, self.component, entry.files[file], check.fingerprint]
        return Score.model_validate(self.stage(f"score {where}", "score", key, make, *self.evaluator_code()).value)

    def code(self, stage: str) -> tuple[str, ...]:
        """The modules that the toolchain runs in a stage, for this runtime and the one whose files it shares."""
        shared = [self.toolchain.support(self.support.lowers_as)] if self.support.lowers_as else []
        return tuple(module for each in (self.support, *shared) for module in each.code.get(stage, ()))

    def evaluator_code(self) -> tuple[str, ...]:
        """The module of the evaluator; the key of a source stands for one that is not of this package."""
        module = (self.facts.evaluator or "").partition(":")[0]
        return (module,) if module.startswith("model_zoo.") else ()

    def new_evaluator(self) -> BaseEvaluator:
        module_name, _, class_name = (self.facts.evaluator or "").partition(":")
        evaluator: BaseEvaluator | None
        if module_name.startswith("model_zoo.evaluators."):  # found without loading the model
            evaluator = getattr(import_module(module_name), class_name)()
        else:
            evaluator = self.network().evaluator()
        if evaluator is None:
            raise ModelZooError(f"{self.component} names datasets to evaluate on, but no evaluator")
        return evaluator

    def profiled(self) -> list[Measurement]:
        """Stage: latency of the lowered file on this machine's CPU."""
        lowered, reference = self.lowered(), self.reference()
        tools, where = self.toolchain.versions(self.runtime), f"{HOST_CPU} ({this_cpu()})"

        def make(folder: Path) -> dict[str, Any]:
            with self.toolchain.load(lowered.main_file, self.runtime) as model:
                times = model.latencies(self._inputs(reference)[0], _PROFILE_RUNS, _PROFILE_SECONDS)
            measured = {"unit": "ms", "where": where, "tools": tools, "samples": len(times)}
            values = zip(_PERCENTILES, np.percentile(times, _PERCENTILES).tolist(), strict=True)
            return {"measurements": [{"name": f"latency p{p}", "value": value, **measured} for p, value in values]}

        key = [lowered.files, where, *self.tools]
        return measurements(self.stage("time on host CPU", "profile", key, make, *self.code("host")))

    def _inputs(self, reference: Entry) -> list[Arrays]:
        samples = read_samples(reference.file("inputs.npz"))
        return [channels_last(sample, self.channel_last_inputs) for sample in samples]

    def stage(self, what: str, name: str, key: list[Any], make: Make, *modules: str) -> Entry:
        """Find a stage in the cache or make it, under a title for people; see `StageCache.get_or_make`.

        Args:
            modules: What the stage runs of this package; part of the key, with the file that `make` is defined in.
        """
        key = [code_digest(*modules, *_SHARED_CODE, data=own_file(make)), *key]
        identity = digest(name, *key)
        if identity not in self._done:
            self._done[identity] = self.report(what, partial(self.cache.get_or_make, name, key, make))
        return self._done[identity]


def measurements(entry: Entry) -> list[Measurement]:
    return [Measurement.model_validate(each) for each in entry.value["measurements"]]


def this_cpu() -> str:
    """Names this machine's CPU, for the label of a host time."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.*)", info.read_text() if info.exists() else "", re.MULTILINE)
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def component_builds(plan: Plan, cache: StageCache, report: Reporter) -> dict[str, ComponentBuild]:
    """The stages of every component of a plan."""
    on_npu = plan.support.needs_chipset or any(chipset and chipset.has_htp for chipset in plan.chipsets)
    return {
        name: ComponentBuild(
            component=name,
            source=plan.source,
            facts=facts,
            runtime=plan.runtime,
            precision=plan.precision,
            toolchain=plan.toolchain,
            cache=cache,
            calibration=plan.calibration[name],
            check=plan.check[name],
            half=not plan.precision.is_quantized and on_npu,
            report=report,
        )
        for name, facts in plan.facts.items()
    }
