"""EasyOCR's two networks: CRAFT finds words in a picture, a CRNN reads a line. On words drawn over photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.trained.network import Input, Networks, Task, TrainedNetwork, first, same_region
from benchmarks.trained.pictures import CALIBRATION, UNSEEN, load_state, package_folder
from benchmarks.trained.texts import SENTENCES
from model_zoo.base.spec import Arrays, TensorSpec

#: Height and width of the picture that CRAFT sees, and of the line that the CRNN reads.
_SCENE, _LINE = (320, 480), (64, 256)
#: From here on a pixel is part of a word.
_WORD = 0.4
#: Mean and deviation of ImageNet.
_MEAN, _DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


class _Scores(torch.nn.Module):
    """CRAFT without its features, channels first."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image)[0].permute(0, 3, 1, 2)


class _Reader(torch.nn.Module):
    """The CRNN without its second argument, which it does not read."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image, None)


def craft() -> TrainedNetwork:
    """VGG-16 with batch normalisation and a decoder."""
    from easyocr.craft import CRAFT  # type: ignore[import-not-found]

    network = CRAFT()
    network.load_state_dict(_without_prefix("craft_mlt_25k.pth"))
    spec = {"image": TensorSpec((1, 3, *_SCENE), value_range=(-2.2, 2.7))}
    inputs = (_scenes(files, part) for part, files in enumerate((CALIBRATION, UNSEEN)))
    task = Task("pixels of words as torch, IoU %", same_region(_WORD, 0), 90.0)
    return TrainedNetwork(_Scores(network).eval(), spec, ("scores",), *inputs, task)


def crnn() -> TrainedNetwork:
    """Convolutions, two bidirectional LSTMs and a classifier for each column."""
    from easyocr.model.vgg_model import Model  # type: ignore[import-not-found]

    network = Model(1, 256, 256, 97)
    network.load_state_dict(_without_prefix("english_g2.pth"))
    spec = {"image": TensorSpec((1, 1, *_LINE), value_range=(-1.0, 1.0))}
    inputs = (_lines(part) for part in (0, 1))
    task = Task("lines read as torch, %", _same_text, 90.0)
    return TrainedNetwork(_Reader(network).eval(), spec, ("logits",), *inputs, task)


def _without_prefix(file: str) -> dict[str, torch.Tensor]:
    state = load_state(package_folder("easyocr_en_models") / "models" / file)
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _scenes(files: Sequence[tuple[str, str]], part: int) -> list[Input]:
    """Three words of a sentence on each photograph."""
    random, inputs = np.random.default_rng(part), []
    for index, (package, file) in enumerate(files):
        photograph = Image.open(package_folder(package) / file).convert("RGB").resize(_SCENE[::-1])
        pen, words = ImageDraw.Draw(photograph), SENTENCES[(2 * index + part) % len(SENTENCES)].split()[:3]
        for row, word in enumerate(words):
            font = ImageFont.load_default(int(random.integers(22, 48)))
            where = (int(random.integers(0, 200)), 20 + 95 * row)
            pen.text(where, word, tuple(random.integers(0, 256, 3).tolist()), font, stroke_width=2, stroke_fill="white")
        pixels = (np.asarray(photograph, np.float32) / 255 - _MEAN) / _DEVIATION
        inputs.append(Input({"image": pixels.transpose(2, 0, 1)[None].copy()}, f"{package}/{file}"))
    return inputs


def _lines(part: int) -> list[Input]:
    """Two or three words of each sentence, in grey on grey."""
    random, inputs = np.random.default_rng(part), []
    for group in SENTENCES[part::2]:
        for sentence in group.split("|"):
            words = sentence.split()[:2]
            ground, ink = (255, 20) if random.random() < 0.5 else (40, 220)
            line = Image.new("L", _LINE[::-1], ground)
            font = ImageFont.load_default(int(random.integers(24, 34)))
            ImageDraw.Draw(line).text((8, int(random.integers(4, 22))), " ".join(words), ink, font)
            noise = random.normal(0, 4, _LINE)
            pixels = (np.clip(np.asarray(line, np.float32) + noise, 0, 255) / 127.5 - 1).astype(np.float32)
            inputs.append(Input({"image": pixels[None, None]}, sentence))
    return inputs


def _same_text(expected: Sequence[Arrays], actual: Sequence[Arrays]) -> list[np.ndarray]:
    pairs = zip(expected, actual, strict=True)
    return [np.array([100.0 * (_read(first(want)) == _read(first(got)))]) for want, got in pairs]


def _read(logits: np.ndarray) -> list[int]:
    """Classes of columns without repetitions and blanks, which are class 0."""
    classes = logits[0].argmax(-1)
    changed = np.concatenate([[True], classes[1:] != classes[:-1]])
    return [int(each) for each in classes[changed] if each]


NETWORKS: Networks = {"craft": craft, "crnn": crnn}
