"""What holds for MobileBERT (uncased)."""

from __future__ import annotations

import torch

from model_zoo.models._shared.text.model import TextModel
from model_zoo.models._shared.text.testing import TextModelTests


class TestModel(TextModelTests):
    """The other tests are inherited."""

    model_id = "mobile_bert_uncased_google"

    def test_padding_makes_no_difference(self, model: TextModel, text: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Beyond its first place, which the last token of the text sees as its neighbour."""
        ids, mask = text
        ids = torch.where(mask == 1, ids, model.network.config.pad_token_id)
        changed = ids.clone()
        changed[1, 10:] = 3
        with torch.inference_mode():
            padded, other, shorter = model(ids, mask), model(changed, mask), model(ids[1:, :10], mask[1:, :10])
        torch.testing.assert_close(padded[1, :9], shorter[0, :9], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(padded[1, :9], other[1, :9], rtol=1e-3, atol=1e-4)
        assert padded.std() > 1e-3 and (padded[0] - padded[1]).abs().max() > 1e-3, "the text makes no difference"
