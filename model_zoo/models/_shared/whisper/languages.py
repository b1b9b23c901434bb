"""The languages that Whisper writes down, and the marks that tell it which."""

from __future__ import annotations

from model_zoo.utils.errors import UserError, nearest

#: The mark of English; those of the other languages follow in the order of `languages`.
_FIRST = 50259
#: Later checkpoints have more.
_COUNT = 99


def languages() -> dict[str, str]:
    """The names in English by code, e.g. `german` by `de`, in the order of the vocabulary."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return dict(list(LANGUAGES.items())[:_COUNT])


def language_mark(language: str) -> int:
    """The token that tells the decoder a language.

    Args:
        language: Its code or its name in English, in any case.

    Raises:
        UserError: Whisper does not know it.
    """
    names = languages()
    for number, pair in enumerate(names.items()):
        if language.lower() in pair:
            return _FIRST + number
    near = nearest(language, [*names.values(), *names], most=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"Whisper does not know the language '{language}'", f"{hint}languages: {', '.join(names)}")
