"""Runs in the Ultralytics environment: one YOLO11n with random weights, and pictures to calibrate with and to judge on.

python yolo11n_prepare.py FOLDER SIZE
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from ultralytics import YOLO, settings
from ultralytics.utils import USER_CONFIG_DIR
from ultralytics.utils.checks import check_font

CALIBRATION = 8
HELD_OUT = 2


def main(folder: Path, size: int) -> None:
    settings.update({"sync": False})
    (USER_CONFIG_DIR / "Arial.ttf").touch()  # an export draws nothing, but looks for this font in the network
    check_font("Arial.ttf")  # matplotlib builds its list of fonts once for all runs
    pictures = [_picture(size, seed) for seed in range(CALIBRATION + HELD_OUT)]
    arrays = np.stack([np.asarray(picture, np.float32).transpose(2, 0, 1) / 255 for picture in pictures])
    _write_dataset(folder, pictures[:CALIBRATION])
    np.savez(folder / "calibration.npz", image=arrays[:CALIBRATION])

    torch.manual_seed(0)
    yolo = YOLO("yolo11n.yaml")
    with torch.no_grad():
        _bring_to_life(yolo.model, torch.from_numpy(arrays[:CALIBRATION]))
        yolo.save(folder / "yolo11n_random.pt")
        saved = YOLO(folder / "yolo11n_random.pt").model.eval()  # the file holds half precision
        output = saved(torch.from_numpy(arrays[CALIBRATION:]))[0]
    boxes, scores = output.split((4, output.shape[1] - 4), 1)
    np.savez(folder / "held_out.npz", image=arrays[CALIBRATION:], boxes=boxes.numpy(), scores=scores.numpy())
    print(f"boxes {boxes.min():.0f}..{boxes.max():.0f}, scores {scores.min():.4f}..{scores.max():.4f}")


def _picture(size: int, seed: int) -> Image.Image:
    """Shapes in random colours on noise."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (size // 16, size // 16, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for number in range(24):
        left, top = (int(value) for value in generator.integers(0, size, 2))
        width, height = (int(value) for value in generator.integers(size // 32, size // 3, 2))
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape((left, top, left + width, top + height), fill=tuple(int(c) for c in generator.integers(0, 256, 3)))
    return picture


def _write_dataset(folder: Path, pictures: list[Image.Image]) -> None:
    for kind in ("images", "labels"):
        (folder / "data" / kind).mkdir(parents=True)
    for number, picture in enumerate(pictures):
        picture.save(folder / "data" / "images" / f"{number}.png")
        (folder / "data" / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    names = "\n".join(f"  {number}: class{number}" for number in range(80))
    text = f"path: {folder / 'data'}\ntrain: images\nval: images\nnames:\n{names}\n"
    (folder / "data.yaml").write_text(text)


def _bring_to_life(network: torch.nn.Module, images: torch.Tensor) -> None:
    """Without statistics that fit the weights, and logits with a spread, nothing of the input reaches the outputs."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    network.train()(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
    raw = network(images)[1]
    head = network.model[-1]
    for branches, logits, bias in ((head.cv2, raw["boxes"], 0.0), (head.cv3, raw["scores"], -4.0)):
        for branch in branches:
            branch[-1].weight *= 1.5 / logits.std()
            branch[-1].bias.fill_(bias)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
