"""What earlier runs found out, kept so that a killed run goes on where it was."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model_zoo.utils.files import cache_root, make_folder
from model_zoo.utils.hashing import digest, sha256_file
from model_zoo.workbench.discover.verdict import Candidate, Reason, Stage, Verdict

_ELSEWHERE = "free some space, or name another cache folder in MODEL_ZOO_CACHE"


@dataclass(frozen=True)
class Listing:
    """The models of a library.

    Args:
        left_out: What else might be a model, and why it is not built, by name.
        sources: Digests of the Python files behind a user's module, by path.
    """

    candidates: list[Candidate]
    left_out: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Listing:
        """Read what the child process gave."""
        return cls([Candidate(**each) for each in fields["candidates"]], fields["left_out"], fields["sources"])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @property
    def is_current(self) -> bool:
        """Whether every source is as it was."""
        return all(Path(p).is_file() and sha256_file(Path(p)) == sha256 for p, sha256 in self.sources.items())


class State:
    """A file of JSON lines, one for a listing and one for each verdict; a line that a kill cut short is passed over.

    Args:
        library: As named on the command line.
        key: JSON values: everything that verdicts depend on, versions included.
    """

    def __init__(self, library: str, key: list[Any]) -> None:
        folder = cache_root() / "discover"
        make_folder(folder, _ELSEWHERE)
        name = re.sub(r"\W+", "_", Path(library).stem)
        self._file = folder / f"{name}-{digest(library, *key)[:16]}.jsonl"
        self._lock = threading.Lock()
        self.listing: Listing | None = None
        self._verdicts: dict[tuple[str, str], dict[str, Any]] = {}
        for record in self._read():
            if "listing" in record:
                self.listing = Listing.from_json(record["listing"])
                self._verdicts.clear()
            else:
                self._verdicts[record["model"], record["stage"]] = record
        if self.listing and not self.listing.is_current:
            self.listing = None
            self._verdicts.clear()

    def _read(self) -> list[dict[str, Any]]:
        if not self._file.exists():
            return []
        records = []
        for line in self._file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
        return records

    def start(self, listing: Listing) -> None:
        """Keep what a library lists; nothing found out before it counts any more."""
        self.listing = listing
        self._verdicts.clear()
        self._append({"listing": listing.to_json()})

    def find(self, model: str, stage: Stage, target: str, limit_s: float) -> tuple[str, Verdict] | None:
        """The input and the verdict of an earlier run, if trying again would give the same.

        Args:
            target: The chipset, where the stage depends on it.
            limit_s: A timeout counts only if it had at least this long.
        """
        record = self._verdicts.get((model, _name(stage, target)))
        if record is None:
            return None
        verdict = Verdict.from_json(record["verdict"])
        if not verdict.is_lasting or (verdict.reason is Reason.TIME and record["limit_s"] < limit_s):
            return None
        return record["input"], verdict

    def keep(self, model: str, stage: Stage, target: str, limit_s: float, shown: str, verdict: Verdict) -> None:
        """Keep a verdict. Called from several threads."""
        name = _name(stage, target)
        record = {
            "model": model,
            "stage": name,
            "limit_s": limit_s,
            "input": shown,
            "verdict": verdict.to_json(),
        }
        with self._lock:
            self._verdicts[model, name] = record
            self._append(record)

    def _append(self, record: dict[str, Any]) -> None:
        # A line break before, too: a line that was cut short must not swallow this one. In one write, so that the
        # lines of two runs do not mix.
        with self._file.open("ab", buffering=0) as file:
            file.write(f"\n{json.dumps(record)}\n".encode())


def _name(stage: Stage, target: str) -> str:
    return f"{stage}:{target}" if stage is Stage.NPU else str(stage)
