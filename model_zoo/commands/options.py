"""Command lines of one model: flags made from its own arguments and from a class of options."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, get_args

from model_zoo.base.flags import JSON_FLAGS, Flag, add_flags, signature_flags
from model_zoo.base.registry import load_model_class, model_folder
from model_zoo.pipeline.cache import open_cache
from model_zoo.pipeline.options import BuildOptions, EvaluateOptions, ExportOptions, Option, described
from model_zoo.sources.zoo import ZooSource, model_code_digest
from model_zoo.targets.chipset import find_device
from model_zoo.targets.precision import Precision
from model_zoo.utils.code_digest import code_digest, installed_versions
from model_zoo.utils.console import CommandParser, guarded, spinner
from model_zoo.utils.errors import ModelZooError, UserError

OptionsT = TypeVar("OptionsT", bound=BuildOptions)

#: Flags of options that are not called like them.
_FLAGS = {
    "chipset": ("-c", "--chipset"),
    "runtime": ("-r", "--target-runtime", "--runtime"),
    "precision": ("-p", "--precision"),
    "use_cache": ("--no-cache",),
    "report_file": ("--report",),
}
_METAVARS = {
    "runtime": "RUNTIME",
    "calibration_data": "PATH",
    "num_calibration_samples": "N",
    "num_samples": "N",
    "workers": "N",
    "interval": "WIDTH",
    "max_drop": "X",
    "on": "BACKENDS",
    "report_file": "FILE",
}
#: What `--quantize` without a value means.
_DEFAULT_QUANTIZED = Precision.W8A8


@dataclass(frozen=True)
class ModelRequest(Generic[OptionsT]):
    """What a command line of one model asks for, beside all that was parsed."""

    args: argparse.Namespace
    options: OptionsT
    source: ZooSource


class ModelCommand(Protocol):
    """Runs a command line of one model, that of the process if `argv` is None.

    Returns the exit status: 0 done, 1 failed, 2 wrong request, 130 stopped.
    """

    def __call__(self, model_id: str, argv: Sequence[str] | None = None) -> int: ...


def model_command(work: Callable[[str, list[str]], int]) -> ModelCommand:
    """Make a command of a function whose errors name parameters: it prints them with flags in their place."""

    @functools.wraps(work)
    def command(model_id: str, argv: Sequence[str] | None = None) -> int:
        arguments = list(sys.argv[1:] if argv is None else argv)

        def run() -> int:
            try:
                return work(model_id, arguments)
            except ModelZooError as error:
                raise with_flags(error) from error.__cause__

        return guarded(run, arguments)

    return command


def parse_request(
    model_id: str,
    command: str,
    argv: list[str],
    options: type[OptionsT],
    what: str,
    example: str,
    add_more: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> ModelRequest[OptionsT]:
    """Parse a command line of one model.

    Args:
        what: What the command does, for its help.
        example: Arguments that show it.
        add_more: Adds flags that are no options.

    Raises:
        UserError: It cannot be parsed, or an option makes no sense.
    """
    with spinner(f"reading the flags of {model_id}"):
        model_flags, input_flags = model_flags_of(model_id, "--no-cache" not in argv)
    generated = (model_folder(model_id) / f"{command}.py").exists()
    program = f"python -m model_zoo.models.{model_id}.{command}" if generated else f"model-zoo {command} {model_id}"
    parser = CommandParser(prog=program, description=what, epilog=f"example: {program} {example}")
    add_flags(parser.add_argument_group("model"), model_flags)
    add_flags(parser.add_argument_group("input"), input_flags, sizes=True)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    _add_options(parser, options)
    add_more(parser)
    args = parser.parse_args(argv)
    args.precision = args.quantize or args.precision
    args.chipset += [find_device(name).chipset for name in args.device]
    values = vars(args)
    asked = options(**{name: values[name] for name in described(options)})
    if args.quantize and asked.fixed_precision is Precision.FLOAT:
        raise UserError("--quantize float does not quantize", "use --precision float")
    arguments = ({flag.name: values[flag.name] for flag in flags} for flags in (model_flags, input_flags))
    return ModelRequest(args, asked, ZooSource(model_id, *arguments))


def model_flags_of(model_id: str, use_cache: bool = True) -> tuple[list[Flag], list[Flag]]:
    """Flags of `from_pretrained` and `get_input_spec`; cached, because reading them from the class imports torch."""

    def make(folder: Path) -> dict[str, Any]:
        model_class = load_model_class(model_id)
        inputs = getattr(model_class, "get_input_spec", None)
        flags = {
            "model": signature_flags(model_class.from_pretrained),
            "input": signature_flags(inputs, model_class) if inputs else [],
        }
        return {name: JSON_FLAGS.dump_python(each, mode="json") for name, each in flags.items()}

    model_folder(model_id)
    code = code_digest("model_zoo.base.flags"), model_code_digest(model_id)
    key = [model_id, *code, installed_versions("torch", "torchvision")]
    with open_cache(use_cache) as cache:
        flags = cache.get_or_make("flags", key, make).value
    return JSON_FLAGS.validate_python(flags["model"]), JSON_FLAGS.validate_python(flags["input"])


def _add_options(parser: argparse.ArgumentParser, options: type[BuildOptions]) -> None:
    """Add a flag for each described field, and the flags that stand for a field in another way."""
    fields = described(options)
    titles = dict.fromkeys(option.group for _, option in fields.values())
    groups: dict[str, Any] = {title: parser.add_argument_group(title) if title else parser for title in titles}
    precision = groups["target"].add_mutually_exclusive_group()
    for name, (kind, option) in fields.items():
        group = precision if name == "precision" else groups[option.group]
        _add_option(group, name, kind, option, getattr(options, name, None))
    precision.add_argument(
        "--quantize",
        nargs="?",
        const=_DEFAULT_QUANTIZED,
        metavar="PRECISION",
        help=f"quantize; to {_DEFAULT_QUANTIZED} if no precision is named",
    )
    groups["target"].add_argument(
        "-d", "--device", action="append", default=[], help="a device; see `model-zoo devices`"
    )


def _add_option(group: Any, name: str, kind: Any, option: Option, default: Any) -> None:
    flags = _FLAGS.get(name, (f"--{name.replace('_', '-')}",))
    text = option.help.replace("%", "%%")
    settings: dict[str, Any] = {"dest": name, "default": default, "help": text}
    if kind is bool:
        settings["help"] = f"switch off: {text}" if default else text
        group.add_argument(*flags, **settings, action="store_false" if default else "store_true")
        return
    kinds = get_args(kind) or (kind,)
    settings["type"] = next((each for each in (Path, int, float) if each in kinds), str)
    if name == "chipset":
        settings |= {"action": "append", "default": []}
    elif default is not None:
        settings["help"] = f"{text} (default: %(default)s)"
    group.add_argument(*flags, **settings, metavar=_METAVARS.get(name))


def with_flags(error: ModelZooError) -> ModelZooError:
    """The same error with flags in place of the parameters that it names."""
    error.message = in_flags(error.message)
    error.hint = in_flags(error.hint) if error.hint else None
    return error


def in_flags(text: str) -> str:
    """Write options in a text as flags: max_drop=0.5 becomes --max-drop 0.5, and output_dir becomes --output-dir.

    Names that are also English words count only before "=" or in backquotes. What stands in a path or in quotes is no
    parameter.
    """
    return _NAMED.sub(_as_flag, text)


def _as_flag(match: re.Match[str]) -> str:
    name = match["given"] or match["quoted"] or match["plain"]
    flag = _FLAGS.get(name, (f"--{name.replace('_', '-')}",))
    value = (match["value"] or "").strip('"')
    return flag[-1 if len(flag) < 3 else 1] + (f" {value}" if value not in ("", "True", "False") else "")


#: Arguments of models that messages name too.
_OF_MODELS = ("weights", "tokenizer", "height", "width")
_NAMES = sorted({*described(ExportOptions), *described(EvaluateOptions), *_OF_MODELS}, key=len, reverse=True)
_ANY = "|".join(_NAMES)
_LONG = "|".join(name for name in _NAMES if "_" in name)
_NAMED = re.compile(
    rf"(?<![\w./\\'-])(?:(?P<given>{_ANY})=(?P<value>\"[^\"]*\"|[\w./+-]*\w)|`(?P<quoted>{_ANY})`|(?P<plain>{_LONG}))(?![\w/\\'-]|\.\w)"
)
