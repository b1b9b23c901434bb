"""PointNet: our own implementation of the published classification network."""

from __future__ import annotations

from typing import Self

import torch

from model_zoo.base.model import BaseModel
from model_zoo.base.spec import InputSpec, TensorSpec
from model_zoo.base.weights import WeightsFile, resolve_weights
from model_zoo.checkpoints.state_dict import load_strict, read_state_dict
from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded
from model_zoo.models.pointnet.labels import MODELNET40
from model_zoo.models.pointnet.network import Network
from model_zoo.utils.errors import UserError

#: The authors' weights are TensorFlow's; there is no published file of these names.
WEIGHTS = {"modelnet40": WeightsFile(None, None, "pointnet_modelnet40.pth")}


class Model(BaseModel):
    """PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation, https://arxiv.org/abs/1612.00593.

    Args:
        network: In evaluation mode.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def from_pretrained(cls, weights: str = "DEFAULT") -> Self:
        """Load your checkpoint, with any number of classes.

        Args:
            weights: DEFAULT (pointnet_modelnet40.pth, which you put in place), the path of a checkpoint with the names
                of the common PyTorch port (feat.stn.conv1.weight, …, fc3.bias), or `random`.
        """
        path = resolve_weights(weights, "pointnet", WEIGHTS, "modelnet40")
        if path is None:
            with seeded():
                model = cls(Network(len(MODELNET40))).eval()
                estimate_batch_norm(model, _random_clouds(32, 256))
            return model
        state = {name.removeprefix("network."): tensor for name, tensor in read_state_dict(path).items()}
        last = state.get("fc3.weight")
        if last is None or not len(last):
            raise UserError(f"{path} is no checkpoint of PointNet: it has no fc3.weight")
        network = Network(len(last), aligned=any(name.startswith("feat.fstn.") for name in state))
        load_strict(network, state, str(path))
        return cls(network).eval()

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Classify point clouds.

        Args:
            points: x, y, z [B, 3, N], moved and scaled into the unit ball.

        Returns:
            Logits [B, classes].
        """
        return self.network(points)

    @staticmethod
    def get_input_spec(batch_size: int = 1, num_points: int = 1024) -> InputSpec:
        """One point cloud.

        Args:
            batch_size: Clouds in one call.
            num_points: Points in a cloud.
        """
        return {"points": TensorSpec((batch_size, 3, num_points), value_range=(-1.0, 1.0))}

    @staticmethod
    def get_output_names() -> list[str]:
        """Names of the outputs."""
        return ["logits"]

    def labels(self) -> list[str] | None:
        """The names of ModelNet40; None for a user's own classes."""
        return list(MODELNET40) if self.network.fc3.out_features == len(MODELNET40) else None


def _random_clouds(count: int, points: int) -> torch.Tensor:
    """Ellipsoids of all proportions [count, 3, points], in the unit ball."""
    cloud = torch.nn.functional.normalize(torch.randn(count, 3, points), dim=1) * torch.rand(count, 3, 1)
    return cloud / cloud.norm(dim=1, keepdim=True).amax(2, keepdim=True)
