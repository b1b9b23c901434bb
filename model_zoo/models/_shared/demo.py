"""What every demo shares that saves a picture: its flags, loading, the saved picture and the printed table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from model_zoo.base.collection import CollectionModel
from model_zoo.base.flags import add_flags
from model_zoo.base.registry import load_app_class, load_model_class
from model_zoo.commands.options import model_flags_of
from model_zoo.runtimes import load_compiled
from model_zoo.utils.console import CommandParser, console, guarded, print_json, table
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import atomic_write, make_folder
from model_zoo.utils.images import load_image

#: Smaller pictures are enlarged, so that a label on them can be read.
_MIN_SHOWN = 256
#: Of what was found; a network with random weights finds hundreds.
_MOST_ROWS = 20


@dataclass(frozen=True)
class Medium:
    """What a demo runs on.

    Args:
        name: As a person calls it; also the flag that takes the path of one.
        load: Makes what `show` gets of what the flag names, or of what the default makes.
    """

    name: str
    flag: str
    load: Callable[[Any], Any]


PICTURE = Medium("picture", "image", load_image)


@dataclass(frozen=True)
class DemoResult:
    """What a demo shows of one picture, clip or whatever it runs on.

    Args:
        picture: With the result drawn on it.
        rows: What was found, best first: plain JSON values by column, the same columns in every row.
        more: Further pictures that are saved, by what they are.
    """

    picture: Image.Image
    rows: list[dict[str, Any]]
    more: Mapping[str, Image.Image] = field(default_factory=dict)


def image_demo(
    model_id: str,
    show: Callable[[Any, Any, argparse.Namespace], DemoResult],
    default: Callable[[], Any],
    argv: Sequence[str] | None = None,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    medium: Medium = PICTURE,
) -> int:
    """Run the demo of a model on a picture, or on another medium of which a picture is saved.

    Args:
        show: Gets the app, the loaded picture and all flags.
        default: Makes what is loaded without `--image`.
        argv: Default: the command line's.
        add_arguments: Adds flags of this demo alone.
        medium: What the model takes.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong request.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _run(model_id, show, default, arguments, add_arguments, medium), arguments)


def _run(
    model_id: str,
    show: Callable[[Any, Any, argparse.Namespace], DemoResult],
    default: Callable[[], Any],
    argv: list[str],
    add_arguments: Callable[[argparse.ArgumentParser], None] | None,
    medium: Medium,
) -> int:
    parser = demo_parser(model_id, f"Run {model_id} on a {medium.name}.")
    parser.add_argument(f"--{medium.flag}", metavar="PATH", help=f"default: a {medium.name} that comes with the demo")
    if add_arguments:
        add_arguments(parser)
    args = parser.parse_args(argv)
    source = getattr(args, medium.flag)
    loaded = medium.load(source if source is not None else default())
    make_folder(args.output_dir)
    model = demo_model(model_id, args)
    result = show(load_app_class(model_id)(model), loaded, args)
    paths = {}
    for name, picture in {"picture": result.picture, **result.more}.items():
        paths[name] = args.output_dir / f"{model_id}{'' if name == 'picture' else f'_{name}'}.png"
        with atomic_write(paths[name]) as temporary:
            picture.save(temporary, format="PNG")
    _print(model_id, medium.name, result.rows, paths, args.json)
    return 0


def demo_parser(model_id: str, description: str) -> argparse.ArgumentParser:
    """The flags of every demo: those of the model, a compiled file, the folder, JSON and tracebacks."""
    model_flags, _ = model_flags_of(model_id)
    parser = CommandParser(prog=f"python -m model_zoo.models.{model_id}.demo", description=description)
    add_flags(parser.add_argument_group("model"), model_flags)
    parser.add_argument(
        "--compiled",
        type=Path,
        metavar="PATH",
        help="run this exported file, or the folder of a model in parts, instead of torch",
    )
    parser.add_argument("--output-dir", type=Path, default=Path("build", model_id, "demo"), help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def demo_model(model_id: str, args: argparse.Namespace, apart: Collection[str] = ()) -> Any:
    """The model that the flags name, in torch or compiled.

    Args:
        args: Command line as `demo_parser` parses it.
        apart: Arguments of the model that a compiled file does not bring, such as its tokenizer.

    Raises:
        UserError: A compiled file was given with arguments that it does bring.
    """
    model_flags, _ = model_flags_of(model_id)
    if args.compiled is None:
        return load_model_class(model_id).from_pretrained(**{f.name: getattr(args, f.name) for f in model_flags})
    brought = [flag for flag in model_flags if flag.name not in apart]
    changed = [flag.option for flag in brought if getattr(args, flag.name) != flag.default]
    if changed:
        raise UserError(f"--compiled brings its own weights: leave {', '.join(changed)} out")
    model_class = load_model_class(model_id)
    if issubclass(model_class, CollectionModel):
        return {name: load_compiled(_part(args.compiled, model_id, name)) for name in model_class.component_classes}
    return load_compiled(args.compiled)


def _part(folder: Path, model_id: str, name: str) -> Path:
    """The file of one component in the folder of an export."""
    files = [folder / f"{model_id}_{name}{suffix}" for suffix in (".bin", ".onnx", ".tflite")]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise UserError(f"{folder} has no {' or '.join(file.name for file in files)}", "give the folder of an export")
    return path


def _print(model_id: str, medium: str, rows: list[dict[str, Any]], paths: dict[str, Path], as_json: bool) -> None:
    if as_json:
        print_json({"model": model_id, **{name: str(path) for name, path in paths.items()}, "found": rows})
        return
    if rows:
        cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows[:_MOST_ROWS]]
        console().print(table(model_id, list(rows[0]), cells))
        if len(rows) > _MOST_ROWS:
            console().print(f"and {len(rows) - _MOST_ROWS} more, which --json prints")
    else:
        console().print(f"{model_id}: nothing found in the {medium}")
    for path in paths.values():
        console().print(f"saved: {path}", soft_wrap=True)


def draw_lines(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    """A copy of a picture with lines of text in its upper left corner; a small picture is enlarged first."""
    factor = max(1, _MIN_SHOWN // max(picture.size))
    canvas = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas, "RGBA")
    font = ImageFont.load_default(min(64, max(12, canvas.height // 24)))
    text = "\n".join(lines)
    left, top, right, bottom = draw.multiline_textbbox((8, 8), text, font=font)
    draw.rectangle((left - 4, top - 4, right + 4, bottom + 4), fill=(0, 0, 0, 160))
    draw.multiline_text((8, 8), text, font=font, fill="white")
    return canvas


def drawn_scene() -> Image.Image:
    """A picture that needs no file: a red ball on a lawn under a blue sky, 480 x 360."""
    picture = Image.new("RGB", (480, 360), (120, 180, 235))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 220, 480, 360), fill=(70, 140, 60))
    draw.ellipse((150, 110, 330, 290), fill=(200, 40, 35))
    draw.ellipse((190, 140, 230, 180), fill=(240, 150, 145))
    return picture
