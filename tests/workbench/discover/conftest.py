"""A module of a user's: models that can be traced, and one for each way not to be."""

from __future__ import annotations

from pathlib import Path

import pytest

SOURCE = """
import os
import signal
from pathlib import Path

import torch
from torch import nn


class Fine(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return self.convolution(x).relu()


class Branch(Fine):
    def forward(self, x):
        if x.sum() > 0:
            return self.convolution(x)
        return x


class Lists(nn.Module):
    def forward(self, images: list[torch.Tensor]):
        return [image + 1 for image in images]


class Length(Fine):
    def forward(self, x):
        return x[: len(x)]


class Baked(Fine):
    count = 0

    def forward(self, x):
        Baked.count += 1
        return self.convolution(x).mean(dim=(2, 3), keepdim=Baked.count > 1)


class Hangs(nn.Module):
    def forward(self, x):
        while True:
            pass


class Exits(nn.Module):
    def forward(self, x):
        os._exit(0)


class Dies(nn.Module):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGSEGV)


class Fetches(nn.Module):
    def __init__(self):
        super().__init__()
        torch.hub.load_state_dict_from_url("https://example.invalid/weights.pth")


class Lacks(nn.Module):
    def __init__(self):
        super().__init__()
        import no_such_package_here


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise ValueError("half built")


class Needs(nn.Module):
    def __init__(self, width):
        super().__init__()


def made() -> Fine:
    return Fine()


def unasked():
    Path("unasked").touch()
    return Fine()


print("noise on standard output")
"""


@pytest.fixture(scope="module")
def module_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "nets.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path
