"""Whisper base, as transformers builds it."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.models._shared.hub_parts import HubCollection
from model_zoo.models._shared.whisper.model import WhisperDecoder, WhisperEncoder, whisper

BASE = whisper("whisper_base", "openai/whisper-base", width=512, heads=8, layers=6)


class Encoder(WhisperEncoder):
    """6 layers of 512 units."""

    hub = BASE


class Decoder(WhisperDecoder):
    """6 layers of 512 units."""

    hub = BASE


class Model(HubCollection):
    """The network of https://arxiv.org/abs/2212.04356."""

    component_classes: ClassVar = {"encoder": Encoder, "decoder": Decoder}
    hub = BASE
