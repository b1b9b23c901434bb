"""The demo of every model that answers in words: what the app finds is printed as a table and saved as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model_zoo.base.collection import CollectionModel
from model_zoo.base.registry import load_app_class
from model_zoo.models._shared.demo import demo_model, demo_parser
from model_zoo.models._shared.text.words import NumberedWords
from model_zoo.utils.console import console, guarded, print_json, table
from model_zoo.utils.files import atomic_write, make_folder


def rows_demo(
    model_id: str,
    description: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    find: Callable[[Any, argparse.Namespace], Sequence[dict[str, Any]]],
    argv: Sequence[str] | None = None,
    beside: Callable[[str], dict[str, Any]] | None = None,
) -> int:
    """Run a demo that finds rows: words, sentences, transcripts.

    Args:
        add_arguments: Adds what the model is run on.
        find: Takes the app and all flags; returns rows of plain JSON values, the same columns in each.
        argv: Default: the command line's.
        beside: What the app needs of the weights that compiled files do not hold: from `--weights`, which may then be
            given beside `--compiled`, to arguments of the app.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong request.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)

    def run() -> int:
        parser = demo_parser(model_id, description)
        add_arguments(parser)
        args = parser.parse_args(arguments)
        make_folder(args.output_dir)
        model = demo_model(model_id, args, apart=("tokenizer", "weights") if beside else ("tokenizer",))
        more = beside(args.weights) if beside and args.compiled else {}
        app, note = app_of(model_id, model, args, more)
        report = {"model": model_id, "found": list(find(app, args)), **({"note": note} if note else {})}
        _print(report, args.output_dir / f"{model_id}.json", args.json)
        return 0

    return guarded(run, arguments)


def _print(report: dict[str, Any], path: Path, as_json: bool) -> None:
    """Save and print what a demo found."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        print_json(report | {"saved": str(path)})
        return
    model_id, rows = report["model"], report["found"]
    cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    console().print(table(model_id, list(rows[0]), cells) if rows else f"{model_id}: nothing found")
    if "note" in report:
        console().print(f"note: {report['note']}")
    console().print(f"saved: {path}", soft_wrap=True)


def app_of(model_id: str, model: Any, args: argparse.Namespace, more: Mapping[str, Any]) -> tuple[Any, str | None]:
    """The app, with the tokenizer that is known; with numbered words where none is and the weights are random anyway.

    Args:
        more: Further arguments of the app.

    Returns:
        The app, and what to say of the tokenizer.
    """
    app_class = load_app_class(model_id)
    if not hasattr(args, "tokenizer"):
        return app_class(model, **more), None
    known = args.tokenizer or getattr(model, "tokenizer_path", lambda: None)()
    if known or args.compiled or args.weights != "random":
        return app_class(model, known, **more), None
    parts = model.components.values() if isinstance(model, CollectionModel) else [model]
    ids = next(spec["input_ids"] for part in reversed(list(parts)) if "input_ids" in (spec := part.input_spec()))
    return app_class(model, NumberedWords(int(ids.value_range[1]) + 1)), NumberedWords.NOTE
