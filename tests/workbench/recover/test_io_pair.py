"""Choices are settled by numbers, in a child process; what numbers do not tell stays open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from model_zoo.checkpoints.contents import TensorInfo
from model_zoo.utils.errors import UserError
from model_zoo.workbench.recover.io_pair import IOPair, fit_draft, pair_from_onnx, read_pair, with_defaults
from model_zoo.workbench.recover.recovery import Draft, SettledBy
from model_zoo.workbench.recover.structure import draft_by_structure
from model_zoo.workbench.recover.variant_child import VariantSearch, by_likelihood


def draft_of(model: nn.Module) -> Draft:
    return draft_by_structure(
        {k: TensorInfo(tuple(v.shape), "float32", v.nbytes) for k, v in model.state_dict().items()}
    )[0]


@pytest.fixture(scope="module")
def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(approximate="tanh"), nn.Linear(16, 3), nn.Sigmoid())


def test_a_pair_settles_what_shapes_cannot(mlp: nn.Module, tmp_path: Path) -> None:
    weights, x = tmp_path / "weights.safetensors", torch.randn(5, 6)
    save_file(mlp.state_dict(), weights)
    draft = draft_of(mlp)
    pair = IOPair({"anything": x.numpy()}, {"y": mlp(x).detach().numpy()})
    fitted = fit_draft(draft, weights, pair)
    assert fitted.reproduced and fitted.error < 1e-6, fitted.statement
    values = {choice.name: (choice.value, choice.settled_by) for choice in fitted.draft.choices}
    assert values["activation"] == ("gelu_tanh", SettledBy.IO_PAIR)
    assert values["output_activation"] == ("sigmoid", SettledBy.IO_PAIR)
    assert 'activation: str = "gelu_tanh"' in fitted.draft.source
    wrong = IOPair(pair.inputs, {"y": pair.outputs["y"][::-1].copy()})
    nearest = fit_draft(draft, weights, wrong)
    assert not nearest.reproduced and nearest.draft is draft and "none of all" in nearest.statement
    with pytest.raises(UserError, match="takes 1 inputs"):
        fit_draft(draft, weights, IOPair({"a": x.numpy(), "b": x.numpy()}, pair.outputs))
    broken = replace(draft, source=draft.source.replace("nn.Linear(6, 16)", "nn.Linear(7, 16)"))
    failed = fit_draft(broken, weights, pair)
    assert failed.error == float("inf") and "size mismatch" in failed.statement


def test_the_search_finds_a_corner_and_tells_what_makes_no_difference() -> None:
    target = (3, 1, 2)

    def error(variant: tuple[int, ...]) -> float:
        return float(sum(a != b for a, b in zip(variant, (*target, variant[3]), strict=True))) / 3

    search = VariantSearch((5, 2, 4, 3), error, tolerance=1e-4, limit=1000, seconds=60.0)
    best, least = search.run()
    assert best[:3] == target and least == 0.0
    assert search.undecided(best) == {3: [0, 1, 2]}


def test_all_variants_are_tried_once_the_likeliest_first() -> None:
    variants = list(by_likelihood((2, 3, 2)))
    assert variants[0] == (0, 0, 0) and len(set(variants)) == len(variants) == 12
    assert [sum(v) for v in variants] == sorted(sum(v) for v in variants)


def test_defaults_are_replaced_and_nothing_else() -> None:
    source = (
        'def build_model(\n    *,\n    a: str = "é",\n    b: tuple[int, ...] = (1, 2),\n) -> None:\n    """a = 1"""\n'
    )
    made = with_defaults(source, {"a": "ü", "b": (3,), "c": 1})
    assert made == source.replace('"é"', '"ü"').replace("(1, 2)", "(3,)")


def test_files_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    good, text, pickled = tmp_path / "good.npz", tmp_path / "text.npz", tmp_path / "pickled.npz"
    np.savez(good, x=np.zeros(3, np.float32))
    text.write_text("no archive")
    np.savez(pickled, x=np.array([{"a": 1}], dtype=object))
    for wrong in (text, pickled, tmp_path / "missing.npz"):
        with pytest.raises(UserError):
            read_pair(good, wrong)


def test_torchscript_is_not_run(mlp: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not run here"):
        pair_from_onnx(tmp_path / "model.pt", draft_of(mlp))


def test_an_onnx_file_makes_a_pair(mlp: nn.Module, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("Relu", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 6]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    pair = pair_from_onnx(tmp_path / "m.onnx", draft_of(mlp))
    (x,), (y,) = pair.inputs.values(), pair.outputs.values()
    assert x.shape == (2, 6) and np.array_equal(y, np.maximum(x, 0))
