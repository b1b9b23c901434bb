"""Models that the templates were not written with, for recover_structure.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WideBlock(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, out, 3, stride, 1), nn.BatchNorm2d(out), nn.SiLU(),
            nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.project = nn.Conv2d(width, out, 1, stride) if width != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.body(x) + self.project(x))


class WideNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.SiLU())
        self.stage1 = nn.Sequential(WideBlock(16, 24, 1), WideBlock(24, 24, 1))
        self.stage2 = nn.Sequential(WideBlock(24, 40, 2), WideBlock(40, 40, 1))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stage2(self.stage1(self.stem(x))))


class Separable(nn.Module):
    """Depthwise and pointwise convolutions in turn."""

    def __init__(self) -> None:
        super().__init__()

        def pair(width: int, out: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
            )  # fmt: skip

        self.model = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            pair(8, 16, 1), pair(16, 32, 2), pair(32, 32, 1), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.model(x).flatten(1))


class VolumeUNet(nn.Module):
    """Three dimensions, instance normalisation, leaky activations, convolutions that halve."""

    def __init__(self) -> None:
        super().__init__()

        def double(width: int, out: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv3d(width, out, 3, padding=1), nn.InstanceNorm3d(out, affine=True), nn.LeakyReLU(0.01),
                nn.Conv3d(out, out, 3, padding=1), nn.InstanceNorm3d(out, affine=True), nn.LeakyReLU(0.01),
            )  # fmt: skip

        self.enc1, self.enc2, self.mid = double(1, 6), double(6, 12), double(12, 24)
        self.up2, self.dec2 = nn.ConvTranspose3d(24, 12, 2, 2), double(24, 12)
        self.up1, self.dec1 = nn.ConvTranspose3d(12, 6, 2, 2), double(12, 6)
        self.out = nn.Conv3d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.enc1(x)
        b = self.enc2(F.max_pool3d(a, 2))
        y = self.up2(self.mid(F.max_pool3d(b, 2)))
        y = self.up1(self.dec2(torch.cat([y, b], 1)))
        return self.out(self.dec1(torch.cat([y, a], 1)))


class StackedRecurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(97, 16)
        self.lstm1 = nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.lstm2 = nn.LSTM(48, 20, batch_first=True)
        self.norm = nn.LayerNorm(20)
        self.out = nn.Linear(20, 6)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.lstm2(self.lstm1(self.emb(ids))[0])[0]
        return self.out(self.norm(x.max(dim=1).values))


class LayersCNN(nn.Module):
    """Blocks that end with pooling, and a head with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()

        def block(width: int, out: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(width, out, 5, padding=2), nn.ELU(), nn.BatchNorm2d(out), nn.MaxPool2d(2))

        self.conv_layers = nn.ModuleList([block(1, 8), block(8, 16), block(16, 24)])
        self.fc_layers = nn.Sequential(nn.Linear(24 * 9, 48), nn.BatchNorm1d(48), nn.ELU(), nn.Linear(48, 7))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.conv_layers:
            x = layer(x)
        return self.fc_layers(x.flatten(1))


class Causal(nn.Module):
    """Dilated convolutions over time with residual sums."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(4, 16, 3, padding=1), nn.Conv1d(16, 16, 3, padding=2, dilation=2)
        self.conv3 = nn.Conv1d(16, 16, 3, padding=4, dilation=4)
        self.fc = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))
        return self.fc(x.mean(2))


class PreNormLayer(nn.Module):
    """As vit-pytorch names them."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.heads, inner = heads, heads * size
        self.to_qkv = nn.Linear(width, inner * 3, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(0.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.to_qkv(x).chunk(3, -1))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ListViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = 40
        self.to_patch_embedding = nn.Conv2d(3, width, 8, 8)
        self.pos_embedding = nn.Parameter(torch.randn(1, 17, width) * 0.1)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.transformer = nn.ModuleList(
            nn.ModuleList(
                [
                    PreNormLayer(width, 4, 16),
                    nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width)),
                ]
            )
            for _ in range(2)
        )
        self.mlp_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 12))

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_patch_embedding(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embedding
        for attention, feed in self.transformer:
            x = attention(x) + x
            x = feed(x) + x
        return self.mlp_head(x[:, 0])


def held_out() -> dict[str, tuple[str, Any, tuple[Tensor, ...]]]:
    """By name: family, model, inputs."""
    import timm
    import transformers

    small: dict[str, Any] = {"vocab_size": 97, "dropout": 0.0, "attention_dropout": 0.0}
    distil = transformers.DistilBertConfig(dim=48, n_layers=2, n_heads=4, hidden_dim=80, **small)
    roberta = transformers.RobertaConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=6, intermediate_size=64, vocab_size=97,
        max_position_embeddings=66, num_labels=3, type_vocab_size=1,
    )  # fmt: skip
    averaged = {"img_size": 32, "patch_size": 8, "embed_dim": 36, "depth": 2, "num_heads": 3, "num_classes": 5}
    ids = torch.randint(3, 97, (2, 12))
    return {
        "wide residual": ("ResNet", WideNet(), (torch.randn(2, 3, 32, 32),)),
        "separable": ("CNN", Separable(), (torch.randn(2, 3, 48, 48),)),
        "3-d U-Net": ("U-Net", VolumeUNet(), (torch.randn(1, 1, 16, 16, 16),)),
        "stacked LSTM": ("recurrent", StackedRecurrent(), (ids,)),
        "conv_layers": ("CNN", LayersCNN(), (torch.randn(2, 1, 28, 28),)),
        "dilated": ("CNN", Causal(), (torch.randn(2, 4, 60),)),
        "list ViT": ("ViT", ListViT(), (torch.randn(2, 3, 32, 32),)),
        "DistilBERT": ("BERT", transformers.DistilBertModel(distil), (ids,)),
        "RoBERTa classifier": ("BERT", transformers.RobertaForSequenceClassification(roberta), (ids,)),
        "timm ViT, mean": (
            "ViT",
            timm.create_model("vit_tiny_patch16_224", global_pool="avg", class_token=False, **averaged),
            (torch.randn(2, 3, 32, 32),),
        ),
    }
