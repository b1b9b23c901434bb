"""What holds for PointNet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo.models._shared.random_weights import estimate_batch_norm, seeded
from model_zoo.models.pointnet.app import App
from model_zoo.models.pointnet.clouds import load_cloud, unit_ball
from model_zoo.models.pointnet.demo import drawn_table, main
from model_zoo.models.pointnet.model import Model
from model_zoo.models.pointnet.network import Network
from model_zoo.utils.errors import ModelZooError, UserError


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained("random")


def test_task(model: Model) -> None:
    """The order of the points makes no difference, their places do."""
    with seeded(1), torch.inference_mode():
        points = torch.rand(2, 3, 128) - 0.5
        logits = model(points)
        torch.testing.assert_close(model(points[:, :, torch.randperm(128)]), logits, rtol=1e-4, atol=1e-4)
    assert logits.shape == (2, 40) and len(model.labels()) == 40
    assert logits.std() > 0.01 and (logits[0] - logits[1]).abs().max() > 1e-3


def test_published_size() -> None:
    """3.5 million parameters, as the paper counts them, less a layer of 64 x 64 that the common port leaves out."""
    assert sum(p.numel() for p in Network(40).parameters()) == 3_471_473


@pytest.mark.parametrize("aligned", [True, False])
def test_own_checkpoint(aligned: bool, tmp_path: Path) -> None:
    with seeded(2):
        network = Network(5, aligned).eval()
        points = torch.rand(4, 3, 64) - 0.5
        estimate_batch_norm(network, points)
    torch.save(network.state_dict(), tmp_path / "own.pth")
    model = Model.from_pretrained(str(tmp_path / "own.pth"))
    with torch.inference_mode():
        assert torch.equal(model(points), network(points))
    assert model.labels() is None
    assert App(model).predict(drawn_table(), top_k=1)[0].label.startswith("class ")
    state = network.state_dict()
    del state["feat.stn.fc3.bias"]
    torch.save(state, tmp_path / "own.pth")
    with pytest.raises(UserError, match=r"1 missing: feat\.stn\.fc3\.bias"):
        Model.from_pretrained(str(tmp_path / "own.pth"))


def test_default_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path))
    with pytest.raises(ModelZooError, match=r"pointnet_modelnet40\.pth of pointnet cannot be downloaded"):
        Model.from_pretrained()


def _write(path: Path, points: np.ndarray, layout: str) -> None:
    header = f"ply\nformat {layout} 1.0\ncomment x\nelement vertex {len(points)}\n"
    header += "property float x\nproperty uchar red\nproperty double y\nproperty float z\nelement face 0\n"
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(layout, "")
    rows = np.zeros(len(points), [("x", order + "f4"), ("red", "u1"), ("y", order + "f8"), ("z", order + "f4")])
    rows["x"], rows["y"], rows["z"] = points.T
    text = "".join(f"{row['x']} {row['red']} {row['y']} {row['z']}\n" for row in rows).encode()
    body = rows.tobytes() if order else text
    path.write_bytes((header + "property list uchar int vertex_indices\nend_header\n").encode() + body)


def test_files_of_every_kind_hold_the_same_points(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", np.column_stack([points, points]))
    np.savetxt(tmp_path / "a.xyz", points)
    for layout in ("ascii", "binary_little_endian", "binary_big_endian"):
        _write(tmp_path / f"{layout}.ply", points, layout)
    for path in tmp_path.iterdir():
        np.testing.assert_allclose(load_cloud(path), points, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", b"no array"),
        ("a.xyz", b"1 2\n3 4\n"),
        ("a.xyz", b""),
        ("a.xyz", b"1 2 nan\n"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 9\nproperty float x\nend_header\n"),
        (
            "a.ply",
            b"ply\nformat binary_little_endian 1.0\nelement vertex 99999999999\nproperty float x\n"
            b"property float y\nproperty float z\nend_header\n",
        ),
        ("a.ply", b"ply\n" + 300 * b"comment\n"),
        ("a.obj", b"v 1 2 3"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as caught:
        load_cloud(tmp_path / name)
    assert "\n" not in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 50), st.integers(1, 80), st.floats(1e-6, 1e6), st.floats(-1e6, 1e6))
def test_every_cloud_comes_into_the_unit_ball(points: int, count: int, scale: float, moved: float) -> None:
    cloud = np.random.default_rng(points).normal(size=(points, 3)).astype(np.float32) * np.float32(scale)
    ball = unit_ball(cloud + np.float32(moved), count)
    assert ball.shape == (3, count) and np.isfinite(ball).all()
    assert np.linalg.norm(ball, axis=0).max() <= 1.0001


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", "random", "--output-dir", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Path(printed["picture"]).stat().st_size > 0
    probabilities = [row["probability"] for row in printed["found"]]
    assert probabilities == sorted(probabilities, reverse=True) and 0 < sum(probabilities) <= 1.0001
