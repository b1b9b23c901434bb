"""The two kinds of error a person may see, and how a wrong name is answered."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

from model_zoo.utils.text import escaped

#: Of a name that does not exist.
_SHOWN_LETTERS = 80


class ModelZooError(Exception):
    """Something failed, said in one line. The command line prints it, with what to try next, and exits with a code."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UserError(ModelZooError):
    """The request itself is wrong; nothing was started."""

    exit_code = 2


class ArgumentError(UserError):
    """The value of one argument is wrong. The problem is said after its name; a command line names its flag instead."""

    def __init__(self, name: str, problem: str, hint: str | None = None) -> None:
        super().__init__(f"{name}{problem}", hint)
        self.flag_message = f"--{name.replace('_', '-')}{problem}"


def first_line(error: BaseException) -> str:
    """What an error says, on one line; its type if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def refused(error: OSError) -> ModelZooError:
    """What the operating system refused, where nobody closer to it knew more to say."""
    named = f"{error.filename}: " if error.filename else ""
    kind = UserError if error.errno == errno.ENAMETOOLONG else ModelZooError
    return kind(f"{named}{error.strerror or error}")


def nearest(name: str, valid: Iterable[str], most: int = 3) -> list[str]:
    """The valid names that are most like a name, in any case; the best first."""
    choices = {choice.lower(): choice for choice in valid}
    return [choices[near] for near in difflib.get_close_matches(name.lower(), choices, n=most, cutoff=0.5)]


def unknown_name(kind: str, name: str, valid: Iterable[str], command: str) -> UserError:
    """Build the error for a name that does not exist, with the nearest that do, and the command that lists all."""
    near = nearest(name, valid)
    meant = f"did you mean {', '.join(near)}? " if near else ""
    short = escaped(name if len(name) <= _SHOWN_LETTERS else f"{name[:_SHOWN_LETTERS]}…")
    return UserError(f"unknown {kind} '{short}'", f"{meant}run `{command}` for all of them")
