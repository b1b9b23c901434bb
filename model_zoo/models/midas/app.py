"""Tell how near each pixel of a picture is with MiDaS-V2."""

from __future__ import annotations

from model_zoo.models._shared.depth.app import DepthApp


class App(DepthApp):
    """Tells depth with MiDaS-V2."""
