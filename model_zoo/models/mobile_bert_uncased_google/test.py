"""What holds for MobileBERT (uncased)."""

from __future__ import annotations

from model_zoo.models._shared.text.testing import TextModelTests


class TestModel(TextModelTests):
    """Every test is inherited."""

    model_id = "mobile_bert_uncased_google"
