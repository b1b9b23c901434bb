"""Read a line of printed text with TrOCR.

Example:
    python -m model_zoo.models.trocr.demo --image line.png --tokenizer tokenizer.json
"""

from __future__ import annotations

import argparse
import sys

from PIL import Image, ImageDraw, ImageFont

from model_zoo.models._shared.rows_demo import rows_demo
from model_zoo.models.trocr.app import App


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; returns the exit code."""
    return rows_demo("trocr", "Read a line of printed text.", _flags, _find, argv)


def drawn_line(text: str = "INVOICE 2041-B") -> Image.Image:
    """A picture of one line of text that needs no file, black on white."""
    picture = Image.new("RGB", (480, 64), "white")
    ImageDraw.Draw(picture).text((12, 8), text, font=ImageFont.load_default(40), fill="black")
    return picture


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", metavar="PATH", help="one line of text; default: a drawn one")


def _find(app: App, args: argparse.Namespace) -> list[dict[str, str]]:
    return [{"text": app.predict(args.image if args.image is not None else drawn_line())}]


if __name__ == "__main__":
    sys.exit(main())
