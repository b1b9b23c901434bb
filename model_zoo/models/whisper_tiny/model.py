"""Whisper tiny, as transformers builds it."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.models._shared.hub_parts import HubCollection
from model_zoo.models._shared.whisper.model import WhisperDecoder, WhisperEncoder, whisper

TINY = whisper("whisper_tiny", "openai/whisper-tiny", width=384, heads=6, layers=4)


class Encoder(WhisperEncoder):
    """4 layers of 384 units."""

    hub = TINY


class Decoder(WhisperDecoder):
    """4 layers of 384 units."""

    hub = TINY


class Model(HubCollection):
    """The network of https://arxiv.org/abs/2212.04356."""

    component_classes: ClassVar = {"encoder": Encoder, "decoder": Decoder}
    hub = TINY
