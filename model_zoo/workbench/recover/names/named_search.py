"""Search the libraries, the quickest first, until one has exactly the checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from model_zoo.checkpoints.contents import StateDictInfo
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import ChildFailedError, ChildStoppedError, Limits, run_child
from model_zoo.workbench.recover.names.architecture import LIBRARIES, Architecture
from model_zoo.workbench.recover.names.architecture_index import Index, arrange, load_index, version
from model_zoo.workbench.recover.names.index_build import Progress, ensure_index
from model_zoo.workbench.recover.names.matching import Match, find_matches
from model_zoo.workbench.recover.names.named_draft import constructor, draft, title_of
from model_zoo.workbench.recover.recovery import Draft

_CONFIG_LIMITS = Limits(seconds=180.0, memory_bytes=8 * 2**30)

#: Opens a progress display for the index of a library.
ShowProgress = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class Searched:
    """What was asked of one library.

    Args:
        architectures: Compared; 0 if it was not searched.
        note: Why not, or what could not be compared.
    """

    library: str
    version: str | None
    architectures: int
    note: str = ""


@dataclass(frozen=True)
class NamedDraft:
    """A draft found by name.

    Args:
        score: Values that checkpoint and module share, as a share of the values that either has.
        constructors: The constructor call, by alternative of the choice `architecture`.
    """

    draft: Draft
    score: float
    prefix: str
    constructors: Mapping[str, str]


@dataclass(frozen=True)
class Search:
    """Everything that was found by name, best first, and where it was looked for."""

    drafts: tuple[NamedDraft, ...]
    searched: tuple[Searched, ...]


def search(
    tensors: StateDictInfo, config: Mapping[str, Any] | None, libraries: Sequence[str], show: ShowProgress
) -> Search:
    """Compare a checkpoint with every architecture of these libraries.

    An exact match ends the search: a library whose index would have to be built first is then left out, and the result
    says so.

    Args:
        config: Of transformers, as it came with the checkpoint.
        libraries: Of `LIBRARIES`.
    """
    indexes: list[Index] = []
    searched: list[Searched] = []
    matches: list[Match] = []
    if config is not None and "transformers" in libraries and (found := _by_config(config)):
        index, note = found
        searched.append(note)
        indexes.append(index)
        matches = find_matches(tensors, indexes)
    by_config = any(match.is_exact for match in matches)
    for library in (name for name in LIBRARIES if name in libraries):
        exact = any(match.is_exact for match in matches)
        if version(library) is None:
            searched.append(Searched(library, None, 0, "not installed: pip install 'model_zoo[recover]'"))
            continue
        kept = None if by_config else load_index(library)
        if kept is None and exact:
            again = f"an exact match was found already; `--library {library}` searches it"
            searched.append(Searched(library, version(library), 0, again))
            continue
        if kept is None:
            with show(library) as progress:
                kept = ensure_index(library, progress)
        indexes.append(kept)
        failed = f"{len(kept.failures)} more could not be built" if kept.failures else ""
        searched.append(Searched(library, version(library), len(kept), failed))
        matches = find_matches(tensors, indexes)
    return Search(tuple(_drafts(matches)), tuple(searched))


def _drafts(matches: Sequence[Match]) -> Iterator[NamedDraft]:
    """One draft for each set of matches that names and shapes cannot tell apart."""
    waiting = list(matches)
    while waiting:
        best = waiting[0]
        same = [match for match in waiting if match.same_tensors(best)]
        waiting = [match for match in waiting if match not in same]
        constructors = {title_of(match): constructor(match) for match in same}
        yield NamedDraft(draft(best, same[1:]), best.score, best.prefix, constructors)


def _by_config(config: Mapping[str, Any]) -> tuple[Index, Searched] | None:
    """The architectures that a configuration names; None where it names none."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names or version("transformers") is None:
        return None
    try:
        with work_folder() as folder:
            job = {"config": dict(config)}
            module = "model_zoo.workbench.recover.names.config"
            result = run_child(module, job, folder, _CONFIG_LIMITS, "build what the configuration says").value
    except ChildStoppedError:
        raise
    except ChildFailedError as error:
        result = {"architectures": [], "failures": {"config": error.message}}
    found = [Architecture.from_json(each) for each in result["architectures"]]
    note = "; ".join(f"{name}: {reason}" for name, reason in result["failures"].items())
    searched = Searched("transformers, by the configuration", version("transformers"), len(found), note)
    return arrange("transformers", found, result["failures"]), searched
