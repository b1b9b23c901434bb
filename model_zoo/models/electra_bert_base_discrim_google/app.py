"""Tell the words of a text that do not belong with ELECTRA base discriminator."""

from __future__ import annotations

from model_zoo.models._shared.text.app import ReplacedTokenApp


class App(ReplacedTokenApp):
    """`App(Model.from_pretrained()).predict("The chef cooked the airport.")`."""
