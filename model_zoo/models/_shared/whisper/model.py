"""Whisper in two parts: log-mel spectrogram to the decoder's keys and values, and one token of text after another."""

from __future__ import annotations

from typing import Any

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from model_zoo.base.spec import InputSpec, TensorSpec
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.models._shared.seq2seq.model import Seq2SeqDecoder, Seq2SeqEncoder

#: Frames of a spectrogram of 30 s; the encoder gives one feature for two of them.
FRAMES = 3000


class WhisperEncoder(Seq2SeqEncoder):
    """Listens to 30 s of speech."""

    network: Any

    def take(self, network: Any) -> None:
        self.network = network.model.encoder
        self.project_for(network.model.decoder.layers)

    def encode(self, mel: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network(mel).last_hidden_state
        return features

    @classmethod
    def get_input_spec(cls) -> InputSpec:
        """The log-mel spectrogram of 30 s, about -1 to 1."""
        return {"mel": TensorSpec((1, cls.hub.settings["num_mel_bins"], FRAMES), value_range=(-1.5, 1.5))}


class WhisperDecoder(Seq2SeqDecoder):
    """Writes down what was heard, a token at a time."""

    past = 223
    network: Any
    head: Any

    def take(self, network: Any) -> None:
        self.network = network.model.decoder
        self.layers = self.network.layers
        self.head = network.proj_out

    @classmethod
    def vocabulary(cls) -> int:
        return int(cls.hub.settings["vocab_size"])

    @classmethod
    def source(cls) -> int:
        return FRAMES // 2

    def embed(self, input_ids: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        positions = torch.nn.functional.embedding(position, self.network.embed_positions.weight)
        embedded: torch.Tensor = self.network.embed_tokens(input_ids) + positions
        return embedded

    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.network.layer_norm(hidden))
        return scores


def whisper(model_id: str, published: str, width: int, heads: int, layers: int) -> HubNetwork:
    """A multilingual Whisper of 80 mel bands; encoder and decoder have the same size."""
    settings = {
        "vocab_size": 51865,
        "num_mel_bins": 80,
        "d_model": width,
        "encoder_layers": layers,
        "decoder_layers": layers,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "decoder_ffn_dim": 4 * width,
        "max_source_positions": FRAMES // 2,
        "max_target_positions": 448,
        "decoder_start_token_id": 50258,
        "bos_token_id": 50257,
        "eos_token_id": 50257,
        "pad_token_id": 50257,
    }
    return HubNetwork(model_id, WhisperForConditionalGeneration, WhisperConfig, settings, published)
