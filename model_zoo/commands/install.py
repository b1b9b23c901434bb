"""The command `install`: the packages that one model needs besides the zoo's."""

from __future__ import annotations

import sys

from model_zoo.base.registry import code_gen
from model_zoo.base.requirements import install_command, install_packages, needs_of
from model_zoo.commands.parser import agreed, command_parser, print_records
from model_zoo.utils.console import console, print_json
from model_zoo.utils.errors import UserError


def run(argv: list[str]) -> int:
    what = "Show what a model needs and what would be installed, ask, and install it."
    parser = command_parser("install", what, "whisper_tiny --dry-run")
    parser.add_argument("model")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and stop")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    args = parser.parse_args(argv)
    needs = needs_of(args.model)
    records = [{"package": n.requirement, "installed": n.installed, "action": n.action} for n in needs]
    due = [need for need in needs if not need.fits]
    command = install_command(args.model) if due else []
    out = console(stderr=args.json)
    if args.json:
        print_json({"model": args.model, "packages": records, "command": command})
    elif needs:
        print_records(args, f"{args.model} needs {_packages(len(needs))}", records)
    if not due:
        out.print(f"{args.model}: nothing to install")
        return 0
    if code_gen(args.model).global_requirements_incompatible:
        out.print("these versions are not the zoo's own: take an environment of its own for this model")
    out.print(f"command: {' '.join(command)}", soft_wrap=True)
    if args.dry_run:
        return 0
    if not args.yes and not agreed(f"install {_packages(len(due))} into {sys.prefix}?"):
        raise UserError(
            "nothing was installed", f"run `model-zoo install {args.model} --yes` to install without asking"
        )
    install_packages(args.model, command)
    out.print(f"{args.model}: installed {', '.join(need.requirement for need in due)}")
    return 0


def _packages(count: int) -> str:
    return "1 package" if count == 1 else f"{count} packages"
