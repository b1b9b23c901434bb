"""What holds for ELECTRA base discriminator."""

from __future__ import annotations

from model_zoo.models._shared.text.testing import TextModelTests


class TestModel(TextModelTests):
    """Every test is inherited."""

    model_id = "electra_bert_base_discrim_google"
