"""Train unet_segmentation on drawn scenes and write its weights, with a record of how.

Example:
    python -m model_zoo.models.unet_segmentation.train

About 35 minutes on one core with bfloat16 instructions; a GPU is used where there is one. Every scene is drawn
from its number, so anyone can make the same data. Nothing is learned from the scenes of the test split.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from model_zoo.datasets.scenes import COUNTS, MASK_CLASSES, draw_scene
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models._shared.reference import held_out_score, write_reference
from model_zoo.models._shared.rounding import rounded_weights
from model_zoo.models.unet_segmentation.model import FOLDER, WIDTH, Model

SEED, LEARNING_RATE, WEIGHT_DECAY = 0, 4e-3, 1e-2

#: Size of the scenes in pixels, scenes in a batch, batches.
Stage = tuple[int, int, int]

#: Smaller scenes first, because they teach nearly the same in half the time.
STAGES: tuple[Stage, ...] = ((192, 16, 1600), (256, 8, 500))

#: In the end weights are rounded to one of these numbers of bits, as a quantizer will round them.
ROUNDED: Stage = (256, 8, 100)
BITS = (4, 8)


class Scenes(torch.utils.data.Dataset[tuple[np.ndarray, np.ndarray]]):
    """Training scenes by number and size."""

    def __getitem__(self, place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Picture uint8 [3, H, W] and mask int64 [H, W]."""
        scene = draw_scene("train", *place)
        return np.ascontiguousarray(scene.picture.transpose(2, 0, 1)), scene.mask.astype(np.int64)


def batches(stages: Sequence[Stage], first: int) -> torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Scenes in batches of each stage's size, each scene once.

    Args:
        first: Number of the first scene.
    """
    numbers = itertools.count(first)
    order = [[(next(numbers), size) for _ in range(batch)] for size, batch, steps in stages for _ in range(steps)]
    return torch.utils.data.DataLoader(Scenes(), batch_sampler=order, num_workers=1, prefetch_factor=4)


def segmentation_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, which is about pixels, and 1 - Dice over the batch, in which each class counts the same.

    Args:
        logits: float32 [B, classes, H, W].
        masks: int64 [B, H, W].
    """
    logarithms = logits.log_softmax(dim=1)
    probabilities = logarithms.exp()
    truth = torch.zeros_like(logits).scatter_(1, masks[:, None], 1)
    both, either = (values.sum(dim=(0, 2, 3)) for values in (probabilities * truth, probabilities + truth))
    return nn.functional.nll_loss(logarithms, masks) + 1 - ((2 * both + 1) / (either + 1)).mean()


def train(device: torch.device) -> Model:
    """A trained model on the CPU, in evaluation mode: first plainly, then with its weights rounded."""
    model = Model(WIDTH, len(MASK_CLASSES), MASK_CLASSES).train().to(device, memory_format=torch.channels_last)
    learn(model, STAGES, LEARNING_RATE, first=0)
    with rounded_weights(model, BITS):
        learn(model, (ROUNDED,), LEARNING_RATE / 4, first=scene_count(STAGES))
    return model.cpu().to(memory_format=torch.contiguous_format).eval()


def learn(model: Model, stages: Sequence[Stage], rate: float, first: int) -> None:
    """Train on some stages, at a rate that rises to this and falls to nothing."""
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    steps = sum(count for _, _, count in stages)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    started = time.monotonic()
    for step, (pictures, masks) in enumerate(batches(stages, first), 1):
        pictures = (pictures.to(device).float() / 255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(pictures)
        loss = segmentation_loss(logits.float(), masks.to(device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.4f}, {time.monotonic() - started:.0f} s", flush=True)


def scene_count(stages: Sequence[Stage]) -> int:
    """How many scenes these stages take."""
    return sum(batch * steps for _, batch, steps in stages)


def main() -> int:
    """Train, score and write."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    started = time.monotonic()
    with seeded(SEED):
        model = train(device)
    seconds, score = round(time.monotonic() - started), held_out_score(model)
    record = {
        "device": str(device),
        "seed": SEED,
        "stages": [{"size": size, "batch": batch, "steps": steps} for size, batch, steps in (*STAGES, ROUNDED)],
        "seconds": seconds,
        "training_scenes": scene_count((*STAGES, ROUNDED)),
        "held_out_scenes": COUNTS["test"],
        "held_out_miou": round(score.value, 2),
    }
    write_reference(FOLDER, model, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
