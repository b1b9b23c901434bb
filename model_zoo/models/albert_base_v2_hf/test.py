"""What holds for ALBERT base v2."""

from __future__ import annotations

from model_zoo.models._shared.text.testing import TextModelTests


class TestModel(TextModelTests):
    """Every test is inherited."""

    model_id = "albert_base_v2_hf"
