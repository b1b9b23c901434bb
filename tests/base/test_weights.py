"""`weights` means DEFAULT, a name, a path or random; anything else is answered with the names there are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from model_zoo.base.weights import WeightsFile, fetch_weights, resolve_weights, weights_path
from model_zoo.utils.errors import ModelZooError, UserError

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
#: Nothing listens on port 9.
V1 = WeightsFile("http://127.0.0.1:9/net-v1.pth", SHA256, "net-v1.pth")
FILES = {"IMAGENET1K_V1": V1, "IMAGENET1K_V2": WeightsFile(None, SHA256[:8], "net-v2.pth")}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ZOO_CACHE", str(tmp_path))


def _put(file: WeightsFile, content: bytes = CONTENT) -> Path:
    path = weights_path("net", file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_names_paths_and_random(tmp_path: Path) -> None:
    first, second = _put(FILES["IMAGENET1K_V1"]), _put(FILES["IMAGENET1K_V2"])
    assert first == tmp_path / "weights" / "net" / "net-v1.pth"
    assert resolve_weights("DEFAULT", "net", FILES, "IMAGENET1K_V2") == second
    assert resolve_weights("imagenet1k_v1", "net", FILES, "IMAGENET1K_V2") == first
    assert resolve_weights(str(first), "net", FILES, "IMAGENET1K_V2") == first
    assert resolve_weights("random", "net", FILES, "IMAGENET1K_V2") is None


def test_without_a_network_the_error_says_everything() -> None:
    path = weights_path("net", V1)
    with pytest.raises(ModelZooError) as caught:
        fetch_weights("net", V1)
    text = str(caught.value)
    assert V1.url in text and str(path) in text and 'weights="random"' in text and caught.value.exit_code == 1
    _put(V1, b"something else")  # a wrong local copy is never used
    with pytest.raises(ModelZooError, match="cannot download"):
        fetch_weights("net", V1)


def test_weights_that_nobody_serves() -> None:
    with pytest.raises(UserError, match=r"net-v2.pth of net cannot be downloaded.*put the file at"):
        resolve_weights("IMAGENET1K_V2", "net", FILES, "IMAGENET1K_V1")


def test_weights_without_a_checksum_are_only_taken_from_the_user(tmp_path: Path) -> None:
    file = WeightsFile("http://127.0.0.1:9/net-v3.pth", None, "net-v3.pth")
    with pytest.raises(UserError) as caught:
        fetch_weights("net", file)
    path = str(tmp_path / "weights" / "net" / "net-v3.pth")
    for part in (file.url, path, "name one in `weights`", 'weights="random"'):
        assert part in str(caught.value)
    placed = _put(file)
    assert fetch_weights("net", file) == placed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("IMAGENET1K_V3", "did you mean IMAGENET1K_V"),
        ("/nowhere/mine.pth", "'/nowhere/mine.pth' are neither .*names: DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2, random"),
        (".", "is a folder"),
        ("", "is no name"),
    ],
)
def test_an_unknown_name_lists_the_names(given: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve_weights(given, "net", FILES, "IMAGENET1K_V1")


@pytest.mark.parametrize("content", [None, b"damaged"])
def test_weights_of_the_package_are_checked(content: bytes | None, tmp_path: Path) -> None:
    if content:
        (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ModelZooError, match="the weights that come with the package"):
        fetch_weights("net", WeightsFile(None, SHA256, "w.safetensors", folder=tmp_path))


@pytest.mark.parametrize(("sha256", "filename"), [("abc", "x.pth"), ("not hex!", "x.pth"), (SHA256, "../x.pth")])
def test_a_wrong_entry_is_refused(sha256: str, filename: str) -> None:
    with pytest.raises(ValueError):
        WeightsFile(None, sha256, filename)
