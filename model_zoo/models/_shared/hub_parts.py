"""Networks of transformers that are compiled in parts, such as encoder and decoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from model_zoo.base.collection import CollectionModel
from model_zoo.base.model import BaseModel
from model_zoo.models._shared.hub_network import HubNetwork
from model_zoo.utils.errors import UserError
from model_zoo.utils.tokenizer import tokenizer_beside


class HubPart(BaseModel):
    """A part of a network of transformers that is compiled on its own. Subclasses name the network in `hub`.

    Args:
        network: The whole.
    """

    hub: ClassVar[HubNetwork]

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.take(network)

    @abstractmethod
    def take(self, network: Any) -> None:
        """Keep what is needed of the whole network."""

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load one part alone.

        Args:
            weights: DEFAULT, the path of a checkpoint whose names are those of transformers, or `random`.
        """
        return cls(cls.hub.load(weights)[0]).eval()


class HubCollection(CollectionModel):
    """Parts with the same weights. Subclasses list their classes and name the network in `hub`."""

    hub: ClassVar[HubNetwork]
    #: Looks for the tokenizer beside the weights.
    find_tokenizer: ClassVar[Callable[[Path], Path | None]] = staticmethod(tokenizer_beside)
    tokenizer: Path | None = None

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT", tokenizer: Path | None = None) -> Self:
        """Load the published checkpoint, or your own of the same network.

        Args:
            weights: DEFAULT, the path of a checkpoint whose names are those of transformers, or `random`.
            tokenizer: The tokenizer file of the weights, or the folder of several; without it, the one beside them.
        """
        if tokenizer is not None and not Path(tokenizer).exists():
            raise UserError(f"there is no tokenizer {tokenizer}", "give a tokenizer.json")
        network, path = cls.hub.load(weights)
        parts: dict[str, Any] = dict(cls.component_classes)
        whole = cls({name: part(network).eval() for name, part in parts.items()})
        whole.tokenizer = tokenizer or (cls.find_tokenizer(path) if path else None)
        return whole

    def tokenizer_path(self) -> Path | None:
        """The tokenizer file, if it is known."""
        return self.tokenizer

    @classmethod
    def reduced(cls) -> AbstractContextManager[None]:
        """Two layers inside the block, for tests."""
        return cls.hub.reduced()
