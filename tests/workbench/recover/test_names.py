"""By its names: what a checkpoint is, whatever was done to it, and what is never picked in silence."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model_zoo.checkpoints.contents import TensorInfo
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.jobs import ChildFailedError
from model_zoo.workbench import warm_children
from model_zoo.workbench.libraries import LIBRARIES
from model_zoo.workbench.recover.names import architecture_index, named_search
from model_zoo.workbench.recover.names.architecture import Architecture, FailedArchitecture, SizeArgument, SizedBy
from model_zoo.workbench.recover.names.architecture_index import arrange
from model_zoo.workbench.recover.names.describe import describe
from model_zoo.workbench.recover.names.matching import ArchitectureMatch, find_matches
from model_zoo.workbench.recover.names.named_search import draft
from model_zoo.workbench.recover.recovery import ExampleInput, SettledBy

Shapes = dict[str, tuple[int, ...]]


def shapes(blocks: int = 4, width: int = 8, classes: int = 10) -> Shapes:
    found: Shapes = {"stem.weight": (width, 3, 3, 3)}
    for block in range(blocks):
        found[f"blocks.{block}.conv.weight"] = (width, width, 3, 3)
        for name in ("weight", "bias", "running_mean"):
            found[f"blocks.{block}.norm.{name}"] = (width,)
        found[f"blocks.{block}.norm.num_batches_tracked"] = ()
    return {**found, "fc.weight": (classes, width), "fc.bias": (classes,)}


def net(name: str = "net", where: str = "timm", **sizes: int) -> Architecture:
    classes = SizeArgument("num_classes", 10, (SizedBy("fc.weight", 0, 1, 0), SizedBy("fc.bias", 0, 1, 0)))
    channels = SizeArgument("in_chans", 3, (SizedBy("stem.weight", 1, 1, 0),))
    tensors = shapes(**sizes)
    inputs = (ExampleInput("x", (1, 3, 32, 32)),)
    return Architecture(
        library=where,
        name=name,
        function=f"{where}.make",
        arguments=(repr(name),),
        tensors=tensors,
        options=(classes, channels),
        inputs=inputs,
    )


def infos(found: Shapes, prefix: str = "") -> dict[str, TensorInfo]:
    return {prefix + name: TensorInfo(shape, "float32", 4) for name, shape in found.items()}


def best(tensors: dict[str, TensorInfo], *known: Architecture) -> ArchitectureMatch:
    return find_matches(tensors, [arrange("timm", known or [net(), net("wide", width=9)])])[0]


def without(found: Shapes, start: str) -> Shapes:
    return {name: shape for name, shape in found.items() if not name.startswith(start)}


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone."])
def test_exact_under_any_prefix(prefix: str) -> None:
    match = best(infos(shapes(), prefix))
    assert (match.architecture.name, match.prefix, match.is_exact, match.score) == ("net", prefix, True, 1.0)
    assert match.tensors["fc.bias"] == f"{prefix}fc.bias"


def test_counters_of_batches_are_no_difference() -> None:
    frozen = {name: shape for name, shape in shapes().items() if "tracked" not in name}
    assert best(infos(frozen)).is_exact


def test_classes_and_channels_are_read_from_the_shapes() -> None:
    given = {**shapes(classes=7), "stem.weight": (8, 1, 3, 3)}
    match = best(infos(given))
    made = draft(match)
    assert match.is_exact
    assert made.constructor == "timm.make('net', num_classes=7, in_chans=1)"
    assert made.inputs[0].shape == (1, 1, 32, 32)


def test_a_head_that_disagrees_with_itself_is_not_recovered() -> None:
    match = best(infos({**shapes(), "fc.bias": (11,)}))
    assert match.missing == match.unused == ("fc.bias",)
    assert not match.is_exact


def test_without_its_head() -> None:
    match = best(infos(without(shapes(), "fc."), "encoder."))
    assert (match.headless, match.is_exact) == (("fc",), True)
    assert draft(match).constructor == "timm.make('net', num_classes=0)"
    other = draft(best(infos(without(shapes(), "fc.")), net(where="torchvision")))
    assert "model.fc = torch.nn.Identity()" in other.source


def test_a_part_of_a_larger_model() -> None:
    tensors = infos(without(shapes(), "fc."), "body.") | infos({"weight": (50, 8), "bias": (50,)}, "boxes.")
    match = best(tensors)
    assert (match.prefix, match.missing, match.unused) == ("body.", (), ("boxes.weight", "boxes.bias"))
    assert not match.is_exact


def test_a_part_that_is_missing_is_named() -> None:
    match = best(infos(without(shapes(), "blocks.3.")))
    assert set(match.missing) == {f"blocks.3.{name}" for name in ("conv.weight", "norm.weight", "norm.bias")} | {
        "blocks.3.norm.running_mean"
    }
    assert not find_matches(infos({"a.weight": (3, 3)}), [arrange("timm", [net()])])


def test_equal_constructors_are_a_choice_that_is_said_to_be_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {
        "torchvision": arrange("torchvision", [net("resnet_b", "torchvision"), net("res", "torchvision")]),
        "timm": arrange("timm", [net("a", "timm")]),
    }
    monkeypatch.setattr(named_search, "load_index", kept.get)
    found = named_search.search_by_name(infos(shapes(classes=5)), None, list(kept), lambda name: pytest.fail(name))
    (choice,) = found.drafts[0].draft.choices
    assert choice.alternatives == ("torchvision res", "torchvision resnet_b", "timm a")
    assert (choice.value, choice.settled_by) == ("torchvision res", SettledBy.ASSUMED)
    assert found.drafts[0].constructors["timm a"] == "timm.make('a', num_classes=5)"
    compile(found.drafts[0].draft.source, "model.py", "exec")


def test_an_exact_match_spares_the_slower_libraries_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"torchvision": arrange("torchvision", [net("res", "torchvision")])}
    monkeypatch.setattr(named_search, "load_index", kept.get)
    found = named_search.search_by_name(infos(shapes()), None, ["torchvision", "timm"], lambda name: pytest.fail(name))
    assert [(each.library, each.architectures) for each in found.searched] == [("torchvision", 1), ("timm", 0)]
    assert "--library timm" in found.searched[1].note


def test_hostile_names_cost_little_and_never_reach_the_source() -> None:
    evil = {f'{"a." * 5000}{number}"""\nimport os': (1,) for number in range(1000)}
    deep = {f"{'b.' * 60}{number}": (1,) for number in range(1000)}
    started = time.process_time()
    match = best(infos({**shapes(), **evil, **deep}))
    assert time.process_time() - started < 5
    assert len(match.unused) == 2000
    assert "import os" not in draft(match).source


def test_an_index_is_kept_and_a_damaged_one_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path))
    path = architecture_index.index_path("torchvision")
    path.parent.mkdir()
    made = [net(), net("wide", width=9)]
    arrange("torchvision", [*made, FailedArchitecture(name="odd", failure="why")]).save(path)
    read = architecture_index.load_index("torchvision")
    assert read is not None
    assert [read.architecture(number) for number in range(len(read))] == made
    assert read.failures == {"odd": "why"}
    for damaged in (path.read_bytes()[:2000], b"", b"text"):
        path.write_bytes(damaged)
        assert architecture_index.load_index("torchvision") is None


class FakeWorker:
    """Describes nets; dies of one, and may stop the build."""

    asked: list[str] = []  # noqa: RUF012

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop

    def close(self) -> None:
        pass

    def ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        if not request:
            return {"names": ["a", "killer", "b"]}
        if self._stop():
            raise KeyboardInterrupt
        self.asked.append(request["name"])
        if request["name"] == "killer":
            raise ChildFailedError("killed by SIGSEGV")
        return net(request["name"]).model_dump(mode="json")


def test_a_stopped_build_goes_on_and_a_model_that_kills_its_process_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path))
    FakeWorker.asked.clear()
    monkeypatch.setattr(warm_children, "Worker", lambda *_: FakeWorker(lambda: FakeWorker.asked == ["a"]))
    with pytest.raises(KeyboardInterrupt):
        architecture_index.ensure_index("torchvision", lambda done, total: None)
    assert architecture_index.load_index("torchvision") is None
    (part,) = (tmp_path / "architectures").glob("*.part.jsonl")
    with part.open("a") as file:
        file.write('{"name": "b", "tens')  # the machine went down while it wrote
    monkeypatch.setattr(warm_children, "Worker", lambda *_: FakeWorker(lambda: False))
    told: list[tuple[int, int]] = []
    made = architecture_index.ensure_index("torchvision", lambda *counts: told.append(counts))
    assert FakeWorker.asked == ["a", "killer", "b"]
    assert (len(made), made.failures, told[-1]) == (2, {"killer": "killed by SIGSEGV"}, (3, 3))
    assert not part.exists()


def test_torchvision_is_described_and_written_back() -> None:
    with torch.device("meta"):
        made = describe(LIBRARIES["torchvision"](), "shufflenet_v2_x0_5")
    assert Architecture.model_validate_json(made.model_dump_json()) == made
    assert [(option.name, option.default) for option in made.options] == [("num_classes", 1000)]
    given = {**made.tensors, "fc.weight": (4, 1024), "fc.bias": (4,)}
    found = draft(best(infos(given), made))
    assert found.constructor == "torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=4)"
    scope: dict[str, Any] = {}
    exec(found.source, scope)
    state = scope["build_model"]().state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == given


def test_a_configuration_builds_classes_of_transformers_only(tmp_path: Path) -> None:
    from model_zoo.workbench.recover.names.describe import run

    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 9}
    hostile = {
        "auto_map": {"AutoModel": "evil--code.Model"},
        "_attn_implementation": "evil/kernels",
        "quantization_config": {"quant_method": "evil"},
        'x"); import os; (': '"""',
    }
    names = ["BertModel", "os.system", "PreTrainedModel", "AutoModel", "BertForMaskedLM"]
    found = run({"config": {"model_type": "bert", "architectures": names, **tiny, **hostile}}, tmp_path)
    (made,) = [Architecture(**each) for each in found["architectures"] if "failure" not in each]
    failures = {each["name"] for each in found["architectures"] if "failure" in each}
    assert failures == {"os.system", "PreTrainedModel", "AutoModel"}
    text = draft(best(infos(made.tensors), made)).source
    assert "evil" not in text
    scope: dict[str, Any] = {}
    exec(text, scope)
    assert scope["build_model"]().config.hidden_size == 8


def test_a_configuration_opens_no_file(tmp_path: Path) -> None:
    from model_zoo.utils.jobs import Limits, run_child

    class Trick:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"state_dict": Trick()}, tmp_path / "weights.pth")
    tiny = {"architecture": "test_vit", "num_classes": 2, "label_names": ["a/b", "c"]}
    config = {
        **{"model_type": "timm_wrapper", "architectures": ["TimmWrapperForImageClassification"], **tiny},
        **{
            "model_args": {"checkpoint_path": str(tmp_path / "weights.pth"), "cache_dir": "/", "pretrained_cfg": "../x"}
        },
        **{"somewhere": "hf-hub:someone/net", "_attn_implementation_internal": "someone/kernels"},
    }
    job, module = {"config": config}, "model_zoo.workbench.recover.names.describe"
    found = run_child(module, job, tmp_path, Limits(seconds=300), "build").value
    (made,) = found["architectures"]
    assert not any(text in str(made["arguments"]) for text in ("weights.pth", "someone", "cache_dir", "../x"))
    assert not (tmp_path / "ran").exists()


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture_index, "version", lambda library: None)
    with pytest.raises(ModelZooError, match="timm is not installed"):
        architecture_index.index_path("timm")
