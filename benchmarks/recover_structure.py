"""Recover models from the names and shapes of their checkpoints, then settle what is open by inputs and outputs."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recover_structure_models import (
    BlocksMLP,
    CifarResNet,
    ConvAutoencoder,
    Discriminator,
    Generator,
    HeartbeatNet,
    LeNet,
    LinearAutoencoder,
    ListedUNet,
    MnistNet,
    NamedMLP,
    NarrowAlexNet,
    OrderedUNet,
    PreactResNet,
    SmallVGG,
    UNet,
)
from recover_structure_sequences import (
    CharRNN,
    Forecaster,
    LanguageModel,
    NanoGPT,
    OwnViT,
    Sentiment,
    SeriesTransformer,
    Tagger,
    TextClassifier,
    Translator,
)
from safetensors.torch import save_file
from torch import Tensor, nn

from model_zoo.checkpoints.contents import TensorInfo
from model_zoo.utils.console import console, table
from model_zoo.utils.errors import ModelZooError
from model_zoo.workbench.recover.io_pair import IOPair, fit_draft
from model_zoo.workbench.recover.recovery import Draft, SettledBy
from model_zoo.workbench.recover.structure import draft_by_structure

Case = tuple[str, nn.Module, tuple[Tensor, ...]]


def cases() -> dict[str, Case]:
    """By name: family, model, inputs."""
    import timm
    import torchvision
    import transformers

    tiny: dict[str, Any] = {"num_hidden_layers": 2, "intermediate_size": 72, "vocab_size": 97}
    bert = transformers.BertConfig(hidden_size=48, num_attention_heads=3, **tiny)
    labels = transformers.BertConfig(hidden_size=32, num_attention_heads=8, num_labels=5, hidden_act="relu", **tiny)
    gpt2 = transformers.GPT2Config(
        n_embd=36, n_layer=2, n_head=6, vocab_size=97, n_positions=40, bos_token_id=1, eos_token_id=2, use_cache=False
    )
    vit = transformers.ViTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=6, intermediate_size=64, image_size=24, patch_size=6,
        num_labels=4,
    )  # fmt: skip
    resnet = torchvision.models.resnet
    picture, ids = torch.randn(2, 3, 32, 32), torch.randint(3, 97, (2, 14))
    timm_vit = {"img_size": 48, "patch_size": 16, "embed_dim": 60, "depth": 2, "num_heads": 5, "num_classes": 8}
    return {
        "Sequential": (
            "MLP",
            nn.Sequential(nn.Linear(9, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 4)),
            (torch.randn(4, 9),),
        ),
        "fc and bn": ("MLP", NamedMLP(), (torch.randn(4, 20),)),
        "blocks": ("MLP", BlocksMLP(), (torch.randn(4, 12),)),
        "autoencoder": ("MLP", LinearAutoencoder(), (torch.randn(4, 30),)),
        "LeNet": ("CNN", LeNet(), (torch.randn(2, 1, 32, 32),)),
        "MNIST": ("CNN", MnistNet(), (torch.randn(2, 1, 28, 28),)),
        "small VGG": ("CNN", SmallVGG(), (picture,)),
        "narrow AlexNet": ("CNN", NarrowAlexNet(), (torch.randn(1, 3, 127, 127),)),
        "discriminator": ("CNN", Discriminator(), (picture,)),
        "generator": ("CNN", Generator(), (torch.randn(2, 24, 1, 1),)),
        "conv autoencoder": ("CNN", ConvAutoencoder(), (torch.randn(2, 1, 28, 28),)),
        "heartbeat": ("CNN", HeartbeatNet(), (torch.randn(2, 2, 96),)),
        "torchvision basic": ("ResNet", _renamed(resnet.ResNet(resnet.BasicBlock, [2, 1, 1, 2], num_classes=7)),
                              (torch.randn(2, 3, 64, 64),)),
        "torchvision bottleneck": ("ResNet", resnet.ResNet(resnet.Bottleneck, [1, 2, 1, 1], width_per_group=24),
                                   (torch.randn(1, 3, 64, 64),)),
        "CIFAR": ("ResNet", CifarResNet(), (picture,)),
        "preactivated": ("ResNet", PreactResNet(), (picture,)),
        "double_conv": ("U-Net", UNet(bilinear=False), (picture,)),
        "bilinear": ("U-Net", UNet(bilinear=True), (picture,)),
        "lists": ("U-Net", ListedUNet(), (torch.randn(1, 1, 40, 40),)),
        "ordered": ("U-Net", OrderedUNet(), (picture,)),
        "language model": ("transformer", LanguageModel(), (torch.randint(0, 80, (11, 3)),)),
        "translator": ("transformer", Translator(), (torch.randint(0, 70, (2, 9)), torch.randint(0, 90, (2, 7)))),
        "series": ("transformer", SeriesTransformer(), (torch.randn(2, 30, 7),)),
        "text classifier": ("transformer", TextClassifier(), (torch.randint(0, 60, (2, 20)),)),
        "BertModel": ("BERT", transformers.BertModel(bert), (ids,)),
        "Bert classifier": ("BERT", transformers.BertForSequenceClassification(labels), (ids,)),
        "GPT2LMHeadModel": ("GPT", transformers.GPT2LMHeadModel(gpt2), (ids,)),
        "nanoGPT": ("GPT", NanoGPT(), (torch.randint(0, 65, (2, 17)),)),
        "timm ViT": ("ViT", timm.create_model("vit_tiny_patch16_224", **timm_vit), (torch.randn(1, 3, 48, 48),)),
        "transformers ViT": ("ViT", transformers.ViTForImageClassification(vit), (torch.randn(2, 3, 24, 24),)),
        "own ViT": ("ViT", OwnViT(), (torch.randn(2, 1, 28, 28),)),
        "tagger": ("recurrent", Tagger(), (torch.randint(0, 100, (13, 2)),)),
        "sentiment": ("recurrent", Sentiment(), (torch.randint(0, 120, (3, 15)),)),
        "forecaster": ("recurrent", Forecaster(), (torch.randn(3, 12, 6),)),
        "char RNN": ("recurrent", CharRNN(), (torch.randint(0, 50, (2, 18)),)),
    }  # fmt: skip


def _renamed(model: nn.Module) -> nn.Module:
    """The same with other names for its parts."""
    for old, new in (("conv1", "stem_conv"), ("bn1", "stem_norm"), ("fc", "classifier")):
        model.add_module(new, getattr(model, old))
    model.old_forward = model.forward

    def forward(x: Tensor) -> Tensor:
        x = model.maxpool(torch.relu(model.stem_norm(model.stem_conv(x))))
        x = model.layer4(model.layer3(model.layer2(model.layer1(x))))
        return model.classifier(x.mean((2, 3)))

    for old in ("conv1", "bn1", "fc"):
        delattr(model, old)
    order = ["stem_conv", "stem_norm", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "classifier"]
    model._modules = {name: model._modules[name] for name in order}
    model.forward = forward
    return model


def randomize(model: nn.Module) -> nn.Module:
    """Give every tensor values that matter: no zeros, no ones, statistics as after training."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("running_var"):
            value.data.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.data.normal_(0, 0.2)
        elif value.is_floating_point() and value.requires_grad:
            value.data.add_(torch.randn_like(value) * (0.1 if value.ndim == 1 else 0.02))
    return model.eval()


def run_case(name: str, case: Case) -> dict[str, Any]:
    """One row of the table."""
    family, model, inputs = case
    randomize(model)
    with torch.inference_mode():
        outputs = _tensors(model(*inputs))
    state = {key: value.contiguous().clone() for key, value in model.state_dict().items()}
    info = {k: TensorInfo(tuple(v.shape), str(v.dtype)[6:], v.nbytes) for k, v in state.items()}
    row: dict[str, Any] = {"family": family, "model": name, "strict": False, "same": False}
    started = time.monotonic()
    try:
        draft = draft_by_structure(info)[0]
        row |= {"title": draft.title, "choices": len(draft.choices), "strict": _loads(draft, state)}
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.safetensors"
            save_file(state, weights)
            pair = IOPair(
                {f"x{n}": x.numpy() for n, x in enumerate(inputs)}, {f"y{n}": y.numpy() for n, y in enumerate(outputs)}
            )
            fitted = fit_draft(draft, weights, pair)
        by_pair = [c.name for c in fitted.draft.choices if c.settled_by is SettledBy.IO_PAIR]
        row |= {"same": fitted.reproduced, "settled": len(by_pair), "tried": fitted.tried, "error": fitted.error}
        row |= {"statement": fitted.statement}
    except ModelZooError as error:
        row["statement"] = str(error)
    return row | {"seconds": time.monotonic() - started}


def _loads(draft: Draft, state: dict[str, Tensor]) -> bool:
    """Whether the module takes the checkpoint under the checkpoint's own names, and runs on the example inputs."""
    namespace: dict[str, Any] = {"__name__": "recovered"}
    exec(compile(draft.source, "model.py", "exec"), namespace)
    model = namespace["build_model"]()
    try:
        model.load_state_dict(state, strict=True)
        given = [torch.randint(i.high, i.shape) if i.high else torch.randn(i.shape) for i in draft.inputs]
        with torch.inference_mode():
            model(*given)
    except RuntimeError as error:
        sys.stderr.write(f"{draft.title}: {str(error).splitlines()[0]}\n")
        return False
    return True


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [tensor for part in parts for tensor in _tensors(part)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-out", action="store_true", help="the models that the templates were not written with")
    parser.add_argument("--only", action="append", help="of these names")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    np.random.seed(0)
    if arguments.held_out:
        from recover_structure_held_out import held_out

        found = held_out()
    else:
        found = cases()
    rows = []
    for name, case in found.items():
        if not arguments.only or name in arguments.only:
            rows.append(run_case(name, case))
            sys.stderr.write(f"{name}: {rows[-1]['statement']}\n")
    columns = ["family", "model", "strict load", "choices", "settled", "variants", "max error", "s"]
    texts = [
        [r["family"], r["model"], "yes" if r["strict"] else "NO", str(r.get("choices", "")), str(r.get("settled", "")),
         str(r.get("tried", "")), f"{r['error']:.1e}" if "error" in r else "", f"{r['seconds']:.1f}"]
        for r in rows
    ]  # fmt: skip
    console().print(table("Recovered by structure (host CPU)", columns, texts, right=tuple(columns[3:])))
    strict, same = sum(r["strict"] for r in rows), sum(r["same"] for r in rows)
    console().print(f"strict load and forward {strict} of {len(rows)}; the same outputs {same} of {len(rows)}")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
