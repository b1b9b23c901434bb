"""The command `model-zoo recover`: from a checkpoint to a folder with a module that loads it."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.checkpoints.contents import Contents, StateDictInfo
from model_zoo.utils.console import CommandParser, console, json_value, print_json, spinner
from model_zoo.utils.errors import ModelZooError, UserError, unknown_name
from model_zoo.utils.files import atomic_folder
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.recover.names.architecture import LIBRARIES
from model_zoo.workbench.recover.names.build import Progress
from model_zoo.workbench.recover.names.search import NamedDraft, Searched, search
from model_zoo.workbench.recover.recovery import Draft
from model_zoo.workbench.recover.report import (
    Candidate,
    FoundBy,
    Recovery,
    recovery_json,
    show_candidates,
    show_estimate,
    show_recovery,
)
from model_zoo.workbench.recover.verify import Estimate, Trial, Verification

if TYPE_CHECKING:
    from model_zoo.workbench.recover.settle import Pair

_EXAMPLES = """examples:
  model-zoo recover checkpoint.pt -o recovered
  model-zoo recover checkpoint.pt -o recovered --io-pair in.npz out.npz
  model-zoo recover checkpoint.pt -o recovered --by name --library torchvision timm

writes model.py (with build_model()), weights.safetensors and recovery.json.
exit status: 0 everything was recovered and verified, 1 only a part, 2 wrong request.
"""

#: Candidates that are tried until one passes.
_ATTEMPTS = 3


def run(argv: list[str]) -> int:
    """Run the command; gives the exit status.

    Raises:
        UserError: The request is wrong.
        ModelZooError: Nothing could be recovered.
    """
    given = _parser().parse_args(argv)
    output = given.output
    for name in given.library:
        if name not in LIBRARIES:
            raise unknown_name("library", name, LIBRARIES, "model-zoo recover --help")
    if given.num_threads is not None and given.num_threads < 1:
        raise UserError(f"--num-threads {given.num_threads} is not a number of threads", "give 1 or more")
    if output.exists() and not (output / "recovery.json").is_file() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} exists and is no earlier recovery", "choose another folder with -o")
    from model_zoo.checkpoints.reader import open_checkpoint

    contents = open_checkpoint(given.file).contents
    if contents.main is None or not contents.tensors:
        raise UserError(f"{given.file} holds no tensors", f"run `model-zoo inspect {given.file}`")
    pair = _read_pair(given)
    with spinner("computing the checksum"):
        digest = sha256_file(contents.path) if contents.path.is_file() else None
    candidates, searched, notes = find(contents, given.by, given.library)
    if not given.json:
        show_candidates(candidates, searched, notes)
    if not candidates:
        reasons = "; ".join(notes) or "no known architecture has its names and shapes"
        raise ModelZooError(f"no model was found for {given.file}: {reasons}", f"run `model-zoo inspect {given.file}`")
    with atomic_folder(output) as folder:
        result, problems = _recover(given, contents, candidates, pair, folder)
        recovery = Recovery(
            contents=contents,
            sha256=digest,
            candidates=candidates,
            searched=searched,
            notes=notes,
            chosen=result.candidate,
            weights_sha256=result.weights_sha256,
            verification=result.checked,
            attempts=problems,
            settled=result.settled,
            reproduced=result.reproduced,
        )
        text = json.dumps(json_value(recovery_json(recovery)), indent=2, allow_nan=False)
        (folder / "recovery.json").write_text(text + "\n", encoding="utf-8")
    if given.json:
        print_json(recovery_json(recovery))
    else:
        show_recovery(recovery)
        console().print(f"written to {output}/: model.py, weights.safetensors, recovery.json")
        console().print(f"next: model-zoo new my_model --from-recovery {shlex.quote(str(output))}")
    return 0 if recovery.is_whole else 1


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="model-zoo recover",
        description="Find the model that a checkpoint belongs to, write it as a module, and check that it runs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a checkpoint, or a folder that holds one")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write; it is written whole"
    )
    parser.add_argument(
        "--by",
        choices=("auto", "name", "structure"),
        default="auto",
        help="compare with known constructors, or write a module from the shapes; auto: the second where the first is "
        "not exact (default: %(default)s)",
    )
    parser.add_argument("--num-threads", type=int, metavar="N", help="threads of torch when the model is run")
    twin = parser.add_mutually_exclusive_group()
    twin.add_argument(
        "--io-pair", nargs=2, type=Path, metavar=("IN.npz", "OUT.npz"), help="an input of the model and its output"
    )
    twin.add_argument("--twin", type=Path, metavar="MODEL.onnx", help="the same model as ONNX: it gives the pair")
    parser.add_argument(
        "--library", nargs="+", default=list(LIBRARIES), metavar="NAME", help=f"search only: {', '.join(LIBRARIES)}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def find(contents: Contents, by: str, libraries: Sequence[str]) -> tuple[list[Candidate], list[Searched], list[str]]:
    """Every candidate, best first, where it was looked for, and what else there is to say.

    Args:
        by: "auto", "name" or "structure".
    """
    named: list[Candidate] = []
    searched: list[Searched] = []
    notes = list(contents.problems)
    if by != "structure":
        result = search(contents.tensors, contents.config, libraries, _index_progress)
        named, searched = [_candidate(each) for each in result.drafts], list(result.searched)
        if named and len(named[0].constructors) > 1:
            rule = f"libraries in the order {', '.join(LIBRARIES)}, then the shortest name"
            notes.append(
                f"several constructors give these tensors; without a pair {named[0].draft.title} is taken: {rule}"
            )
    if by == "name" or any(each.draft.is_exact for each in named):
        return named, searched, notes
    from model_zoo.workbench.recover.structure import NoDraftError, draft_by_structure

    try:
        built = [Candidate(d, FoundBy.STRUCTURE, 1.0, {}) for d in draft_by_structure(contents.tensors)]
    except NoDraftError as error:
        notes.append(f"by structure: {error.message}")
        built = []
    return [*built, *named], searched, notes


def _candidate(found: NamedDraft) -> Candidate:
    return Candidate(found.draft, FoundBy.NAME, found.score, dict(found.constructors))


@contextmanager
def _index_progress(library: str) -> Iterator[Progress]:
    """Show how an index grows: it is made once for each version of a library."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    shown = console(stderr=True)
    shown.print(f"building the index of {library}, once for this version; stopped, it goes on where it was")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(f"architectures of {library}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _read_pair(given: argparse.Namespace) -> Pair | None:
    """Check the files of a pair before anything slow runs."""
    if not given.io_pair:
        return None
    from model_zoo.workbench.recover.settle import read_pair

    return read_pair(*given.io_pair)


@dataclass(frozen=True)
class _Result:
    """What came of one candidate.

    Args:
        settled: What a pair said, and whether the module gives its output.
    """

    candidate: Candidate
    checked: Verification
    weights_sha256: str
    settled: str | None
    reproduced: bool | None


def _recover(
    given: argparse.Namespace, contents: Contents, candidates: Sequence[Candidate], pair: Pair | None, folder: Path
) -> tuple[_Result, dict[str, str]]:
    """Try candidates in order until one passes; that one, or the first that loads, is written to the folder.

    Returns:
        The one that is written, and what was wrong with the others.
    """
    problems: dict[str, str] = {}
    tried: list[tuple[_Result, Path]] = []
    with tempfile.TemporaryDirectory(dir=folder) as workshop:
        for number, candidate in enumerate(candidates[:_ATTEMPTS]):
            bench = Path(workshop, str(number))
            bench.mkdir()
            result = _try(given, contents, candidate, pair, bench)
            tried.append((result, bench))
            if result.checked.passed and result.reproduced is not False:
                break
            problems[result.candidate.draft.title] = result.checked.problem or "its outputs are not those expected"
        result, bench = next(
            ((result, bench) for result, bench in reversed(tried) if result.checked.passed),
            next(((result, bench) for result, bench in tried if result.checked.loads), tried[0]),
        )
        for file in bench.iterdir():
            shutil.move(file, folder / file.name)
    problems.pop(result.candidate.draft.title, None)
    return result, problems


def _try(
    given: argparse.Namespace, contents: Contents, candidate: Candidate, pair: Pair | None, folder: Path
) -> _Result:
    candidate = replace(candidate, draft=_readable(candidate.draft, contents.tensors))
    settled, reproduced = None, None

    def tell(estimate: Estimate) -> None:
        if not given.json:
            show_estimate(estimate)

    with Trial(candidate.draft, contents.path, contents.main, folder, given.num_threads) as trial:
        with spinner("writing weights.safetensors"):
            weights = trial.write_weights()
        if pair or given.twin:
            with spinner("comparing with the outputs that were given"):
                candidate, settled, reproduced = _settle(candidate, weights, pair, given.twin)
        with spinner(f"verifying {candidate.draft.title}"):
            checked = trial.verify(candidate.draft.source, tell)
    return _Result(candidate, checked, sha256_file(weights), settled, reproduced)


def _settle(candidate: Candidate, weights: Path, pair: Pair | None, twin: Path | None) -> tuple[Candidate, str, bool]:
    """Search the choices for those that give the outputs of a pair, or of a twin."""
    from model_zoo.workbench.recover.settle import pair_from_twin, settle

    draft = candidate.draft
    if pair is None:
        assert twin is not None
        pair = pair_from_twin(twin, draft)
    renamed = replace(draft, tensors={name: name for name in draft.tensors})  # as weights.safetensors has them
    result = settle(renamed, weights, pair)
    values = {choice.name: choice.value for choice in result.draft.choices}
    title = values.get("architecture", draft.title)
    found = replace(
        draft,
        title=title,
        source=result.draft.source,
        constructor=candidate.constructors.get(title, draft.constructor),
        choices=result.draft.choices,
    )
    return replace(candidate, draft=found), result.statement, result.reproduced


def _readable(draft: Draft, tensors: StateDictInfo) -> Draft:
    """The draft without tensors whose values cannot be read: those are missing."""
    lost = [own for own, name in draft.tensors.items() if tensors[name].problem]
    kept = {own: name for own, name in draft.tensors.items() if not tensors[name].problem}
    return replace(draft, tensors=kept, missing=(*draft.missing, *lost))
