"""What holds for YOLOv7."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.base.model import run_torch
from model_zoo.datasets import load_dataset
from model_zoo.datasets.scenes import CLASSES
from model_zoo.models._shared.random_weights import seeded
from model_zoo.models.yolov7.app import App
from model_zoo.models.yolov7.demo import main
from model_zoo.models.yolov7.layout import LAYOUTS, Variant
from model_zoo.models.yolov7.model import WEIGHTS, Model
from model_zoo.models.yolov7.network import Form, Network
from model_zoo.utils.errors import ModelZooError, UserError

TINY = "yolov7-tiny"


def network_on_meta(form: Form) -> Network:
    with torch.device("meta"):
        return Network(form)


def trained(form: Form) -> Network:
    """An unfolded network in which no factor is 1 and no offset is 0."""
    with seeded(3):
        network = Network(form)
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_var", "implicit")) or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1 and tensor.is_floating_point():
                tensor.normal_(0, 0.3)
    return network.eval()


@pytest.fixture(scope="module")
def tiny() -> Network:
    return trained(Form(TINY, num_classes=4, implicit=True))


@pytest.fixture(scope="module")
def random_tiny() -> Model:
    return Model.from_pretrained("random", TINY)


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    with seeded(4):
        return torch.rand(2, 3, 96, 64)


def expected_raw(network: Network, picture: torch.Tensor) -> torch.Tensor:
    """The published decoding, written down once more: [B, N, 5 + classes] from the last feature maps."""
    maps: list[torch.Tensor] = []
    detect = network.model[network.layout.detect]
    hook = detect.register_forward_pre_hook(lambda _, inputs: maps.extend(inputs))
    with torch.no_grad():
        network(picture)
    hook.remove()
    rows = []
    for level, (features, stride) in enumerate(zip(maps, (8, 16, 32), strict=True)):
        if detect.ia is None:
            logits = detect.m[level](features)
        else:
            logits = detect.im[level].implicit * detect.m[level](detect.ia[level].implicit + features)
        values = torch.sigmoid(logits.detach()).reshape(len(picture), 3, -1, *features.shape[2:])
        for anchor in range(3):
            width, height = detect.anchor_grid[level, 0, anchor, 0, 0]
            for y in range(features.shape[2]):
                for x in range(features.shape[3]):
                    value = values[:, anchor, :, y, x]
                    box = [
                        (2 * value[:, 0] - 0.5 + x) * stride,
                        (2 * value[:, 1] - 0.5 + y) * stride,
                        (2 * value[:, 2]) ** 2 * width,
                        (2 * value[:, 3]) ** 2 * height,
                    ]
                    rows.append(torch.cat([torch.stack(box, 1), value[:, 4:]], 1))
    return torch.stack(rows, 1)


@pytest.mark.parametrize(
    ("variant", "parameters", "keys", "pinned"),
    [
        (TINY, 6_219_709, 338, {"model.28.conv.weight": [512, 1024, 1, 1], "model.77.m.2.weight": [255, 512, 1, 1]}),
        (
            "yolov7",
            36_905_341,
            560,
            {
                "model.51.cv7.conv.weight": [512, 1024, 1, 1],
                "model.63.bn.running_var": [256],
                "model.102.rbr_dense.0.weight": [256, 128, 3, 3],
                "model.104.rbr_1x1.1.bias": [1024],
                "model.105.anchor_grid": [3, 1, 3, 1, 1, 2],
            },
        ),
        (
            "yolov7x",
            71_311_741,
            638,
            {"model.59.cv5.conv.weight": [640, 2560, 1, 1], "model.120.conv.weight": [1280, 640, 3, 3]},
        ),
    ],
)
def test_official_sizes_names_and_shapes(
    variant: Variant, parameters: int, keys: int, pinned: dict[str, list[int]]
) -> None:
    deployed = network_on_meta(Form(variant, folded=True, rep_folded=True))
    assert sum(p.numel() for p in deployed.parameters()) == parameters
    state = network_on_meta(Form(variant)).state_dict()
    assert len(state) == keys
    assert {name: list(state[name].shape) for name in pinned} == pinned
    training = network_on_meta(Form(variant, implicit=True)).state_dict()
    added = {f"model.{LAYOUTS[variant].detect}.{part}.{level}.implicit" for part in ("ia", "im") for level in range(3)}
    assert set(training) - set(state) == added


@pytest.mark.parametrize("variant", [TINY, "yolov7"])
def test_folding_changes_nothing_but_rounding(variant: Variant) -> None:
    network = trained(Form(variant, num_classes=1, implicit=True))
    with seeded(5):
        image = torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        before = network(image)
        after = network.fold()(image)
    assert sum(p.numel() for p in network.parameters()) == sum(
        p.numel() for p in network_on_meta(Form(variant, 1, folded=True, rep_folded=True)).parameters()
    )
    for level_before, level_after in zip(before, after, strict=True):
        for tensor_before, tensor_after in zip(level_before, level_after, strict=True):
            torch.testing.assert_close(tensor_after, tensor_before, rtol=1e-4, atol=1e-4)


def test_raw_predictions_of_a_checkpoint(tiny: Network, picture: torch.Tensor, tmp_path: Path) -> None:
    """Names, order of the levels, decoding, own classes, own anchors and the trained constants, all at once."""
    state = dict(tiny.state_dict())
    for name in ("anchors", "anchor_grid"):
        state[f"model.77.{name}"] = state[f"model.77.{name}"] * 1.25
    torch.save({"model": state}, tmp_path / "x.pt")
    model = Model.from_pretrained(str(tmp_path / "x.pt"), include_postprocessing=False)
    tiny.load_state_dict(state)
    expected = expected_raw(tiny, picture)
    with torch.no_grad():
        found = model(picture)
    assert model.get_output_names() == ["predictions"] and model.network.form.variant == TINY
    assert found.shape == expected.shape == (2, 3 * (12 * 8 + 6 * 4 + 3 * 2), 9)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert model.labels() is None


def test_postprocessing_is_a_decoding_of_the_raw_predictions(
    tmp_path: Path, tiny: Network, picture: torch.Tensor
) -> None:
    torch.save(tiny.state_dict(), tmp_path / "x.pt")
    raw_model = Model.from_pretrained(str(tmp_path / "x.pt"), include_postprocessing=False)
    model = Model.from_pretrained(str(tmp_path / "x.pt"))
    with torch.no_grad():
        raw, (boxes, scores, classes) = raw_model(picture), model(picture)
    x, y, width, height, objectness = raw[..., :5].unbind(-1)
    corners = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)
    torch.testing.assert_close(boxes, corners, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(scores, objectness * raw[..., 5:].max(-1).values)
    assert torch.equal(classes, raw[..., 5:].argmax(-1).int())


def test_file_of_the_official_training(tmp_path: Path, tiny: Network, picture: torch.Tensor) -> None:
    """A pickled module in half precision, whose classes are gone when it is read; `ema` is preferred."""
    package = types.ModuleType("models")
    module = types.ModuleType("models.yolo")
    for name in ("Model", "Conv", "MP", "Concat", "IDetect", "Implicit"):
        setattr(module, name, type(name, (torch.nn.Module,), {"__module__": "models.yolo"}))
    before = {name: sys.modules.get(name) for name in ("models", "models.yolo")}
    sys.modules.update({"models": package, "models.yolo": module})
    try:
        outer = module.Model()
        outer.model = torch.nn.Sequential(*tiny.model)
        outer.names, outer.yaml = [str(i) for i in range(4)], {"nc": 4}
        kinds = {"Conv": "Conv", "Concat": "Concat", "Detect": "IDetect", "Implicit": "Implicit"}
        originals = {m: type(m) for m in outer.modules() if type(m).__name__ in kinds}
        for part, kind in originals.items():
            part.__class__ = getattr(module, kinds[kind.__name__])
        content = {"epoch": -1, "best_fitness": np.float64(0.5), "model": None, "ema": outer.half(), "optimizer": None}
        torch.save(content, tmp_path / "x.pt")
        for part, kind in originals.items():
            part.__class__ = kind
        tiny.float()
    finally:
        for name, found in before.items():
            sys.modules.pop(name)
            if found is not None:
                sys.modules[name] = found
    model = Model.from_pretrained(str(tmp_path / "x.pt"), include_postprocessing=False)
    with torch.no_grad():
        torch.testing.assert_close(model(picture), expected_raw(tiny, picture), rtol=1e-4, atol=1e-4)


def test_variants_are_told_apart_and_others_refused(tmp_path: Path) -> None:
    state = network_on_meta(Form("yolov7")).state_dict()
    torch.save(
        {"model.0.conv.weight": torch.zeros(32, 3, 6, 6), "model.24.m.0.bias": torch.zeros(255)}, tmp_path / "v5.pt"
    )
    with pytest.raises(UserError, match="is no checkpoint of yolov7-tiny, yolov7, yolov7x"):
        Model.from_pretrained(str(tmp_path / "v5.pt"))
    wrong = {name: torch.zeros(tensor.shape[:1] or ()) for name, tensor in state.items() if name != "model.3.bn.bias"}
    torch.save({**wrong, "model.200.extra": torch.zeros(1)}, tmp_path / "wrong.pt")
    with pytest.raises(UserError) as caught:
        Model.from_pretrained(str(tmp_path / "wrong.pt"))
    message = str(caught.value)
    assert "1 missing: model.3.bn.bias;" in message and "1 extra: model.200.extra;" in message
    assert "model.102.rbr_dense.0.weight [256] instead of [256, 128, 3, 3]" in message
    odd = {**wrong, "model.105.m.0.weight": torch.zeros(256, 256, 1, 1), "model.105.m.0.bias": torch.zeros(256)}
    odd |= {f"model.105.m.{level}.{part}": torch.zeros(256) for level in (1, 2) for part in ("weight", "bias")}
    torch.save(odd, tmp_path / "odd.pt")
    with pytest.raises(UserError, match=r"256 outputs .* are not 3 x"):
        Model.from_pretrained(str(tmp_path / "odd.pt"))


def test_a_checkpoint_tells_how_wide_it_is(tmp_path: Path, picture: torch.Tensor) -> None:
    narrow = trained(Form(TINY, num_classes=2, width=0.25))
    torch.save(narrow.state_dict(), tmp_path / "narrow.pt")
    model = Model.from_pretrained(str(tmp_path / "narrow.pt"), include_postprocessing=False)
    assert model.network.form.width == 0.25 and model.labels() is None
    with torch.no_grad():
        torch.testing.assert_close(model(picture), expected_raw(narrow, picture), rtol=1e-4, atol=1e-4)


def test_reference_weights_find_drawn_shapes() -> None:
    model = Model.from_pretrained("reference")
    assert model.labels() == list(CLASSES) and model.eval_datasets() == ["scenes"]
    dataset, evaluator = load_dataset("scenes", model.input_spec(), "test"), model.get_evaluator()()
    for index in range(8):
        sample = dataset[index]
        evaluator.add(run_torch(model, sample.inputs, model.get_output_names()), [sample.target])
    assert evaluator.score().value > 75


def test_published_weights_come_from_the_user_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Network
) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path))
    with pytest.raises(ModelZooError) as caught:
        Model.from_pretrained(variant=TINY)
    local = tmp_path / "weights" / "yolov7" / "yolov7-tiny.pt"
    for part in (WEIGHTS[TINY].url, str(local), "`weights`", 'weights="random"'):
        assert part in str(caught.value)
    local.parent.mkdir(parents=True)
    torch.save(tiny.state_dict(), local)
    assert Model.from_pretrained(variant=TINY).network.form.variant == TINY


@pytest.mark.parametrize(
    ("height", "width", "near"), [(7, 640, "take 32"), (640, 650, "take 640 or 672"), (0, 32, "32")]
)
def test_sizes_that_are_no_multiple_of_the_stride(height: int, width: int, near: str) -> None:
    with pytest.raises(UserError, match=near):
        Model.get_input_spec(height=height, width=width)


def test_app_on_odd_pictures(random_tiny: Model) -> None:
    app = App(random_tiny, height=96, width=64)
    assert app.labels[:2] == ["person", "bicycle"] and app.labels[79:] == ["toothbrush"]
    for picture in (
        Image.new("L", (1, 300), 40),
        Image.new("RGBA", (33, 20), (255, 0, 0, 128)),
        Image.new("CMYK", (64, 96)),
        np.zeros((5, 7), np.uint16),
    ):
        width, height = (picture.shape[1], picture.shape[0]) if isinstance(picture, np.ndarray) else picture.size
        found = app.predict(picture)
        assert 0 < len(found) <= 300
        assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
        for detection in found:
            x1, y1, x2, y2 = detection.box
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        assert app.draw(picture, found).size == (width, height)


@pytest.mark.trace
def test_trace(tiny: Network, picture: torch.Tensor) -> None:
    model = Model(tiny)
    with torch.no_grad():
        traced = torch.export.export(model, (picture[:1],), strict=False).module()
        for found, expected in zip(traced(picture[1:]), model(picture[1:]), strict=True):
            torch.testing.assert_close(found, expected)


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--weights", "random", "--variant", TINY, "--output-dir", str(tmp_path)]
    assert main([*flags, "--score-threshold", "0.3", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Image.open(printed["picture"]).size == (480, 360)
    assert all(row["score"] >= 0.3 and len(row["box"]) == 4 for row in printed["found"])
