"""Name the thing that a point cloud shows with PointNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from model_zoo.models._shared.classifier import Prediction, RankingApp
from model_zoo.models._shared.specs import known_spec
from model_zoo.models.pointnet.clouds import CloudSource, load_cloud, unit_ball
from model_zoo.models.pointnet.labels import MODELNET40
from model_zoo.utils.arguments import checked


class App(RankingApp):
    """`App(Model.from_pretrained("pointnet.pth")).predict("chair.ply")`.

    Args:
        model: Takes points [1, 3, N] in the unit ball, gives logits [1, classes].
        labels: Names of the classes; default: the 40 of ModelNet where they fit.
    """

    @checked()
    def __init__(self, model: Callable[[torch.Tensor], torch.Tensor], labels: Sequence[str] | None = None) -> None:
        super().__init__(model, labels)
        spec = known_spec(model)
        self.num_points = next(iter(spec.values())).shape[2] if spec else 1024

    @checked()
    def predict(self, cloud: CloudSource, top_k: int = 5) -> list[Prediction]:
        """Name a thing.

        Args:
            cloud: The path of an .npy, .xyz or .ply file, or an array [N, 3].
            top_k: How many classes to give at most.

        Returns:
            The most probable classes, best first.

        Raises:
            UserError: The cloud cannot be read, or the labels do not fit the model.
            ModelZooError: The model gives something other than finite logits.
        """
        return self.rank(torch.from_numpy(unit_ball(load_cloud(cloud), self.num_points)[None]), top_k)

    def default_labels(self) -> list[str]:
        """The 40 names of ModelNet."""
        return list(MODELNET40)
