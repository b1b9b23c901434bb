"""Search the libraries, the quickest first, until one has exactly the checkpoint's tensors."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from model_zoo.checkpoints.contents import StateDictInfo
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import ChildFailedError, Limits, run_child
from model_zoo.workbench.libraries import LIBRARIES
from model_zoo.workbench.recover.names.architecture import FailedArchitecture
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
from model_zoo.workbench.recover.recovery import (
    Choice,
    Draft,
    ExampleInput,
    FoundBy,
    RankedDraft,
    RankedDrafts,
    SearchedLibrary,
    SettledBy,
)

_CONFIG_LIMITS = Limits(seconds=180.0, memory_bytes=8 * 2**30)

#: Opens a progress display for the index of a library.
ShowProgress = Callable[[str], AbstractContextManager[Progress]]

#: Text of model.py, in which only our own words and literals stand.
_MODULE = '''"""{title}: recovered from a checkpoint by the names and shapes of its tensors.

With its weights:

    from safetensors.torch import load_file

    model = build_model()
    model.load_state_dict(load_file("weights.safetensors"){loosely})
"""

from __future__ import annotations

import torch


def build_model({parameter}) -> torch.nn.Module:
    """Build the model in evaluation mode; its weights are not set yet.{arguments}"""
{body}    return model.eval()
'''

_ARGUMENTS = """

    Args:
        architecture: One of the constructors below. All give tensors of the same names and shapes.
    """

_UNKNOWN = """    else:
        raise ValueError(f"unknown architecture {architecture!r}")
"""


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
    groups: dict[Hashable, list[ArchitectureMatch]] = defaultdict(list)
    for match in matches:
        groups[match.tensor_key].append(match)
    for same in groups.values():
        constructors = {title_of(match): constructor(match) for match in same}
        yield RankedDraft(draft(*same), FoundBy.NAME, same[0].score, constructors)


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
    except ChildFailedError as error:
        described = [FailedArchitecture(name="config", failure=error.message)]
    return arrange("transformers", described)


def draft(match: ArchitectureMatch, *others: ArchitectureMatch) -> Draft:
    """The draft of a match; where `others` have the same tensors, the constructor is a choice."""
    title = title_of(match)
    named = {title_of(each): each for each in (match, *others)}
    parameter, arguments, body = "", "", _body(match, " " * 4)
    choices: tuple[Choice, ...] = ()
    if len(named) > 1:
        parameter, arguments = f"architecture: str = {json.dumps(title)}", _ARGUMENTS
        cases = [f"if architecture == {json.dumps(name)}:\n{_body(each, ' ' * 8)}" for name, each in named.items()]
        body = f"    {'    el'.join(cases)}{_UNKNOWN}"
        meaning = "which of the constructors that give tensors of the same names and shapes"
        choices = (Choice("architecture", title, tuple(named), SettledBy.ASSUMED, meaning),)
    loosely = ", strict=False" if match.missing else ""
    return Draft(
        title=title,
        source=_MODULE.format(title=title, loosely=loosely, parameter=parameter, arguments=arguments, body=body),
        constructor=constructor(match),
        tensors=match.tensors,
        missing=match.missing,
        unused=match.unused,
        choices=choices,
        inputs=tuple(_input(example, match) for example in match.architecture.inputs),
    )


def _body(match: ArchitectureMatch, indent: str) -> str:
    lines = (f"model = {written_call(match)}", *_after(match))
    return f"{indent}import {_package(match)}\n\n" + "".join(f"{indent}{line}\n" for line in lines)


def constructor(match: ArchitectureMatch) -> str:
    """The constructor call in one line, and what is done to the model after it."""
    steps = [" ".join(written_call(match).split()), *(line.partition("  #")[0] for line in _after(match))]
    return "; ".join(steps)


def written_call(match: ArchitectureMatch) -> str:
    architecture = match.architecture
    defaults = {option.name: option.default for option in architecture.options}
    changed = {name: repr(value) for name, value in match.options.items() if defaults[name] != value}
    if match.headless and architecture.library == "timm":
        changed["num_classes"] = "0"
    call = architecture.model_copy(update={"keywords": architecture.keywords | changed})
    if architecture.library != "transformers":
        return call.text
    (config,) = architecture.arguments  # the only argument of a model is its configuration
    if not config.endswith(")"):
        config = call.model_copy(update={"function": config, "arguments": ()}).text
    return f"{architecture.function}({config})"


def _after(match: ArchitectureMatch) -> list[str]:
    """Statements that the model needs after it was constructed."""
    if match.architecture.library == "timm":  # it leaves a head out by itself
        return []
    paths = ["".join(f"[{p}]" if p.isdigit() else f".{p}" for p in head.split(".")) for head in match.headless]
    return [f"model{path} = torch.nn.Identity()  # the checkpoint has no such layers" for path in paths]


def _package(match: ArchitectureMatch) -> str:
    architecture = match.architecture
    return architecture.function.rpartition(".Model.")[0] if architecture.library == "zoo" else architecture.library


def title_of(match: ArchitectureMatch) -> str:
    """Library and name, and what is left out."""
    without = f" without its {' and '.join(match.headless)}" if match.headless else ""
    return f"{match.architecture.library} {match.architecture.name}{without}"


def _input(example: ExampleInput, match: ArchitectureMatch) -> ExampleInput:
    """The example with as many channels, or words, as the checkpoint has."""
    channels = match.options.get("in_chans", match.options.get("num_channels"))
    words = match.options.get("vocab_size")
    if example.high is not None:
        return replace(example, high=words or example.high)
    if channels and len(example.shape) == 4:
        return replace(example, shape=(example.shape[0], channels, *example.shape[2:]))
    return example
