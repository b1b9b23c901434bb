"""What people see: tables on standard output, progress on standard error, errors on one line."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from model_zoo.utils.errors import ArgumentError, ModelZooError, UserError, first_line, nearest, refused
from model_zoo.utils.files import path_problem
from model_zoo.utils.streams import output_failure, standard_streams
from model_zoo.utils.text import escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table
    from rich.text import Text

_T = TypeVar("_T")

#: A terminal may be narrower: then lines are broken, where a table would lose columns.
_LEAST_COLUMNS = 40

#: Exit status of a run that a signal stopped, as shells have it: this and the signal's number.
_SIGNALLED = 128

#: Sent when the terminal is closed; Windows has none.
_HANG_UP: int | None = getattr(signal, "SIGHUP", None)


def console(stderr: bool = False) -> Console:
    """A console that never cuts a table short when it is not a terminal, and prints text as it is, without markup."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if (stream and stream.isatty()) or "COLUMNS" in os.environ else 160
    plain = Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False, quiet=stream is None)
    plain.width = max(plain.width, _LEAST_COLUMNS)
    return plain


def marked(mark: str, style: str, text: str) -> Text:
    """A line of text, without markup, after a coloured word."""
    from rich.text import Text

    return Text.assemble("  ", (mark, style), text)


def print_json(value: object) -> None:
    """Print one JSON document on standard output, part by part: it may be long."""
    sys.stdout.writelines(json.JSONEncoder(indent=2, allow_nan=False).iterencode(json_value(value)))
    sys.stdout.write("\n")


def json_value(value: Any) -> Any:
    """The same with what JSON has no number for as text: "inf", "-inf" and "nan"."""
    if isinstance(value, dict):
        return {key: json_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def table(title: str, columns: list[str], rows: list[list[str]], right: tuple[str, ...] = ()) -> Table:
    """A table for people; the columns in `right` are numbers."""
    from rich import box
    from rich.table import Table

    grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold", pad_edge=False)
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*("\n".join(map(escaped, cell.split("\n"))) for cell in row))
    return grid


@contextmanager
def spinner(title: str) -> Iterator[None]:
    """Show on a terminal that something is under way; leaves no trace."""
    from rich.text import Text

    terminal = console(stderr=True)
    with terminal.status(Text(escaped(title))) if terminal.is_terminal else nullcontext():
        yield


def _progress(terminal: Console, *columns: ProgressColumn) -> Progress:
    """Progress on a terminal, which leaves no trace; none elsewhere."""
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *columns)
    return Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal)


@contextmanager
def stage_progress() -> Iterator[Callable[[str, Callable[[], _T]], _T]]:
    """Show each piece of work on standard error while it runs, and how long it took; stop between two after a signal.

    Yields a function of a title and the work, which may be called from several threads.
    """
    from rich.progress import TimeElapsedColumn

    terminal = console(stderr=True)
    with _progress(terminal, TimeElapsedColumn()) as progress:

        def run(title: str, work: Callable[[], _T]) -> _T:
            if _stop:
                raise _stop[0]
            started, task = time.monotonic(), progress.add_task(title, total=None)
            try:
                result = work()
            finally:
                progress.remove_task(task)
            note = "from cache" if getattr(result, "cached", False) else f"{time.monotonic() - started:6.1f} s"
            terminal.print(marked("done", "green", f"  {title:<44} {note}"))
            return result

        yield run


@contextmanager
def sample_progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Count samples on standard error: how many are done, how many a second, and the time that is left.

    Yields a function of how many more are done, which may be called from several threads.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    terminal, started = console(stderr=True), time.monotonic()
    speed = TextColumn("{task.fields[speed]:.3g} samples/s, time left")
    with _progress(terminal, BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn()) as progress:
        task = progress.add_task(title, total=total, speed=0.0)

        def advance(more: int) -> None:
            progress.advance(task, more)
            progress.update(task, speed=progress.tasks[0].completed / (time.monotonic() - started))

        yield advance
    elapsed = time.monotonic() - started
    terminal.print(marked("done", "green", f"  {f'{total} samples: {title}':<44} {elapsed:6.1f} s"))


class _Signalled(KeyboardInterrupt):
    """A signal to stop, cleaned up after like Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_status = _SIGNALLED + number


#: What a signal raised. Python drops what is raised in a finalizer or in the callback of a weak reference, of which
#: torch has many; then the next stage raises it again.
_stop: list[KeyboardInterrupt] = []


def _handle(number: int, frame: object) -> NoReturn:
    if number == _HANG_UP:
        signal.signal(number, signal.SIG_IGN)  # shells send it again, which would break into the cleaning up
    _stop.append(_Signalled(number))
    raise _stop[-1]


def guarded(work: Callable[[], int], argv: Sequence[str]) -> int:
    """Run a command: errors become one line and an exit status, and so does what cannot be printed.

    With --debug in `argv` errors show their traceback; with --json they are JSON on standard output too.
    """
    with standard_streams():
        status = _status(work, argv)
        failure = output_failure()
        if failure is None or status:
            return status
        if not isinstance(failure, BrokenPipeError):  # whoever read it had enough
            print_error(ModelZooError(f"standard output could not be written: {failure.strerror}"))
        return 1


def _status(work: Callable[[], int], argv: Sequence[str]) -> int:
    try:
        if threading.current_thread() is threading.main_thread():
            _handle_signals()
        try:  # where it was removed, torch's native libraries end the process
            Path.cwd()
        except FileNotFoundError as error:
            raise UserError("the folder you work in is gone", "change to one that exists") from error
        return work()
    except ModelZooError as error:
        return _failed(error, argv)
    except KeyboardInterrupt as stop:
        sys.stderr.write("\nstopped; nothing was left half done, the same command continues\n")
        return stop.exit_status if isinstance(stop, _Signalled) else _SIGNALLED + signal.SIGINT
    except SystemExit as stop:  # argparse after --help
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            return _failed(refused(error), argv)
        hint = "run again with --debug for the traceback"
        return _failed(ModelZooError(f"{type(error).__name__}: {first_line(error)}", hint), argv)


def _handle_signals() -> None:
    _stop.clear()
    signal.signal(signal.SIGTERM, _handle)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        signal.signal(signal.SIGINT, _handle)
    if _HANG_UP and signal.getsignal(_HANG_UP) is signal.SIG_DFL:  # else it is to be ignored, as nohup asks
        signal.signal(_HANG_UP, _handle)


def _failed(error: ModelZooError, argv: Sequence[str]) -> int:
    if "--debug" in argv:
        traceback.print_exc()
    print_error(error)
    if "--json" in argv:
        print_json({"error": _message(error), "hint": error.hint, "exit_status": error.exit_code})
    return error.exit_code


def print_error(error: ModelZooError) -> None:
    """One line on standard error: what failed, and what to do next."""
    line = f"error: {_message(error)}{f'; {error.hint}' if error.hint else ''}"
    short = re.sub(r"\S{300,}", lambda word: f"{word[0][:200]}…", " ".join(line.split()))
    sys.stderr.write(f"{escaped(short)}\n")


def _message(error: ModelZooError) -> str:
    return error.flag_message if isinstance(error, ArgumentError) else error.message


def path_argument(text: str) -> Path:
    """A path from a command line; an impossible one is refused."""
    if problem := path_problem(text):
        raise argparse.ArgumentTypeError(problem)
    return Path(text)


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors look like all our errors, whose paths are checked, and whose flags are not abbreviated."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **settings})
        self.register("type", Path, path_argument)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if "" in arg_strings and not isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(action, "it is empty: leave it out, or name something")
        if action.option_strings and arg_strings == ["--"]:
            raise argparse.ArgumentError(action, "-- is no value")
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Raise a `UserError`, which `guarded` prints on one line."""
        raise UserError(message, f"run `{self.prog} --help`")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; arguments that nobody knows are a `UserError` with the nearest flags."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if not unknown:
            return parsed
        options = {option.lstrip("-"): option for option in self._option_string_actions}
        flags = [text.partition("=")[0].lstrip("-") for text in unknown if text.startswith("-")]
        near = [options[name] for flag in flags for name in nearest(flag, options, most=2)]
        meant = f"did you mean {', '.join(dict.fromkeys(near))}? " if near else ""
        raise UserError(f"unrecognized arguments: {' '.join(unknown)}", f"{meant}run `{self.prog} --help`")
