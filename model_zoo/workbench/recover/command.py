"""The command `model-zoo recover`: from a checkpoint to a folder with a module that loads it."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from model_zoo.checkpoints.contents import Contents, StateDictInfo
from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.utils.console import CommandParser, console, json_value, print_json, spinner, table
from model_zoo.utils.errors import ModelZooError, UserError, unknown_name
from model_zoo.utils.files import atomic_folder, work_folder
from model_zoo.utils.hashing import sha256_file
from model_zoo.workbench.libraries import LIBRARIES
from model_zoo.workbench.recover.io_pair import IOPair, fit_draft, pair_from_onnx, read_pair
from model_zoo.workbench.recover.names.architecture_index import Progress
from model_zoo.workbench.recover.names.named_search import search_by_name
from model_zoo.workbench.recover.recovery import (
    Draft,
    Estimate,
    FoundBy,
    RankedDraft,
    RankedDrafts,
    Recovery,
    SettledBy,
    Tried,
    host,
)
from model_zoo.workbench.recover.structure import NoDraftError, draft_by_structure
from model_zoo.workbench.recover.trial import start_trial, verify

_EXAMPLES = """examples:
  model-zoo recover checkpoint.pt -o recovered
  model-zoo recover checkpoint.pt -o recovered --io-pair in.npz out.npz
  model-zoo recover checkpoint.pt -o recovered --by name --library torchvision timm

writes model.py (with build_model()), weights.safetensors and recovery.json.
exit status: 0 everything was recovered and verified, 1 only a part, 2 wrong request.
"""

#: Candidates that are tried until one passes.
_ATTEMPTS = 3
#: Names that a table shows of a long list; recovery.json holds all.
_SHOWN = 12


def run(argv: list[str]) -> int:
    """Run the command; returns the exit status.

    Raises:
        UserError: The request is wrong.
        ModelZooError: Nothing could be recovered.
    """
    args = _parser().parse_args(argv)
    output = args.output
    for name in args.library:
        if name not in LIBRARIES:
            raise unknown_name("library", name, LIBRARIES, "model-zoo recover --help")
    if args.num_threads is not None and args.num_threads < 1:
        raise UserError(f"--num-threads {args.num_threads} is not a number of threads", "give 1 or more")
    if output.exists() and not (output / "recovery.json").is_file() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} exists and is no earlier recovery", "choose another folder with -o")
    contents = open_checkpoint(args.file).contents
    if contents.main is None or not contents.tensors:
        raise UserError(f"{args.file} holds no tensors", f"run `model-zoo inspect {args.file}`")
    pair = read_pair(*args.io_pair) if args.io_pair else None
    with spinner("computing the checksum"):
        digest = sha256_file(contents.path) if contents.path.is_file() else None
    candidates = find_candidates(contents, args.by, args.library)
    if not args.json:
        _show_candidates(candidates)
    if not candidates.drafts:
        reasons = "; ".join(candidates.notes) or "no known architecture has its names and shapes"
        raise ModelZooError(f"no model was found for {args.file}: {reasons}", f"run `model-zoo inspect {args.file}`")
    with atomic_folder(output) as folder:
        recovery = _recover(args, contents, digest, candidates, pair, folder)
        text = json.dumps(json_value(recovery.to_json()), indent=2, allow_nan=False)
        (folder / "recovery.json").write_text(text + "\n", encoding="utf-8")
    if args.json:
        print_json(recovery.to_json())
    else:
        _show_recovery(recovery)
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


def find_candidates(contents: Contents, by: str, libraries: Sequence[str]) -> RankedDrafts:
    """Every draft for a checkpoint.

    Args:
        by: "auto", "name" or "structure".
    """
    notes = list(contents.problems)
    named = search_by_name(contents.tensors, contents.config, libraries if by != "structure" else (), _index_progress)
    if named.drafts and len(named.drafts[0].constructors) > 1:
        rule = f"libraries in the order {', '.join(LIBRARIES)}, then the shortest name"
        title = named.drafts[0].draft.title
        notes.append(f"several constructors give these tensors; without a pair {title} is taken: {rule}")
    if by == "name" or any(each.draft.is_exact for each in named.drafts):
        return replace(named, notes=notes)
    written: list[RankedDraft] = []
    try:
        written = [RankedDraft(d, FoundBy.STRUCTURE, 1.0, {}) for d in draft_by_structure(contents.tensors)]
    except NoDraftError as error:
        notes.append(f"by structure: {error.message}")
    return RankedDrafts([*written, *named.drafts], named.searched, notes)


@contextmanager
def _index_progress(library: str) -> Iterator[Progress]:
    """Show how an index grows: it is made once for each version of a library."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    terminal = console(stderr=True)
    terminal.print(f"building the index of {library}, once for this version; stopped, it goes on where it was")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task(f"architectures of {library}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _recover(
    args: argparse.Namespace,
    contents: Contents,
    digest: str | None,
    candidates: RankedDrafts,
    pair: IOPair | None,
    folder: Path,
) -> Recovery:
    """Try candidates in order until one passes; that one, or the first that loads, is written to the folder."""
    problems: dict[str, str] = {}
    attempts: list[tuple[Tried, Path]] = []
    with tempfile.TemporaryDirectory(dir=folder) as parent:
        for number, candidate in enumerate(candidates.drafts[:_ATTEMPTS]):
            trial_folder = Path(parent, str(number))
            trial_folder.mkdir()
            tried = _try(args, contents, candidate, pair, trial_folder)
            attempts.append((tried, trial_folder))
            if tried.passed:
                break
            problems[tried.ranked.draft.title] = tried.verification.problem or "its outputs are not those expected"
        ran = [attempt for attempt in reversed(attempts) if attempt[0].verification.passed]
        loaded = [attempt for attempt in attempts if attempt[0].verification.loads]
        chosen, trial_folder = [*ran, *loaded, *attempts][0]
        for file in trial_folder.iterdir():
            shutil.move(file, folder / file.name)
    problems.pop(chosen.ranked.draft.title, None)
    return Recovery(contents, digest, candidates, chosen, problems)


def _try(
    args: argparse.Namespace, contents: Contents, candidate: RankedDraft, pair: IOPair | None, folder: Path
) -> Tried:
    draft = _readable(candidate.draft, contents.tensors)
    statement, reproduced = None, None
    weights = folder / "weights.safetensors"
    with work_folder() as work_dir, start_trial(draft, contents, folder, work_dir, args.num_threads) as worker:
        with spinner("writing weights.safetensors"):
            worker.ask({"step": "write_weights"})
        if pair or args.twin:
            with spinner("comparing with the outputs that were given"):
                renamed = replace(draft, tensors={name: name for name in draft.tensors})  # as they were just written
                fitted = fit_draft(renamed, weights, pair or pair_from_onnx(args.twin, draft))
            statement, reproduced = fitted.statement, fitted.reproduced
            title = next((c.value for c in fitted.draft.choices if c.name == "architecture"), draft.title)
            constructor = candidate.constructors.get(title, draft.constructor)
            draft = replace(fitted.draft, tensors=draft.tensors, title=title, constructor=constructor)
        with spinner(f"verifying {draft.title}"):
            verification = verify(worker, folder, draft.source, (lambda _: None) if args.json else _show_estimate)
    return Tried(replace(candidate, draft=draft), verification, sha256_file(weights), statement, reproduced)


def _readable(draft: Draft, tensors: StateDictInfo) -> Draft:
    """The draft without tensors whose values cannot be read: those are missing."""
    lost = [own for own, name in draft.tensors.items() if tensors[name].problem]
    kept = {own: name for own, name in draft.tensors.items() if own not in lost}
    return replace(draft, tensors=kept, missing=(*draft.missing, *lost))


def _show_candidates(candidates: RankedDrafts) -> None:
    out, searched = console(), candidates.searched
    rows = [[s.library, s.version or "-", f"{s.architectures:,}" if s.architectures else "-", s.note] for s in searched]
    if rows:
        out.print(table("searched", ["library", "version", "architectures", ""], rows, right=("architectures",)))
    rows = []
    for candidate in candidates.drafts[:5]:
        draft = candidate.draft
        others = [title for title in candidate.constructors if title != draft.title]
        same = f"\nthe same tensors: {', '.join(others)}" if others else ""
        fit = "exact" if draft.is_exact else f"{len(draft.missing)} missing, {len(draft.unused)} unused"
        how = f"{draft.constructor or 'a module of its own'}{same}"
        rows.append([draft.title, str(candidate.found_by), f"{candidate.score:.1%}", fit, how])
    if rows:
        out.print(table("what it is", ["model", "found by", "shared values", "tensors", "constructor"], rows))
    for note in candidates.notes:
        out.print(f"note: {note}")


def _show_estimate(estimate: Estimate) -> None:
    text = f"{estimate.parameters / 1e6:,.2f} M parameters"
    if estimate.multiply_adds is not None and estimate.at_least_seconds is not None:
        text += f", {estimate.multiply_adds / 1e9:,.2f} G multiply-adds: at least {estimate.at_least_seconds:.2g} s a "
        text += "sample at the speed of a matrix product"
    console(stderr=True).print(f"verifying on the {host()}: {text}")


def _show_recovery(recovery: Recovery) -> None:
    out, chosen, draft = console(), recovery.chosen, recovery.chosen.ranked.draft
    rows = []
    for choice in draft.choices:
        others = [str(value) for value in choice.alternatives if value != choice.value]
        settled = "ASSUMED" if choice.settled_by is SettledBy.ASSUMED else str(choice.settled_by)
        rows.append([choice.name, str(choice.value), settled, _shortened(others) or "-", choice.meaning])
    if rows:
        out.print(table("choices", ["choice", "taken", "settled by", "alternatives", "meaning"], rows))
    if chosen.settled:
        out.print(f"settled: {chosen.settled}")
    for what, names in (("missing: the module's own, set at random", draft.missing), ("unused", draft.unused)):
        if names:
            out.print(f"not recovered, {len(names)} {what}: {_shortened(names)}")
    for title, problem in recovery.attempts.items():
        out.print(f"tried before, and failed: {title}: {problem}")
    out.print(table(f"verification on the {host()}", ["", ""], _verification_rows(recovery)))


def _verification_rows(recovery: Recovery) -> list[list[str]]:
    checked = recovery.chosen.verification
    loads = "in part" if recovery.chosen.ranked.draft.missing else "strictly"
    rows = [["loads", loads if checked.loads else "NO"]]
    if checked.problem:
        rows.append(["problem", checked.problem])
    if checked.outputs is not None:
        sample = f"{checked.seconds:.3g} s (median of {checked.runs}; first {checked.first_seconds:.3g} s)"
        memory = f"{(checked.peak_memory_bytes or 0) / 2**20:,.0f} MiB, torch included"
        rows += [[f"output {o.name}", f"{list(o.shape)} {o.dtype}"] for o in checked.outputs[:_SHOWN]]
        rows += [
            ["all values finite", "yes" if checked.finite else "NO"],
            ["equal outputs once saved and loaded", "yes" if checked.reload_equal else "NO"],
            ["one sample", sample],
            ["threads of torch", str(checked.threads)],
            ["peak memory of the process", memory],
        ]
    return rows


def _shortened(names: Sequence[str]) -> str:
    """The first names of a list, printable, and how many more there are."""
    text = ", ".join(name if name.isprintable() else repr(name) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return text + (f" and {more:,} more in recovery.json" if more > 0 else "")
