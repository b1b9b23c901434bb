"""SegFormer-B0, as transformers has it."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from model_zoo.base.spec import InputSpec
from model_zoo.base.weights import DEFAULT, WeightsFile, resolve_weights
from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD, Normalize
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded, varied_pictures
from model_zoo.models._shared.renamed import with_todays_names
from model_zoo.models._shared.segmentation.labels import ade20k_labels
from model_zoo.models._shared.segmentation.model import SegmentationModel
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict

FILE = WeightsFile(
    "https://huggingface.co/nvidia/segformer-b0-finetuned-ade-512-512/resolve/main/model.safetensors",
    None,
    "segformer_b0_ade_512.safetensors",
)


def build(classes: int) -> SegformerForSemanticSegmentation:
    """The network with the published hyperparameters, which are transformers' defaults, and fresh weights."""
    config = SegformerConfig(num_labels=classes, attn_implementation="eager")
    return SegformerForSemanticSegmentation(config).eval()


class Model(SegmentationModel):
    """Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, NeurIPS 2021.

    Args:
        network: Takes normalised RGB, gives logits at a fourth of the resolution.
    """

    def __init__(self, network: SegformerForSemanticSegmentation) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load the published checkpoint, or your own with any number of classes.

        Args:
            weights: DEFAULT, the path of a checkpoint whose names are those of transformers, or `random`.
        """
        path = resolve_weights(weights, "segformer_base", {DEFAULT: FILE}, DEFAULT)
        if path is None:
            with seeded():
                model = cls(build(len(ade20k_labels()))).eval()
                estimate_batch_norm(model, varied_pictures(4, 128))
            return model
        state = read_state_dict(path)
        rows = [len(tensor) for name, tensor in state.items() if name.endswith("decode_head.classifier.bias")]
        network = build(rows[0] if rows and rows[0] else len(ade20k_labels()))
        load_strict(network, with_todays_names(state, network), str(path))
        return cls(network).eval()

    @property
    def num_classes(self) -> int:
        """How many classes there are: 150, or what the user's checkpoint has."""
        return self.network.config.num_labels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Tell the class of each pixel.

        Args:
            image: RGB [B, 3, H, W] in 0..1; height and width are multiples of 32.

        Returns:
            Logits [B, classes, H, W].
        """
        logits = self.network(self.normalize(image)).logits
        return nn.functional.interpolate(logits, image.shape[2:], mode="bilinear")

    @staticmethod
    def get_input_spec(batch_size: int = 1, height: int = 512, width: int = 512) -> InputSpec:
        """One picture, by default of the size the weights were trained for."""
        return SegmentationModel.get_input_spec(batch_size, height, width)

    def labels(self) -> list[str] | None:
        """The names of ADE20K; None for a user's own classes."""
        names = ade20k_labels()
        return names if self.num_classes == len(names) else None
