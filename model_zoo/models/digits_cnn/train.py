"""Train digits_cnn on the calibration part of the digits and write its weights, with a record of how.

Example:
    python -m model_zoo.models.digits_cnn.train

Everything is seeded and runs on one thread: the same machine gives the same file again. The held-out part is looked at
once, at the end.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import nn

from model_zoo.datasets.digits import digits
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models._shared.reference import write_reference
from model_zoo.models.digits_cnn.model import FOLDER, Model

SEED, EPOCHS, BATCH, LEARNING_RATE = 0, 60, 64, 4e-3


def train() -> Model:
    """A trained model, in evaluation mode."""
    images, targets = (torch.from_numpy(part) for part in digits("calibration"))
    model = Model().train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    loss_function = nn.CrossEntropyLoss(label_smoothing=0.05)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
            loss = loss_function(model(shifted(images[batch])), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Move each picture by up to one pixel: the digits fill their frame, so most stay whole."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (len(images), 2)).tolist()
    return torch.stack([picture[:, y : y + 8, x : x + 8] for picture, (y, x) in zip(padded, offsets, strict=True)])


def top_1(model: Model, images: np.ndarray, targets: np.ndarray) -> float:
    """Share of right answers."""
    with torch.inference_mode():
        answers = model(torch.from_numpy(images)).argmax(dim=1).numpy()
    return float((answers == targets).mean())


def main() -> int:
    """Train, score and write."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with seeded(SEED):
        model = train()
    record = {
        "seed": SEED,
        "epochs": EPOCHS,
        "training_samples": len(digits("calibration")[1]),
        "training_top_1": round(top_1(model, *digits("calibration")), 4),
        "held_out_samples": len(digits("test")[1]),
        "held_out_top_1": round(top_1(model, *digits("test")), 4),
    }
    write_reference(FOLDER, model, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
