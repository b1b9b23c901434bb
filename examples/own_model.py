"""Bring your own network: any torch module and an input spec, no folder, no registration."""

import torch

from model_zoo import export
from model_zoo.base.spec import TensorSpec

network = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8192, 4)
)
spec = {"image": TensorSpec(shape=(1, 3, 32, 32), value_range=(0.0, 1.0))}
result = export(network, input_spec=spec, output_names=["scores"], name="mine", chipset="sm8650", precision="float")
print(result.targets[0].folder, result.targets[0].components[0].parity)
