"""Networks of transformers, built from their published hyperparameters: nothing is asked of any hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, apply_renamings

from model_zoo.base.weights import WeightsFile, resolve_weights
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.models._shared.random_weights import randomize_vectors, seeded

#: How TensorFlow called the two tensors of a layer normalisation, in checkpoints converted long ago.
_OLD_NAMES = {".gamma": ".weight", ".beta": ".bias"}
#: How tensors end that some networks no longer keep.
_UNUSED = ("position_ids", "num_batches_tracked")
#: What configurations call the number of layers.
_LAYERS = ("num_hidden_layers", "n_layers", "encoder_layers", "decoder_layers")


@dataclass
class HubNetwork:
    """A network and where its weights are published.

    Args:
        model_id: Names the folder of the weights.
        build_network: From a configuration.
        config_class: Of the configuration.
        settings: The published hyperparameters; those of parts are dicts.
        published: Owner and name on the Hugging Face hub.
        other_tasks: How tensors begin that the published checkpoint holds for other tasks.
        filename: Of the published checkpoint.
        settings_of: Settings that follow from a checkpoint, such as the number of classes, by its tensors.
        computed: How tensors end that the network works out by itself; a checkpoint may leave them out.
        convert: From the published tensors to those of a network that was changed to fit the NPU.
    """

    model_id: str
    build_network: Callable[..., PreTrainedModel]
    config_class: type[PreTrainedConfig]
    settings: dict[str, Any]
    published: str
    other_tasks: tuple[str, ...] = ()
    filename: str = "model.safetensors"
    settings_of: Callable[[Mapping[str, torch.Tensor]], dict[str, Any]] = lambda _: {}
    computed: tuple[str, ...] = ()
    convert: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = dict

    def build(self, **changed: Any) -> PreTrainedModel:
        """The network with freshly drawn weights, in evaluation mode.

        Args:
            changed: Settings that differ from the published ones.
        """
        settings = {"attn_implementation": "eager"} | self.settings | changed
        network = self.build_network(self.config_class(**settings))
        network.train(False)
        return network

    def load(self, weights: str) -> tuple[PreTrainedModel, Path | None]:
        """The network with the weights that a user asks for.

        Args:
            weights: DEFAULT, the path of a checkpoint whose names are those of transformers, or `random`.

        Returns:
            The network, and the file that was read; None for `random`.

        Raises:
            UserError: There is no such file, or it does not fit exactly.
        """
        url = f"https://huggingface.co/{self.published}/resolve/main/{self.filename}"  # which gives no checksums
        path = resolve_weights(weights, self.model_id, {"HUB": WeightsFile(url, None, self.filename)}, "HUB")
        state = {} if path is None else read_state_dict(path)
        with seeded():
            network = self.build(
                **self.settings_of({name.removeprefix("network."): each for name, each in state.items()})
            )
            if path is None:
                randomize_vectors(network)
        if path is not None:
            own = {name: value for name, value in network.state_dict().items() if name.endswith(self.computed)}
            converted = self.convert(fitting(state, network, self.other_tasks))
            load_strict(network, own | converted, str(path))
        return network, path

    @contextmanager
    def reduced(self, **most: int) -> Iterator[None]:
        """Two layers inside the block, for tests.

        Args:
            most: Other settings that are to be no larger than this.
        """
        whole = self.settings
        self.settings = _reduced(whole, dict.fromkeys(_LAYERS, 2) | most)
        try:
            yield
        finally:
            self.settings = whole


def fitting(
    state: Mapping[str, torch.Tensor], network: PreTrainedModel, other_tasks: tuple[str, ...] = ()
) -> dict[str, torch.Tensor]:
    """A published state dict, with the names that the network has today.

    Args:
        state: As published, or as our own classes write it: with `network.` before each name.
        other_tasks: How tensors begin that this network has no use for.
    """
    fitted, own = {}, network.state_dict().keys()
    renamings = [each for each in get_model_conversion_mapping(network) if isinstance(each, WeightRenaming)]
    for name, tensor in state.items():
        name = name.removeprefix("network.")
        name = name if name in own else apply_renamings(name, renamings)
        for old, new in _OLD_NAMES.items():
            name = name.removesuffix(old) + new if name.endswith(old) else name
        unused = name.endswith(_UNUSED) and name not in own
        if not unused and not name.startswith(other_tasks):
            fitted[name] = tensor
    # One tensor under two names is published once.
    for name, source in (network.all_tied_weights_keys or {}).items():
        if name not in fitted and source in fitted:
            fitted[name] = fitted[source]
    return fitted


def _reduced(settings: Mapping[str, Any], most: Mapping[str, int]) -> dict[str, Any]:
    return {
        key: _reduced(value, most) if isinstance(value, dict) else min(value, most[key]) if key in most else value
        for key, value in settings.items()
    }
