"""What holds for NAFNet-Denoise."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from model_zoo.datasets.photos import photos, shrink
from model_zoo.models._shared.published import PublishedModel
from model_zoo.models._shared.restoration.app import RestorationApp
from model_zoo.models._shared.restoration.testing import RestorationTests
from model_zoo.models._shared.super_resolution.app import SuperResolutionApp
from model_zoo.utils.images import image_to_array


class TestModel(RestorationTests):
    """The other tests are inherited."""

    model_id = "nafnet_denoise"
    tensors = 664
    shapes: ClassVar = {
        "intro.weight": (32, 3, 3, 3),
        "encoders.3.7.sca.1.weight": (256, 256, 1, 1),
        "middle_blks.11.beta": (1, 512, 1, 1),
        "ups.0.0.weight": (1024, 512, 1, 1),
        "decoders.0.1.norm2.bias": (256,),
    }

    def test_tiles_leave_no_seam(self, model: PublishedModel, app: RestorationApp | SuperResolutionApp) -> None:
        """It looks at the whole of its input, so a tile is held against the network on the same pixels."""
        picture = shrink(photos("test")[0]).crop((0, 0, app.width - 2 * app.margin, app.height - 2 * app.margin))
        tile = np.pad(image_to_array(picture), [(0, 0), (0, 0), (app.margin,) * 2, (app.margin,) * 2], mode="edge")
        with torch.inference_mode():
            expected = model(torch.from_numpy(tile))[0].permute(1, 2, 0).numpy()
        inner = np.s_[app.margin : -app.margin, app.margin : -app.margin]
        assert np.abs(np.asarray(app.predict(picture)) - 255 * expected[inner]).max() <= self.seam
