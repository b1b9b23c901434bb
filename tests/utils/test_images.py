"""Pictures of every kind become the same RGB, and what is no picture is refused in one line."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.utils.errors import UserError
from model_zoo.utils.images import image_to_array, letterbox, load_image, resize_and_center_crop, undo_letterbox

RED = Image.new("RGB", (6, 4), (204, 0, 51))


def _pixel(image: Image.Image) -> tuple[int, ...]:
    value = image.getpixel((0, 0))
    assert isinstance(value, tuple)
    return value


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "png"), ("RGBA", "png"), ("P", "png"), ("L", "png"), ("LA", "png"), ("1", "png"),
                         ("CMYK", "jpg"), ("YCbCr", "jpg"), ("HSV", None), ("PA", None), ("RGBa", None)]
)  # fmt: skip
def test_every_mode_becomes_the_same_rgb(mode: str, suffix: str | None, tmp_path: Path) -> None:
    """Whether it comes from a file or from memory."""
    grey = mode in ("L", "LA", "1")
    source = RED.convert("L") if grey else RED
    image = source.convert("RGBA").convert(mode) if mode == "RGBa" else source.convert(mode)
    expected = source.convert("1").convert("RGB") if mode == "1" else source.convert("RGB")
    sources: list[Image.Image | Path] = [image]
    if suffix:
        path = tmp_path / f"picture.{suffix}"
        image.save(path)
        sources.append(path)
    for given in sources:
        loaded = load_image(given)
        assert loaded.mode == "RGB" and loaded.size == RED.size
        assert np.abs(np.array(_pixel(loaded)) - _pixel(expected)).max() <= 3


def test_transparency_is_laid_over_white() -> None:
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert _pixel(load_image(half)) == (127, 127, 127)
    palette = Image.new("P", (2, 2), 0)
    palette.info["transparency"] = 0
    assert _pixel(load_image(palette)) == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_clipped(suffix: str, tmp_path: Path) -> None:
    pixels = np.array([[0, 257, 32896, 65535]], np.uint16)
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(pixels).save(path)
    for source in (path, pixels, Image.fromarray(pixels.astype(np.int32))):
        assert np.asarray(load_image(source))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_exif_orientation_turns_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    RED.save(path, exif=exif)
    assert load_image(path).size == (4, 6)
    assert load_image(load_image(path)).size == (4, 6)


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_arrays(channels: int | None) -> None:
    shape = (5, 7) if channels is None else (5, 7, channels)
    pixels = np.full(shape, 255, np.uint8)
    pixels[..., :1] = 51
    eight, floating = load_image(pixels), load_image(pixels.astype(np.float32) / 255)
    assert eight.size == (7, 5) and np.array_equal(np.asarray(eight), np.asarray(floating))
    assert _pixel(eight)[0] == 51


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"\[3, 8, 8\]"),
        (np.zeros((1, 3, 8, 8), np.float32), r"\[1, 3, 8, 8\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
        (np.full((4, 4, 3), np.nan, np.float32), "NaN"),
        (np.full((4, 4, 3), 255.0, np.float32), "0..1, got 255"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
    ],
)
def test_arrays_that_are_no_picture_are_refused(pixels: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_image(pixels)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp"])
def test_broken_files_are_refused(suffix: str, tmp_path: Path) -> None:
    """Cut at many places: either the picture is whole or the error names the file."""
    path = tmp_path / f"whole.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    broken = tmp_path / f"broken.{suffix}"
    for part in (0.0, 0.01, 0.1, 0.5, 0.9):
        broken.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(UserError, match="broken"):
            load_image(broken)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "avif", "dds"])
@pytest.mark.filterwarnings("ignore")
def test_changed_bytes_are_an_error_of_ours_or_nothing(suffix: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    path = tmp_path / f"changed.{suffix}"
    Image.fromarray(generator.integers(0, 255, (24, 24, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    for _ in range(100):
        content = bytearray(whole)
        for place in generator.integers(0, min(len(whole), 400), 4):
            content[place] = generator.integers(0, 256)
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            assert load_image(path).mode == "RGB"


def test_missing_text_and_huge_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no image file at"):
        load_image(tmp_path / "absent.png")
    with pytest.raises(UserError, match="no image file at"):
        load_image(str(tmp_path))
    text = tmp_path / "notes.png"
    text.write_text("not a picture")
    with pytest.raises(UserError, match="not an image"):
        load_image(str(text))
    bomb = tmp_path / "bomb.png"
    Image.new("1", (300, 300)).save(bomb)
    for limit in (60_000, 1000):  # Pillow only warns in the first case
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UserError, match=f"more than {limit} pixels"):
            load_image(bomb)


def test_no_program_is_started_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # look for it again
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.eps")
    (tmp_path / "picture.eps").rename(tmp_path / "picture.png")
    with pytest.raises(UserError, match="not an image"):
        load_image(tmp_path / "picture.png")
    assert not (tmp_path / "ran").exists()


def test_image_to_array() -> None:
    array = image_to_array(RED)
    assert array.shape == (1, 3, 4, 6) and array.dtype == np.float32 and array.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(array[0, :, 0, 0], np.array([204, 0, 51]) / 255, rtol=1e-6)
    assert image_to_array(RED.convert("L")).shape == (1, 1, 4, 6)


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (20, 30), (224, 224), (1999, 1333)])
def test_center_crop_is_that_of_torchvision(width: int, height: int) -> None:
    from torchvision.transforms import v2

    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    theirs = v2.CenterCrop(224)(v2.Resize(256)(Image.fromarray(noise)))
    assert np.array_equal(np.asarray(resize_and_center_crop(Image.fromarray(noise), 224, 224)), np.asarray(theirs))


@pytest.mark.parametrize("size", [(3000, 2), (1, 1), (640, 480)])
def test_center_crop_fits_any_target(size: tuple[int, int]) -> None:
    assert resize_and_center_crop(Image.new("RGB", size), 96, 160).size == (160, 96)


def test_center_crop_of_a_line_resizes_its_middle_alone() -> None:
    """The whole of it would be 512000 x 256 pixels, 500 MB."""
    line = Image.new("RGB", (2000, 1))
    line.paste((255, 0, 0), (900, 0, 1100, 1))
    Image.core.reset_stats()
    found = resize_and_center_crop(line, 224, 224)
    stats = Image.core.get_stats()
    assert stats["allocated_blocks"] + stats["reused_blocks"] < 8
    assert found.getcolors() == [(224 * 224, (255, 0, 0))]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (33, 17), (1, 1000)])
def test_letterbox_maps_corners_back(width: int, height: int) -> None:
    canvas, scale, (left, top) = letterbox(Image.new("RGB", (width, height), "red"), 320, 416)
    assert canvas.size == (416, 320)
    pixels = np.asarray(canvas)
    assert (pixels == (255, 0, 0)).all(axis=-1).sum() == pytest.approx(
        max(1, round(width * scale)) * max(1, round(height * scale)), rel=0.02
    )
    assert tuple(pixels[top, left]) == (255, 0, 0)
    assert left == 0 or tuple(pixels[0, 0]) == (114, 114, 114)
    assert abs(2 * left + width * scale - 416) <= 2 or abs(2 * top + height * scale - 320) <= 2


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (37, 411), (64, 96)])
def test_a_box_on_the_canvas_lands_on_the_same_thing_in_the_original(size: tuple[int, int]) -> None:
    width, height = size
    picture = Image.new("RGB", size, "white")
    corners = (width // 4, height // 4, width // 2, height // 2)
    picture.paste((255, 0, 0), corners)
    canvas, scale, padding = letterbox(picture, 96, 64)
    pixels = np.asarray(canvas).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 200) & (pixels[..., 1] < 128))
    box = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=torch.float32)
    found = undo_letterbox(box, scale, padding)
    torch.testing.assert_close(found, torch.tensor([corners], dtype=torch.float32), rtol=0, atol=1.01 / scale)
