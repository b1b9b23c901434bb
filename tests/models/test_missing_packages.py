"""A package that is not there is answered with the command that installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from model_zoo.base.registry import load_model_class
from model_zoo.models._shared.video_classifier.clips import load_clip
from model_zoo.utils.errors import UserError


def test_weights_in_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[load_model_class("silero_vad").__module__], "find_spec", lambda name: None)
    with pytest.raises(UserError, match="model-zoo install silero_vad"):
        load_model_class("silero_vad").from_pretrained()


def test_video_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "clip.mp4"
    path.touch()
    with pytest.raises(UserError, match=r"clip.mp4 is read with the package av .*pip install av==\d"):
        load_clip(path)
