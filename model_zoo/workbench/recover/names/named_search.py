"""Search the libraries, the quickest first, until one has exactly the checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from pydantic import TypeAdapter

from model_zoo.checkpoints.contents import StateDictInfo
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import ChildFailedError, ChildStoppedError, Limits, run_child
from model_zoo.workbench.recover.names.architecture import LIBRARIES, FailedArchitecture
from model_zoo.workbench.recover.names.architecture_index import (
    ArchitectureIndex,
    Described,
    Progress,
    arrange,
    ensure_index,
    load_index,
    version,
)
from model_zoo.workbench.recover.names.matching import ArchitectureMatch, find_matches
from model_zoo.workbench.recover.names.named_draft import constructor, draft, title_of
from model_zoo.workbench.recover.recovery import FoundBy, RankedDraft, RankedDrafts, SearchedLibrary

_CONFIG_LIMITS = Limits(seconds=180.0, memory_bytes=8 * 2**30)

#: Opens a progress display for the index of a library.
ShowProgress = Callable[[str], AbstractContextManager[Progress]]


def search_by_name(
    tensors: StateDictInfo, config: Mapping[str, Any] | None, libraries: Sequence[str], show: ShowProgress
) -> RankedDrafts:
    """Compare a checkpoint with every architecture of these libraries.

    An exact match ends the search: a library whose index would have to be built first is then left out, and the result
    says so.

    Args:
        config: Of transformers, as it came with the checkpoint.
        libraries: Of `LIBRARIES`.
    """
    indexes: list[ArchitectureIndex] = []
    searched: list[SearchedLibrary] = []
    matches: list[ArchitectureMatch] = []
    if config is not None and "transformers" in libraries and (index := _by_config(config)):
        notes = [f"{name}: {reason}" for name, reason in index.failures.items()]
        library = "transformers, by the configuration"
        searched.append(SearchedLibrary(library, version("transformers"), len(index), "; ".join(notes)))
        indexes.append(index)
        matches = find_matches(tensors, indexes)
    by_config = any(match.is_exact for match in matches)
    for library in (name for name in LIBRARIES if name in libraries):
        if version(library) is None:
            searched.append(SearchedLibrary(library, None, 0, "not installed: pip install 'model_zoo[recover]'"))
            continue
        kept = None if by_config else load_index(library)
        if kept is None and any(match.is_exact for match in matches):
            again = f"an exact match was found already; `--library {library}` searches it"
            searched.append(SearchedLibrary(library, version(library), 0, again))
            continue
        if kept is None:
            with show(library) as progress:
                kept = ensure_index(library, progress)
        indexes.append(kept)
        failed = f"{len(kept.failures)} more could not be built" if kept.failures else ""
        searched.append(SearchedLibrary(library, version(library), len(kept), failed))
        matches = find_matches(tensors, indexes)
    return RankedDrafts(tuple(_drafts(matches)), tuple(searched))


def _drafts(matches: Sequence[ArchitectureMatch]) -> Iterator[RankedDraft]:
    """One draft for each set of matches that names and shapes cannot tell apart."""
    waiting = list(matches)
    while waiting:
        best = waiting[0]
        same = [match for match in waiting if match.same_tensors(best)]
        waiting = [match for match in waiting if match not in same]
        constructors = {title_of(match): constructor(match) for match in same}
        yield RankedDraft(draft(best, same[1:]), FoundBy.NAME, best.score, constructors)


def _by_config(config: Mapping[str, Any]) -> ArchitectureIndex | None:
    """The architectures that a configuration names; None if it names none."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names or version("transformers") is None:
        return None
    described: list[Described]
    try:
        with work_folder() as folder:
            module = "model_zoo.workbench.recover.names.describe"
            what = "build what the configuration says"
            child = run_child(module, {"config": dict(config)}, folder, _CONFIG_LIMITS, what)
        described = TypeAdapter(list[Described]).validate_python(child.value["architectures"])
    except ChildStoppedError:
        raise
    except ChildFailedError as error:
        described = [FailedArchitecture(name="config", failure=error.message)]
    return arrange("transformers", described)
