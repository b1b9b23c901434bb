"""The classification network of PointNet (arXiv:1612.00593)."""

from __future__ import annotations

import torch
from torch import nn


class Alignment(nn.Module):
    """Looks at all points and gives the matrix that turns them into a common position.

    Args:
        channels: Of each point; the matrix is [channels, channels].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(channels, 64, 1), nn.BatchNorm1d(64)
        self.conv2, self.bn2 = nn.Conv1d(64, 128, 1), nn.BatchNorm1d(128)
        self.conv3, self.bn3 = nn.Conv1d(128, 1024, 1), nn.BatchNorm1d(1024)
        self.fc1, self.bn4 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.fc2, self.bn5 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.fc3 = nn.Linear(256, channels * channels)
        self.register_buffer("identity", torch.eye(channels), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, channels, N] to the same, turned."""
        features = self.bn1(self.conv1(x)).relu()
        features = self.bn2(self.conv2(features)).relu()
        features = self.bn3(self.conv3(features)).relu().amax(2)
        features = self.bn4(self.fc1(features)).relu()
        features = self.bn5(self.fc2(features)).relu()
        matrix = self.fc3(features).unflatten(1, self.identity.shape) + self.identity
        return matrix.transpose(1, 2) @ x


class Features(nn.Module):
    """What each point looks like, and the largest of each feature over all points.

    Args:
        aligned: Features are turned, too, not the points only.
    """

    def __init__(self, aligned: bool) -> None:
        super().__init__()
        self.stn = Alignment(3)
        self.conv1, self.bn1 = nn.Conv1d(3, 64, 1), nn.BatchNorm1d(64)
        self.fstn = Alignment(64) if aligned else nn.Identity()
        self.conv2, self.bn2 = nn.Conv1d(64, 128, 1), nn.BatchNorm1d(128)
        self.conv3, self.bn3 = nn.Conv1d(128, 1024, 1), nn.BatchNorm1d(1024)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """[B, 3, N] to [B, 1024]."""
        x = self.fstn(self.bn1(self.conv1(self.stn(points))).relu())
        x = self.bn2(self.conv2(x)).relu()
        return self.bn3(self.conv3(x)).amax(2)


class Network(nn.Module):
    """Features and three linear layers.

    Args:
        aligned: As in `Features`.
    """

    def __init__(self, num_classes: int, aligned: bool = True) -> None:
        super().__init__()
        self.feat = Features(aligned)
        self.fc1, self.bn1 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.fc2, self.bn2 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.fc3 = nn.Linear(256, num_classes)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """[B, 3, N] to logits [B, classes]."""
        x = self.bn1(self.fc1(self.feat(points))).relu()
        return self.fc3(self.bn2(self.fc2(x)).relu())
