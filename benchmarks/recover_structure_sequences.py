"""Transformers and recurrent models as different people write them, for recover_structure.py."""

from __future__ import annotations

import math

import torch
from recover_structure_models import PositionalEncoding
from torch import Tensor, nn
from torch.nn import functional as F


class LanguageModel(nn.Module):
    """As in the tutorial: the sequence first, scaled embeddings, a causal mask."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_encoder = PositionalEncoding(48, 64)
        layer = nn.TransformerEncoderLayer(48, 6, 96)
        self.transformer_encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.embedding = nn.Embedding(80, 48)
        self.linear = nn.Linear(48, 80)

    def forward(self, src: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(len(src))
        x = self.pos_encoder(self.embedding(src) * math.sqrt(48))
        return self.linear(self.transformer_encoder(x, mask))


class Translator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.src_embedding, self.tgt_embedding = nn.Embedding(70, 32), nn.Embedding(90, 32)
        self.transformer = nn.Transformer(32, 4, 2, 3, 64, batch_first=True)
        self.generator = nn.Linear(32, 90)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(tgt.size(1))
        return self.generator(self.transformer(self.src_embedding(src), self.tgt_embedding(tgt), tgt_mask=mask))


class SeriesTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_proj = nn.Linear(7, 40)
        self.pos_embedding = nn.Parameter(torch.randn(1, 50, 40) * 0.1)
        layer = nn.TransformerEncoderLayer(40, 5, 80, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(40), enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(40, 20), nn.ReLU(), nn.Dropout(0.1), nn.Linear(20, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(self.input_proj(x) + self.pos_embedding[:, : x.size(1)])
        return self.head(x[:, -1])


class TextClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token_emb, self.pos_emb = nn.Embedding(60, 32), nn.Embedding(40, 32)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 48, batch_first=True), 2)
        self.fc = nn.Linear(32, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token_emb(ids) + self.pos_emb(torch.arange(ids.size(1)))
        return self.fc(self.encoder(x).mean(1))


class PlainNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, None, 1e-5)


class NanoBlock(nn.Module):
    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = PlainNorm(width), PlainNorm(width)
        self.attn = nn.Module()
        self.attn.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.attn.c_proj = nn.Linear(width, width, bias=False)
        self.attn.register_buffer("bias", torch.tril(torch.ones(length, length)).view(1, 1, length, length))
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width, bias=False), "c_proj": nn.Linear(4 * width, width, bias=False)}
        )
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (p.view(b, t, self.heads, -1).transpose(1, 2) for p in self.attn.c_attn(self.ln_1(x)).split(c, 2))
        weights = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
        weights = weights.masked_fill(self.attn.bias[:, :, :t, :t] == 0, float("-inf")).softmax(-1)
        x = x + self.attn.c_proj((weights @ v).transpose(1, 2).reshape(b, t, c))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class NanoGPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(65, 48),
                "wpe": nn.Embedding(32, 48),
                "h": nn.ModuleList(NanoBlock(48, 3, 32) for _ in range(3)),
                "ln_f": PlainNorm(48),
            }
        )
        self.lm_head = nn.Linear(48, 65, bias=False)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.transformer["wte"](idx) + self.transformer["wpe"](torch.arange(idx.size(1)))
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))


class OwnViTLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.out_proj = nn.Linear(width, width)
        self.ffn = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * width, width))
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        b, n, d = y.shape
        q, k, v = (p(y).view(b, n, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        x = x + self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
        return x + self.ffn(self.norm2(x))


class OwnViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(1, 32, 7, 7)
        self.position = nn.Parameter(torch.randn(16, 32) * 0.1)
        self.layers = nn.ModuleList(OwnViTLayer(32, 8) for _ in range(2))
        self.norm = nn.LayerNorm(32)
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embedding(x).flatten(2).transpose(1, 2) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.classifier(self.norm(x).mean(1))


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(100, 24)
        self.lstm = nn.LSTM(24, 32, num_layers=2, bidirectional=True)
        self.hidden2tag = nn.Linear(64, 9)

    def forward(self, sentence: Tensor) -> Tensor:
        return F.log_softmax(self.hidden2tag(self.lstm(self.word_embeddings(sentence))[0]), dim=-1)


class Sentiment(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(120, 16, padding_idx=0)
        self.gru = nn.GRU(16, 20, bidirectional=True, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(40, 12), nn.Linear(12, 1)

    def forward(self, ids: Tensor) -> Tensor:
        _, hidden = self.gru(self.embedding(ids))
        return torch.sigmoid(self.fc2(F.relu(self.fc1(torch.cat([hidden[-2], hidden[-1]], dim=1)))))


class Forecaster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(input_size=6, hidden_size=28, num_layers=1, batch_first=True)
        self.regressor = nn.Sequential(nn.Linear(28, 14), nn.Tanh(), nn.Linear(14, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.regressor(self.rnn(x)[0][:, -1, :])


class CharRNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 20)
        self.rnn = nn.RNN(20, 32, num_layers=2, nonlinearity="relu", batch_first=True)
        self.decoder = nn.Linear(32, 50)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.rnn(self.embed(x))[0])
