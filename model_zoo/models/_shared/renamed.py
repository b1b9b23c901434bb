"""Published checkpoints of transformers, under the names that its networks have today."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key


def with_todays_names(state: Mapping[str, torch.Tensor], network: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A published state dict by the names of the installed transformers, which renames what it loads.

    Args:
        state: As published, as transformers writes it today, or as our own classes do: with `network.` before each
            name.
    """
    renamings = [each for each in get_model_conversion_mapping(network) if isinstance(each, WeightRenaming)]
    names = {name: name.removeprefix("network.") for name in state}
    own = network.state_dict()
    return {
        plain if plain in own else rename_source_key(plain, renamings, [])[0]: state[name]
        for name, plain in names.items()
    }
