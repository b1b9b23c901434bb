"""Targets are read strictly, and judged by figures of this machine only where it is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.utils.errors import UserError
from model_zoo.workbench.explore.figures import ModelRun, TargetVerdict
from model_zoo.workbench.explore.measure_worker import summarise
from model_zoo.workbench.explore.records import Identity
from model_zoo.workbench.explore.targets import Targets, compare, read_targets

IDENTITY = Identity(
    path="/m.onnx", format="ONNX", size_mb=5.0, sha256="0" * 64, tensors=3, parameters=1000, names=(), origin=(),
    config={}, code=None, recovered=None, choices=(), problems=(),
)  # fmt: skip
RUN = ModelRun(
    runtime="ONNX Runtime", device="cpu", place="a CPU", threads=2, parameters=1000, inputs=(), outputs=(),
    outputs_repeat=True, cold=None, latency=summarise([10.0, 11.0, 12.0]), load=0.0, is_busy=False, estimate_s=1.0,
    runs_asked=3, batches=(), best_samples_per_s=90.0, best_batch=1, memory=None, failure=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("size_mb: 3\nlatencyms: {p50: 3}\n", ":2: unknown key 'latencyms'.*did you mean latency_ms"),
        ("latency_ms:\n  p50: 3\n  p95: 4\n", ":3: unknown key 'p95'.*valid: p50"),
        ("latency_ms:\n  - {p50: 3}\n  - {p50: soon}\n", ":3: latency_ms.*number"),
        ("size_mb: -1\n", ":1: size_mb: .*greater than 0"),
        ("npu: {chipset: sm865}\n", ":1: npu.*unknown chipset 'sm865'"),
        ("npu:\n  - chipset: sm8650\n    precision: w8a9\n", ":3: npu.*unknown precision 'w8a9'"),
        ("size_mb: [\n", "no YAML"),
        ("- 3\n", "names with values"),
        ("", "names with values"),
        ("size_mb: !!python/object/apply:os.system [ls]\n", "no YAML"),
        ("size_mb: .inf\n", ":1: size_mb"),
    ],
)
def test_a_broken_file_is_one_line_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "targets.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        read_targets(file)
    assert "\n" not in str(caught.value)


def test_each_target_is_met_missed_or_not_measured(tmp_path: Path) -> None:
    file = tmp_path / "targets.yaml"
    file.write_text(
        "latency_ms: [{p50: 11, p90: 11}, {p50: 100, device: sm8650}]\nthroughput: 100\nparameters: 1000\n"
        "macs: 5\nnpu: {chipset: sm8650}\nquality: {top1: 0.7}\n"
    )
    outcomes = compare(read_targets(file), str(file), IDENTITY, RUN, None, None)
    verdicts = {each.target: each.verdict for each in outcomes.judgements}
    assert verdicts == {
        "latency p50": TargetVerdict.MET,
        "latency p90": TargetVerdict.MISSED,
        "latency p50 on sm8650": TargetVerdict.NOT_MEASURED,
        "throughput": TargetVerdict.MISSED,
        "parameters": TargetVerdict.MET,
        "macs": TargetVerdict.NOT_MEASURED,
        "npu qualcomm-snapdragon-8gen3 w8a8": TargetVerdict.NOT_MEASURED,
        "quality top1": TargetVerdict.NOT_MEASURED,
    }
    assert (outcomes.met, outcomes.missed, outcomes.not_measured) == (2, 2, 4)
    assert all(each.place for each in outcomes.judgements if each.verdict is not TargetVerdict.NOT_MEASURED)
    assert all(each.reason for each in outcomes.judgements if each.verdict is TargetVerdict.NOT_MEASURED)


def test_a_device_is_never_judged_by_times_of_this_machine() -> None:
    targets = Targets.model_validate({"latency_ms": {"p50": 1e9, "device": "sm8650"}})
    (judgement,) = compare(targets, "t.yaml", IDENTITY, RUN, None, None).judgements
    assert judgement.verdict is TargetVerdict.NOT_MEASURED and judgement.found is None
