"""Modules written from names and shapes take the checkpoint as it is and run; wild names end in one clear error."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model_zoo.checkpoints.contents import TensorInfo
from model_zoo.utils.errors import ModelZooError
from model_zoo.workbench.recover.recovery import Draft
from model_zoo.workbench.recover.structure import NoDraftError, draft_by_structure


def info(state: dict[str, Tensor]) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(tuple(v.shape), str(v.dtype).removeprefix("torch."), v.nbytes) for name, v in state.items()
    }


def named(**layers: nn.Module) -> nn.Module:
    made = nn.Module()
    for name, layer in layers.items():
        made.add_module(name, layer)
    return made


def double(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, out, 3), nn.BatchNorm2d(out), nn.ReLU(), nn.Conv2d(out, out, 3))


def block(width: int, out: int) -> nn.Module:
    made = named(conv1=nn.Conv2d(width, out, 3), bn1=nn.BatchNorm2d(out), conv2=nn.Conv2d(out, out, 3))
    if width != out:
        made.downsample = nn.Sequential(nn.Conv2d(width, out, 1))
    return made


def vit() -> nn.Module:
    one = {"norm1": nn.LayerNorm(16), "attn": named(qkv=nn.Linear(16, 48), proj=nn.Linear(16, 16))}
    one |= {"norm2": nn.LayerNorm(16), "mlp": named(fc1=nn.Linear(16, 24), fc2=nn.Linear(24, 16))}
    made = named(patch=nn.Conv2d(3, 16, 4, 4), blocks=nn.ModuleList([named(**one)]), head=nn.Linear(16, 3))
    made.cls_token, made.pos_embed = nn.Parameter(torch.zeros(1, 1, 16)), nn.Parameter(torch.zeros(1, 5, 16))
    return made


def bert_layer() -> nn.Module:
    three = named(query=nn.Linear(16, 16), key=nn.Linear(16, 16), value=nn.Linear(16, 16))
    return named(
        attention=named(self=three, output=named(dense=nn.Linear(16, 16), LayerNorm=nn.LayerNorm(16))),
        intermediate=named(dense=nn.Linear(16, 32)),
        output=named(dense=nn.Linear(32, 16), LayerNorm=nn.LayerNorm(16)),
    )


FAMILIES: dict[str, Any] = {
    "multilayer": lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 2)),
    "convolutional": lambda: named(
        features=nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3)), fc=nn.Linear(72, 3)
    ),
    "autoencoder": lambda: named(
        encoder=nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), decoder=nn.Sequential(nn.ConvTranspose2d(4, 1, 3))
    ),
    "residual": lambda: named(
        conv1=nn.Conv2d(3, 8, 3), layer1=nn.Sequential(block(8, 8)), layer2=nn.Sequential(block(8, 12)),
        fc=nn.Linear(12, 2),
    ),
    "U-Net": lambda: named(
        ups=nn.ModuleList([nn.ConvTranspose2d(8, 4, 2, 2), double(8, 4)]),
        downs=nn.ModuleList([double(3, 4)]), bottleneck=double(4, 8), final_conv=nn.Conv2d(4, 1, 1),
    ),
    "vision": vit,
    "width 16": lambda: named(
        embeddings=named(word_embeddings=nn.Embedding(20, 16)), encoder=named(layer=nn.ModuleList([bert_layer()]))
    ),
    "encoder and decoder": lambda: named(
        src_embed=nn.Embedding(9, 16), tgt_embed=nn.Embedding(9, 16), transformer=nn.Transformer(16, 2, 1, 1, 20)
    ),
    "LSTM": lambda: named(
        embedding=nn.Embedding(9, 6), lstm=nn.LSTM(6, 5, 2, bidirectional=True), hidden2tag=nn.Linear(10, 3)
    ),
}  # fmt: skip


def build(draft: Draft, **choices: Any) -> nn.Module:
    namespace: dict[str, Any] = {"__name__": "recovered"}
    exec(compile(draft.source, "model.py", "exec"), namespace)
    model: nn.Module = namespace["build_model"](**choices)
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_a_family_takes_its_checkpoint_and_runs(family: str, wrapper: str) -> None:
    state = {f"{wrapper}{name}": value for name, value in FAMILIES[family]().state_dict().items()}
    draft = draft_by_structure(info(state))[0]
    assert family in draft.title and draft.is_exact and draft.constructor is None
    model = build(draft, **{choice.name: choice.value for choice in draft.choices})
    model.load_state_dict({name: state[source] for name, source in draft.tensors.items()}, strict=True)
    arguments = [torch.randint(i.high, i.shape) if i.high else torch.randn(i.shape) for i in draft.inputs]
    outputs = model(*arguments)
    assert torch.isfinite(outputs).all() and not model.training
    for choice in draft.choices:
        assert choice.value == choice.alternatives[0] and len(choice.alternatives) > 1, choice.name


def test_heads_are_all_divisors_that_give_a_plausible_size() -> None:
    layer = nn.TransformerEncoderLayer(48, 4, 32)
    state = named(input_proj=nn.Linear(5, 48), encoder=nn.TransformerEncoder(layer, 2)).state_dict()
    draft = draft_by_structure(info(state))[0]
    heads = next(choice for choice in draft.choices if choice.name == "heads")
    assert set(heads.alternatives) == {1, 2, 3, 4, 6, 8, 12}


def test_pooling_is_offered_where_indices_are_free_behind_a_normalisation() -> None:
    first = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    last = [nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)]
    for model in (nn.Sequential(*first, *last), named(net=nn.Sequential(*first, *last))):
        pools = next(c for c in draft_by_structure(info(model.state_dict()))[0].choices if c.name == "pool_after")
        assert pools.alternatives == ((0, 1), (), (0,))


HOSTILE = [
    "a b.weight", "x;import os.weight", "__class__.weight", "0)+exit(.weight", "def.weight", "forward.weight",
    "é.weight",
    "layers.99999.weight", "layers.01.weight", "a..weight", ".weight", "a.b\n.weight", "x" * 500 + ".weight", "to.bias",
    '"""+__import__("os").system("true")+""".weight', "⟦a=1⟧.weight", "a.weight\0",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_no_attribute_ends_it(name: str) -> None:
    with pytest.raises(NoDraftError):
        draft_by_structure({"fc.weight": TensorInfo((4, 4), "float32", 64), name: TensorInfo((4,), "float32", 16)})


@pytest.mark.parametrize("shape", [(0, 3), (2**50, 3), (-1,), tuple([1] * 20)])
def test_a_shape_that_no_layer_has_ends_it(shape: tuple[int, ...]) -> None:
    with pytest.raises(NoDraftError):
        draft_by_structure({"fc.weight": TensorInfo(shape, "float32", 1)})


STATES = {family: info(make().state_dict()) for family, make in FAMILIES.items()}


@settings(max_examples=150, deadline=None)
@example(family="U-Net", seed=92276, share=0.125)  # a list that holds norms alone
@example(family="width 16", seed=815086359, share=0.682)  # a block with a query and no key
@given(family=st.sampled_from(sorted(STATES)), seed=st.integers(0, 2**32), share=st.floats(0.0, 1.0))
def test_any_part_of_a_checkpoint_gives_a_draft_or_one_error(family: str, seed: int, share: float) -> None:
    drawn = random.Random(seed)
    part = {name: value for name, value in STATES[family].items() if drawn.random() < share}
    if drawn.random() < 0.3 and part:  # and a shape that does not belong
        name = drawn.choice(sorted(part))
        part[name] = TensorInfo(tuple(drawn.choice([1, 2, 3, 16, 48]) for _ in part[name].shape), "float32", 4)
    try:
        drafts = draft_by_structure(part)
    except ModelZooError:
        return
    assert all(set(draft.tensors.values()) == set(part) for draft in drafts)
    for draft in drafts:
        compile(draft.source, "model.py", "exec")
