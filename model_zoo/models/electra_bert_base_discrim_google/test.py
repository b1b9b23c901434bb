"""What holds for ELECTRA base discriminator."""

from __future__ import annotations

from pathlib import Path

from model_zoo.models._shared.text.model import TextModel
from model_zoo.models._shared.text.testing import TextModelTests, write_tokenizer
from model_zoo.models.electra_bert_base_discrim_google.app import App


class TestModel(TextModelTests):
    """The other tests are inherited."""

    model_id = "electra_bert_base_discrim_google"

    def test_marks_are_not_suspected(self, model: TextModel, tmp_path: Path) -> None:
        """They are no words of the text; one that the tokenizer does not know is."""
        app = App(model, write_tokenizer(tmp_path / "tokenizer.json", "the chef cooked"))
        found = app.predict("The chef cooked airports")
        assert [each.token for each in found] == ["the", "chef", "cooked", "[UNK]"]
        assert [each.position for each in found] == [1, 2, 3, 4]
