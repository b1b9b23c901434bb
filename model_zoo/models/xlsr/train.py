"""Train xlsr on the calibration photographs and write its weights, with a record of how.

Example:
    python -m model_zoo.models.xlsr.train

36 minutes on a busy core with bfloat16 instructions; a GPU is used where there is one. Nothing is learned from
the photographs of the test split.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from PIL import Image
from torch import nn

from model_zoo.datasets.photos import SCALE, enlarge, photos, shrink
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models._shared.reference import held_out_score, write_reference
from model_zoo.models._shared.rounding import rounded_weights
from model_zoo.models.xlsr.model import FOLDER, Model

SEED, STEPS, ROUNDED_STEPS, BATCH, PATCH = 0, 8_000, 1_000, 16, 32
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-3

#: What weights are rounded to in the last steps. With fewer bits so small a network does not get back to what it was.
BITS = (8,)

#: The photographs are learned at these sizes: a smaller one has sharper detail.
SIZES = (1.0, 0.8, 0.6, 0.45)

#: Charbonnier's loss is nearly a square below this and nearly a difference above, as in the paper.
EPSILON = 0.1


class Patches:
    """Random pieces of the photographs, turned, mirrored and with their colours swapped."""

    def __init__(self) -> None:
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        for photo in photos("calibration"):
            for size in SIZES:
                width, height = (int(side * size) // SCALE * SCALE for side in photo.size)
                large = photo.resize((width, height), Image.Resampling.BICUBIC)
                self.pairs.append((_tensor(shrink(large)), _tensor(large)))
        areas = np.array([small[0].numel() for small, _ in self.pairs])
        self.shares = areas / areas.sum()

    def batch(self, random: np.random.RandomState) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs uint8 [BATCH, 3, PATCH, PATCH] and what they should become, four times as large."""
        chosen = [self._patch(random, int(index)) for index in random.choice(len(self.pairs), BATCH, p=self.shares)]
        inputs, targets = zip(*chosen, strict=True)
        return torch.stack(inputs), torch.stack(targets)

    def _patch(self, random: np.random.RandomState, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        small, large = self.pairs[index]
        top, left = (int(random.randint(side - PATCH + 1)) for side in small.shape[1:])
        small = small[:, top : top + PATCH, left : left + PATCH]
        large = large[:, SCALE * top :, SCALE * left :][:, : SCALE * PATCH, : SCALE * PATCH]
        turns, mirrored, colours = int(random.randint(4)), bool(random.randint(2)), random.permutation(3)
        both = (torch.rot90(part[colours], turns, (1, 2)) for part in (small, large))
        small, large = (part.flip(2) if mirrored else part for part in both)
        return small, large


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def start(model: Model) -> None:
    """Make it repeat each pixel: the colours pass through three of the channels, and all else is learned on top."""
    with torch.no_grad():
        for colour in range(3):
            model.residual.weight[colour, colour, 1, 1] += 1
            model.tail[0].weight[colour, 32 + colour] += 1
            model.tail[2].weight[colour * SCALE**2 : (colour + 1) * SCALE**2, colour, 1, 1] += 1


def train(device: torch.device) -> Model:
    """A trained model on the CPU, in evaluation mode: first plainly, then with its weights rounded."""
    model = Model()
    start(model)
    model = model.train().to(device, memory_format=torch.channels_last)
    learn(model, STEPS, LEARNING_RATE)
    with rounded_weights(model, BITS):
        learn(model, ROUNDED_STEPS, LEARNING_RATE / 5)
    return model.cpu().to(memory_format=torch.contiguous_format).eval()


def learn(model: Model, steps: int, rate: float) -> None:
    """Train for some steps, at a rate that rises to this and falls to nothing."""
    device = next(model.parameters()).device
    patches, random = Patches(), np.random.RandomState(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    started, total = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        inputs, targets = (part.to(device).float() / 255 for part in patches.batch(random))
        with torch.autocast(device.type, torch.bfloat16):
            outputs = model(inputs.contiguous(memory_format=torch.channels_last))
        loss = ((outputs.float() - targets).square() + EPSILON**2).sqrt().mean() - EPSILON
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 500 == 0:
            print(f"step {step} of {steps}: loss {total / 500:.6f}, {time.monotonic() - started:.0f} s", flush=True)
            total = 0.0


class Bicubic(Model):
    """What a network has to beat, behind the same interface."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] to [B, 3, 4 H, 4 W], in 0..1."""
        return torch.stack([torch.from_numpy(enlarge(picture)) for picture in image.numpy()])


def main() -> int:
    """Train, score and write."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    started = time.monotonic()
    with seeded(SEED):
        model = train(device)
    seconds = round(time.monotonic() - started)
    score, bicubic = held_out_score(model), held_out_score(Bicubic())
    record = {
        "device": str(device),
        "seed": SEED,
        "steps": STEPS,
        "steps_with_rounded_weights": ROUNDED_STEPS,
        "batch": BATCH,
        "seconds": seconds,
        "training_photographs": len(photos("calibration")),
        "held_out_photographs": len(photos("test")),
        "held_out_crops": score.samples,
        "held_out_psnr": round(score.value, 3),
        "held_out_psnr_of_bicubic": round(bicubic.value, 3),
    }
    write_reference(FOLDER, model, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
