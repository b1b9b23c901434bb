"""The command `model-zoo discover`."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import closing
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.toolchains import find_toolchain
from model_zoo.utils.console import CommandParser, console, print_json, spinner
from model_zoo.utils.errors import UserError, unknown_name
from model_zoo.utils.streams import stop_without_reader
from model_zoo.workbench.discover.model_library import NOT_CALLED, check_name, module_name
from model_zoo.workbench.discover.model_registry import StoredRegistry, differences, read_registry, registry_code
from model_zoo.workbench.discover.survey import Survey, SurveyRequest, versions
from model_zoo.workbench.discover.survey_tables import details, in_families, model_line, summary
from model_zoo.workbench.discover.verdict import ListedModel, Listing, ModelFinding, SurveyReport, SurveyStage
from model_zoo.workbench.libraries import SURVEYED

_CHIPSET = "snapdragon-8-elite"

#: Patterns that a name stands for: detection, segmentation, video and quantized models.
_PRESETS = {
    "classic": (
        *("rcnn", "retinanet", "fcos", "ssd"),
        *("deeplabv3", "fcn", "lraspp"),
        *("raft", "r3d", "r2plus1d", "mc3", "s3d", "mvit", "swin3d"),
        "quantized_*",
    )
}

_EPILOG = """depths, each with those before it:
  fx      torch.fx.symbolic_trace; the trace must give outputs of the model's shapes
  export  torch.export
  onnx    torch.onnx.export
  npu     which nodes of a float build the NPU of --chipset takes

examples:
  model-zoo discover                                          # all of torchvision, by FX
  model-zoo discover --test-model fasterrcnn_resnet50_fpn --verbose
  model-zoo discover --skip-patterns classic --generate-code > registry.py
  model-zoo discover --check registry.py                      # exit status 1 if it no longer holds
  model-zoo discover --library timm --depth export --json > timm.json
  model-zoo discover --library my_models.py --depth npu --chipset sm8650

Nothing is downloaded: models are built without weights. A killed run goes on where it was.
"""


def run(argv: list[str]) -> int:
    """Run the command.

    Returns:
        0, or 1 if the model named by --test-model fails or the registry given to --check no longer holds.
    """
    args = _parser().parse_args(argv)
    stored = read_registry(args.check) if args.check else None
    request = _request(args, stored)
    check_name(request.library)
    with Survey(request) as survey:
        with spinner(f"importing {request.library}"):
            listing = survey.listing()
        if args.test_model:
            listing = Listing(models=[_only(listing, args.test_model, request.library)])
        for name, why in listing.left_out.items():
            sys.stderr.write(f"not built: {name}: {why}\n")
        models = _unskipped(listing.models, args.skip_patterns if not args.test_model else [])
        skipped = [model.name for model in listing.models if model not in models]
        gone: list[str] = []
        if stored:
            names = {model.name for model in listing.models}
            gone = [] if args.test_model else sorted(set(stored.claims) - names)
            models = [model for model in models if model.name in stored.claims]
            if args.test_model and not models:
                raise UserError(f"{args.check} says nothing of {args.test_model}", "leave --check out to test it")
        findings = _survey(survey, models, args)
    if stored:
        return _compare(args, request.library, differences(stored, findings, gone), len(findings) + len(gone))
    report = SurveyReport(
        library=request.library,
        depth=request.depth,
        chipset=request.chipset or None,
        time_limit_s=request.limit_s,
        versions=versions(request.library),
        models=in_families(findings),
        skipped=skipped,
        left_out=listing.left_out,
    )
    _show(args, report)
    return int(bool(args.test_model) and not findings[0].ok)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="model-zoo discover",
        description="Say which models of a library can be traced and placed on an NPU, and why others cannot.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-v", "--verbose", action="store_true", help="a line for each model as it is tested")
    add("-g", "--generate-code", action="store_true", help="print MODEL_REGISTRY as Python code, and nothing else")
    add("--test-model", metavar="NAME", help="one model; exit status 1 if it fails")
    add(
        "--skip-patterns",
        nargs="*",
        metavar="PATTERN",
        default=[],
        help='leave out models whose name contains one of these, or matches it if it has a *; "classic" stands for '
        f"{' '.join(_PRESETS['classic'])}; nothing is left out by default",
    )
    add("--library", metavar="NAME", help="torchvision (the default), timm, a module, or the path of a .py file")
    add("--depth", choices=[str(stage) for stage in SurveyStage], help="how far to go, see below (default: fx)")
    add("--chipset", metavar="NAME", help=f"for --depth npu; it must compute in half precision (default: {_CHIPSET})")
    add("--time-limit", type=_seconds, default=60.0, metavar="S", help="for one depth of one model (default: 60)")
    add("--workers", type=_count, default=2, metavar="N", help="child processes side by side (default: 2)")
    add("--check", type=Path, metavar="FILE", help="what --json or --generate-code wrote; say what no longer holds")
    add("--json", action="store_true", help="print JSON")
    add("--debug", action="store_true", help="show tracebacks")
    return parser


def _seconds(text: str) -> float:
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("it must be a positive number of seconds")
    return value


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return value


def _request(args: argparse.Namespace, stored: StoredRegistry | None) -> SurveyRequest:
    if args.generate_code and (args.json or args.check):
        raise UserError("--generate-code goes with neither --json nor --check", "run it once for each")
    library = args.library or (stored and stored.library) or "torchvision"
    if not args.library and library not in SURVEYED:
        raise UserError(
            f"{args.check} is of the library {library!r}, which is imported only if you name it",
            f"if you trust it: --library {shlex.quote(library)}",
        )
    depth = stored.depth if stored else SurveyStage(args.depth or SurveyStage.FX)
    if stored and args.depth and args.depth != depth:
        raise UserError(f"{args.check} was made with --depth {depth}", "leave --depth out")
    chipset = ""
    if depth is SurveyStage.NPU:
        target = find_chipset(args.chipset or (stored and stored.chipset) or _CHIPSET)
        if not target.fp16:
            raise UserError(f"the NPU of {target.name} does not compute in half precision", "run `model-zoo chipsets`")
        find_toolchain().versions(TargetRuntime.QNN_CONTEXT_BINARY)  # refuses if the compiler is absent
        chipset = target.name
    elif args.chipset:
        raise UserError("--chipset says where nodes are placed", "add --depth npu")
    return SurveyRequest(library, depth, chipset, args.time_limit, args.workers)


def _only(listing: Listing, name: str, library: str) -> ListedModel:
    """One model by its name; a function that is not called unasked is called now."""
    models = {model.name: model for model in listing.models}
    if name in models:
        return models[name]
    problem = listing.left_out.get(name)
    if problem == NOT_CALLED:
        module = module_name(library)
        path = f"{module}.{name}"
        return ListedModel(name=name, module=module, path=path, call=f"{path}()", family=module)
    if problem:
        raise UserError(f"{name} cannot be built: {problem}", "give its arguments defaults")
    raise unknown_name("model", name, list(models), f"model-zoo discover --library {library} --verbose")


def _unskipped(models: list[ListedModel], skip: list[str]) -> list[ListedModel]:
    """The models that no pattern matches; a pattern that matches none is reported."""
    patterns = dict.fromkeys(each for name in skip for each in _PRESETS.get(name, (name,)) if each)
    matched = {pattern: {m.name for m in models if _matches(m.name, pattern)} for pattern in patterns}
    for pattern in [pattern for pattern, names in matched.items() if not names]:
        sys.stderr.write(f"no model matches the pattern '{pattern}'\n")
    skipped = set().union(*matched.values())
    return [model for model in models if model.name not in skipped]


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if "*" in pattern else pattern in name


def _survey(survey: Survey, models: list[ListedModel], args: argparse.Namespace) -> list[ModelFinding]:
    """Test the models, with a line for each where that is wanted, else a bar on a terminal."""
    from rich.progress import track

    # What is not the answer itself goes to standard error.
    say = partial(print, file=sys.stderr if args.json or args.generate_code else sys.stdout, flush=True)
    if args.test_model:
        say(f"Testing {args.test_model}...")
    elif args.verbose:
        say("Testing models:\n")
    terminal = console(stderr=True)
    lines = bool(args.verbose or args.test_model)
    hidden = lines or not terminal.is_terminal
    findings = []
    with closing(survey.run(models)) as tested:  # so that an early end stops its workers at once
        bar = track(tested, "testing models", total=len(models), console=terminal, transient=True, disable=hidden)
        for finding in bar:
            findings.append(finding)
            if lines:
                say(model_line(finding))
            if args.test_model and args.verbose:
                say("\n".join(details(finding)))
            stop_without_reader()  # what was found is kept
    return findings


def _compare(args: argparse.Namespace, library: str, lines: list[str], tested: int) -> int:
    if args.json:
        print_json({"file": str(args.check), "library": library, "tested": tested, "differences": lines})
    elif lines:
        print("\n".join(lines))
        print(f"\n{args.check}: {len(lines)} of its statements no longer hold ({tested} models tested)")
    else:
        print(f"{args.check}: holds ({tested} models tested)")
    return int(bool(lines))


def _show(args: argparse.Namespace, report: SurveyReport) -> None:
    if args.json:
        print_json(report.model_dump(mode="json"))
        return
    say = partial(print, file=sys.stderr if args.generate_code else sys.stdout, flush=True)
    if args.test_model:
        passed = report.models[0].ok
        wanted = SurveyStage.FX.label if report.depth is SurveyStage.FX else f"fine up to {report.depth}"
        say(f"\n{'✓' if passed else '✗'} {args.test_model} {'is' if passed else 'is not'} {wanted}{'!' * passed}")
    else:
        say(("\n" if args.verbose else "") + summary(report))
    if args.generate_code:
        sys.stdout.write(registry_code(report))
