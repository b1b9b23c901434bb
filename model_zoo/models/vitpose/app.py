"""Find the joints of a person with ViTPose."""

from __future__ import annotations

from model_zoo.models._shared.pose.app import PoseApp


class App(PoseApp):
    """`App(Model.from_pretrained()).predict("person.jpg")`."""
