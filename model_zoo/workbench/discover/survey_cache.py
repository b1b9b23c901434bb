"""Verdicts of earlier runs, kept so that a killed run goes on where it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from model_zoo.utils.files import cache_root, make_folder
from model_zoo.utils.hashing import digest
from model_zoo.workbench.discover.verdict import Attempt, Listing, Reason, SurveyStage
from model_zoo.workbench.json_lines import JsonLines

_ELSEWHERE = "free some space, or name another cache folder in MODEL_ZOO_CACHE"


class _KeptListing(BaseModel, frozen=True):
    listing: Listing


class _KeptAttempt(Attempt, frozen=True):
    """A line on one stage of one model.

    Args:
        stage: With the chipset, where it depends on one.
        limit_s: A timeout counts only if it had at least this long.
    """

    model: str
    stage: str
    limit_s: float


class SurveyCache:
    """A file with a line for the listing and one for each verdict.

    Args:
        library: As named on the command line.
        chipset: Name of the chipset that the last stage depends on; "" without one.
        limit_s: Time limit of one stage of one model.
        key: JSON values: everything else that verdicts depend on, versions included.
    """

    def __init__(self, library: str, chipset: str, limit_s: float, key: list[Any]) -> None:
        self._chipset, self._limit_s = chipset, limit_s
        folder = cache_root() / "discover"
        make_folder(folder, _ELSEWHERE)
        name = re.sub(r"\W+", "_", Path(library).stem)
        record: TypeAdapter[_KeptListing | _KeptAttempt] = TypeAdapter(_KeptListing | _KeptAttempt)
        self._file = JsonLines(folder / f"{name}-{digest(library, *key)[:16]}.jsonl", record)
        self.listing: Listing | None = None
        self._attempts: dict[tuple[str, str], _KeptAttempt] = {}
        for line in self._file.read():
            if isinstance(line, _KeptListing):
                self.listing, self._attempts = line.listing, {}
            else:
                self._attempts[line.model, line.stage] = line
        if self.listing and not self.listing.is_current:
            self.listing, self._attempts = None, {}

    def start(self, listing: Listing) -> None:
        """Keep what a library lists; nothing found out before it counts any more."""
        self.listing, self._attempts = listing, {}
        self._file.append(_KeptListing(listing=listing))

    def find(self, model: str, stage: SurveyStage) -> Attempt | None:
        """What an earlier run found, if trying again would give the same."""
        kept = self._attempts.get((model, self._stage_name(stage)))
        if kept is None or not kept.verdict.is_lasting:
            return None
        return None if kept.verdict.reason is Reason.TIME and kept.limit_s < self._limit_s else kept

    def keep(self, model: str, stage: SurveyStage, attempt: Attempt) -> None:
        """Keep a verdict. Called from several threads."""
        name = self._stage_name(stage)
        kept = _KeptAttempt(**dict(attempt), model=model, stage=name, limit_s=self._limit_s)
        self._attempts[model, name] = kept
        self._file.append(kept)

    def _stage_name(self, stage: SurveyStage) -> str:
        return f"{stage}:{self._chipset}" if stage is SurveyStage.NPU else str(stage)
