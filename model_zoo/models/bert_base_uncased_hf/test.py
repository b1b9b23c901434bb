"""What holds for BERT base (uncased)."""

from __future__ import annotations

from model_zoo.models._shared.text.testing import TextModelTests


class TestModel(TextModelTests):
    """Every test is inherited."""

    model_id = "bert_base_uncased_hf"
