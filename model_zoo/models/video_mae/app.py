"""Name what is done in a clip with Video-MAE."""

from __future__ import annotations

from model_zoo.models._shared.video_classifier.app import VideoClassifierApp


class App(VideoClassifierApp):
    """`App(Model.from_pretrained()).predict("clip.mp4")`."""
