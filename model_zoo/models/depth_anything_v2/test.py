"""What holds for Depth Anything V2."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.transforms.v2.functional import normalize

from model_zoo.models._shared.depth.testing import DepthTests
from model_zoo.models._shared.imagenet_classifier.model import IMAGENET_MEAN, IMAGENET_STD
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models.depth_anything_v2.model import HUB, Model, draw_decoder

#: What the published file calls what transformers has renamed since.
PUBLISHED = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


class TestModel(DepthTests):
    """The other tests are inherited."""

    model_id = "depth_anything_v2"

    def test_published_checkpoint_gives_what_transformers_gives(self, pictures: torch.Tensor, tmp_path: Path) -> None:
        with seeded(2):
            network = HUB.build()
            draw_decoder(network)
        state = {}
        for name, tensor in network.state_dict().items():
            for today, published in PUBLISHED.items():
                name = name.replace(today, published)
            state[name] = tensor
        assert "backbone.encoder.layer.11.attention.attention.query.weight" in state
        path = tmp_path / "published.pth"
        torch.save(state, path)
        model = Model.from_pretrained(weights=str(path))
        with torch.inference_mode():
            expected = network(normalize(pictures, list(IMAGENET_MEAN), list(IMAGENET_STD))).predicted_depth
            torch.testing.assert_close(model(pictures)[:, 0], expected, rtol=1e-4, atol=1e-3)
