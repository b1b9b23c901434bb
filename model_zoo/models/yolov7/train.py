"""Train the reference detector, YOLOv7-tiny at half its width, on drawn scenes; write its weights and how they came.

Example:
    python -m model_zoo.models.yolov7.train

48 minutes on two busy cores with bfloat16 instructions; a GPU is used where there is one. Every scene is drawn from
its number, so anyone can make the same data. The held-out scenes are looked at once, at the end.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from rich.progress import track
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import box_iou, complete_box_iou_loss

from model_zoo.datasets.scenes import CLASSES, Scene, draw_scene
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models._shared.reference import held_out_score, write_reference
from model_zoo.models.yolov7.layers import STRIDES, Detect, Level
from model_zoo.models.yolov7.model import FOLDER, Model
from model_zoo.models.yolov7.network import Form, Network

SEED, WIDTH, LEARNING_RATE, WEIGHT_DECAY, EMA_DECAY = 0, 0.5, 3e-3, 0.02, 0.998

#: Size of the scenes in pixels, scenes in a batch, batches: small scenes first, because they teach the same for a
#: quarter of the time.
STAGES = ((320, 32, 1200), (640, 8, 800))

#: An anchor learns a box if neither side differs by more than this factor, as in the official training.
ANCHOR_RATIO = 4.0
#: Of box, objectness and class; objectness counts more where cells are small, as there are more without an object.
WEIGHTS, LEVELS = (1.0, 20.0, 1.5), (4.0, 1.0, 0.4)


class SceneStream(torch.utils.data.Dataset[Scene]):
    """The training scenes of all stages, in order of their number, every second one mirrored."""

    def __init__(self) -> None:
        self.sizes = np.repeat([size for size, _, _ in STAGES], [batch * steps for _, batch, steps in STAGES])

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Scene:
        return draw_scene("train", index, int(self.sizes[index]))


def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pictures [B, 3, H, W] in 0..1, and all their objects [N, 6]: number in the batch, class, x1, y1, x2, y2."""
    sampler, start = [], 0
    for _, batch, steps in STAGES:
        for _ in range(steps):
            sampler.append(list(range(start, start + batch)))
            start += batch
    workers = 1 if torch.get_num_threads() < 8 else 12
    yield from torch.utils.data.DataLoader(
        SceneStream(), batch_sampler=sampler, collate_fn=_collate, num_workers=workers, prefetch_factor=4
    )


def _collate(scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    pictures = torch.from_numpy(np.stack([scene.picture for scene in scenes])).permute(0, 3, 1, 2)
    rows = [
        np.concatenate([np.full((len(s.classes), 1), number), s.classes[:, None], s.boxes], axis=1)
        for number, s in enumerate(scenes)
    ]
    return pictures, torch.from_numpy(np.concatenate(rows)).float()


def detection_loss(levels: list[Level], truth: torch.Tensor, detect: Detect, size: int) -> torch.Tensor:
    """The loss of YOLOv7 without its auxiliary heads, and with the plain assignment of YOLOv5: every anchor of a
    fitting shape in the cell of a box's centre and in the two nearest cells learns that box.

    Args:
        truth: [N, 6]: number in the batch, class, x1, y1, x2, y2 in pixels.
    """
    total = truth.new_zeros(())
    for level, (centre, half, probabilities) in enumerate(levels):
        logits = torch.logit(probabilities.float(), 1e-6)
        cells, stride = size // STRIDES[level], STRIDES[level]
        picture, anchor, cell, row = _assign(truth, detect.anchor_grid[level].reshape(-1, 2), cells, stride)
        wanted = torch.zeros_like(logits[:, :, 0])
        if len(row):
            middle, reach = (value.float()[picture, anchor, :, cell] for value in (centre, half))
            found, right = torch.cat([middle - reach, middle + reach], 1), truth[row, 2:]
            total = total + WEIGHTS[0] * complete_box_iou_loss(found, right, reduction="mean")
            overlap = torch.diagonal(box_iou(found.detach(), right)).clamp(min=0)
            wanted[picture, anchor, cell] = overlap
            kinds = nn.functional.one_hot(truth[row, 1].long(), len(CLASSES)).float()
            answers = logits[picture, anchor, 1:, cell]
            total = total + WEIGHTS[2] * binary_cross_entropy_with_logits(answers, kinds)
        total = total + WEIGHTS[1] * LEVELS[level] / 4 * binary_cross_entropy_with_logits(logits[:, :, 0], wanted)
    return total


def _assign(
    truth: torch.Tensor, anchors: torch.Tensor, cells: int, stride: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which anchor of which cell learns which box: numbers in the batch, of anchors, cells and rows in `truth`."""
    sides = truth[:, 4:6] - truth[:, 2:4]
    ratio = sides[:, None] / anchors[None]
    row, anchor = torch.nonzero(torch.maximum(ratio, 1 / ratio).amax(2) < ANCHOR_RATIO, as_tuple=True)
    at = (truth[row, 2:4] + truth[row, 4:6]) / 2 / stride
    base, part = at.floor(), at - at.floor()
    step = torch.where(part < 0.5, -1.0, 1.0)  # towards the nearer neighbour in each direction
    moves = torch.stack([torch.zeros_like(step), step * step.new_tensor([1, 0]), step * step.new_tensor([0, 1])])
    place = (base + moves).long()  # [3, M, 2]
    valid = ((place >= 0) & (place < cells)).all(2)
    cell = place[..., 1] * cells + place[..., 0]
    row, anchor = row.expand(3, -1)[valid], anchor.expand(3, -1)[valid]
    return truth[row, 0].long(), anchor, cell[valid], row


def train(device: torch.device) -> tuple[Network, float]:
    """A trained network on the CPU, before folding, and the seconds it took."""
    started = time.monotonic()
    network = Network(Form("yolov7-tiny", len(CLASSES), width=WIDTH)).train()
    network.to(device=device, memory_format=torch.channels_last)
    detect = network.model[-1]
    for conv, stride in zip(detect.m, STRIDES, strict=True):  # an object is rare: say so from the start
        with torch.no_grad():
            bias = conv.bias.view(-1, 5 + len(CLASSES))
            bias[:, 4] += np.log(8 / (STAGES[0][0] / stride) ** 2)
            bias[:, 5:] += np.log(0.6 / (len(CLASSES) - 0.99))
    _in_single_precision(detect)
    average = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    steps = sum(count for _, _, count in STAGES)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for step, (pictures, truth) in enumerate(track(batches(), "training", total=steps)):
        pictures = pictures.to(device).float().div(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            levels = network(pictures)
        loss = detection_loss(levels, truth.to(device), detect, pictures.shape[-1])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            average[name] = average[name].lerp(value, 1 - decay) if value.is_floating_point() else value
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f}, {time.monotonic() - started:.0f} s", flush=True)
    network.load_state_dict(average)
    return network.cpu().to(memory_format=torch.contiguous_format), time.monotonic() - started


def _in_single_precision(detect: Detect) -> None:
    """Keep autocast out of the decoding: sigmoids close to 0 and 1 teach nothing in bfloat16."""
    decode = detect.forward

    def forward(*maps: torch.Tensor) -> list[Level]:
        with torch.autocast(maps[0].device.type, enabled=False):
            return decode(*(features.float() for features in maps))

    detect.forward = forward


def main() -> int:
    """Train, write and score."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with seeded(SEED):
        network, seconds = train(device)
    model = Model(network.fold(), reference=True).eval()
    score = held_out_score(model)
    record = {
        "device": str(device),
        "seed": SEED,
        "width": WIDTH,
        "stages": [{"size": size, "batch": batch, "steps": steps} for size, batch, steps in STAGES],
        "seconds": round(seconds),
        "held_out_scenes": score.samples,
        f"held_out_{score.name}": round(score.value, 2),
        **{f"held_out_{name}": round(value, 2) for name, value in score.details.items()},
    }
    write_reference(FOLDER, model, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
