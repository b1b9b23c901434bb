"""The command `model-zoo discover`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path

from model_zoo.targets.chipset import Chipset, find_chipset
from model_zoo.utils.console import CommandParser, console, print_json, spinner
from model_zoo.utils.errors import UserError, unknown_name
from model_zoo.utils.streams import stop_without_reader
from model_zoo.workbench.discover.library import NOT_CALLED, check_name
from model_zoo.workbench.discover.registry import Stored, differences, read_registry, registry_code
from model_zoo.workbench.discover.report import details, in_families, model_line, report
from model_zoo.workbench.discover.state import Listing
from model_zoo.workbench.discover.survey import Request, Survey, versions
from model_zoo.workbench.discover.verdict import Candidate, Finding, Stage

_CHIPSET = "snapdragon-8-elite"
_WORKERS = 2
_LIMIT_S = 60.0

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
    given = _parser().parse_args(argv)
    stored = read_registry(given.check) if given.check else None
    request = _request(given, stored)
    check_name(request.library)
    with Survey(request) as survey:
        with spinner(f"importing {request.library}"):
            listing = survey.listing()
        if given.test_model:
            listing = _only(listing, given.test_model, request.library)
        chosen, skipped = _choose(listing, given)
        for name, why in listing.left_out.items():
            sys.stderr.write(f"not built: {name}: {why}\n")
        gone: list[str] = []
        if stored:
            names = {candidate.name for candidate in listing.candidates}
            gone = [] if given.test_model else sorted(set(stored.claims) - names)
            chosen = [candidate for candidate in chosen if candidate.name in stored.claims]
            if given.test_model and not chosen:
                raise UserError(f"{given.check} says nothing of {given.test_model}", "leave --check out to test it")
        findings = _findings(survey, chosen, given)
    if stored:
        return _checked(given, request, stored, findings, gone)
    _show(given, request, in_families(findings), skipped, listing)
    return int(bool(given.test_model) and not findings[0].ok)


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
    add("--depth", choices=[str(stage) for stage in Stage], help="how far to go, see below (default: fx)")
    add("--chipset", metavar="NAME", help=f"for --depth npu; it must compute in half precision (default: {_CHIPSET})")
    add("--time-limit", type=_seconds, default=_LIMIT_S, metavar="S", help="for one depth of one model (default: 60)")
    add("--workers", type=_count, default=_WORKERS, metavar="N", help="child processes side by side (default: 2)")
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


def _request(given: argparse.Namespace, stored: Stored | None) -> Request:
    if given.generate_code and (given.json or given.check):
        raise UserError("--generate-code goes with neither --json nor --check", "run it once for each")
    library = given.library or (stored and stored.library) or "torchvision"
    if not given.library and library not in ("torchvision", "timm"):
        raise UserError(
            f"{given.check} is of the library {library!r}, which is imported only if you name it",
            f"if you trust it: --library {shlex.quote(library)}",
        )
    depth = stored.depth if stored else Stage(given.depth or Stage.FX)
    if stored and given.depth and given.depth != depth:
        raise UserError(f"{given.check} was made with --depth {depth}", "leave --depth out")
    chipset: Chipset | None = None
    if depth is Stage.NPU:
        chipset = find_chipset(given.chipset or (stored and stored.chipset) or _CHIPSET)
        if not chipset.fp16:
            raise UserError(f"the NPU of {chipset.name} does not compute in half precision", "run `model-zoo chipsets`")
        from model_zoo.runtimes.qnn import require_qnn

        require_qnn()
    elif given.chipset:
        raise UserError("--chipset says where nodes are placed", "add --depth npu")
    return Request(library, depth, chipset, given.time_limit, given.workers)


def _only(listing: Listing, name: str, library: str) -> Listing:
    """The listing of one model; a function that is not called unasked is called now."""
    candidates = [candidate for candidate in listing.candidates if candidate.name == name]
    if not candidates and listing.left_out.get(name) == NOT_CALLED:
        module = Path(library).stem if library.endswith(".py") else library
        path = f"{module}.{name}"
        candidates = [Candidate(name, module, path, f"{path}()", module)]
    if not candidates and name in listing.left_out:
        raise UserError(f"{name} cannot be built: {listing.left_out[name]}", "give its arguments defaults")
    if not candidates:
        valid = [candidate.name for candidate in listing.candidates]
        raise unknown_name("model", name, valid, f"model-zoo discover --library {library} --verbose")
    return Listing(candidates)


def _choose(listing: Listing, given: argparse.Namespace) -> tuple[list[Candidate], list[str]]:
    """What is tested, and the names that are skipped."""
    if given.test_model:
        return listing.candidates, []
    patterns = [each for given_one in given.skip_patterns for each in _PRESETS.get(given_one, (given_one,)) if each]
    hits = dict.fromkeys(patterns, 0)
    chosen, skipped = [], []
    for candidate in listing.candidates:
        matching = [pattern for pattern in patterns if _matches(candidate.name, pattern)]
        for pattern in matching:
            hits[pattern] += 1
        if matching:
            skipped.append(candidate.name)
        else:
            chosen.append(candidate)
    for pattern in [pattern for pattern, count in hits.items() if not count]:
        sys.stderr.write(f"no model matches the pattern '{pattern}'\n")
    return chosen, skipped


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if "*" in pattern else pattern in name


def _findings(survey: Survey, chosen: Sequence[Candidate], given: argparse.Namespace) -> list[Finding]:
    """Test the chosen models, with a line for each where that is wanted, else a bar on a terminal."""
    from rich.progress import track

    # What is not the answer itself goes to standard error.
    say = _say(sys.stderr if given.json or given.generate_code else sys.stdout)
    if given.test_model:
        say(f"Testing {given.test_model}...")
    elif given.verbose:
        say("Testing models:\n")
    shown = console(stderr=True)
    lines = bool(given.verbose or given.test_model)
    findings = []
    with closing(survey.run(chosen)) as tested:  # so that an early end stops its workers at once
        bar = track(
            tested,
            "testing models",
            total=len(chosen),
            console=shown,
            transient=True,
            disable=lines or not shown.is_terminal,
        )
        for finding in bar:
            findings.append(finding)
            if lines:
                say(model_line(finding))
            if given.test_model and given.verbose:
                say("\n".join(details(finding)))
            stop_without_reader()  # what was found is kept
    return findings


def _say(stream: object) -> Callable[[str], None]:
    return lambda text: print(text, file=stream, flush=True)  # type: ignore[call-overload]


def _checked(
    given: argparse.Namespace, request: Request, stored: Stored, findings: Sequence[Finding], gone: Sequence[str]
) -> int:
    lines = differences(stored, findings, gone)
    tested = len(findings) + len(gone)
    if given.json:
        print_json({"file": str(given.check), "library": request.library, "tested": tested, "differences": lines})
    elif lines:
        print("\n".join(lines))
        print(f"\n{given.check}: {len(lines)} of its statements no longer hold ({tested} models tested)")
    else:
        print(f"{given.check}: holds ({tested} models tested)")
    return int(bool(lines))


def _show(
    given: argparse.Namespace,
    request: Request,
    findings: Sequence[Finding],
    skipped: Sequence[str],
    listing: Listing,
) -> None:
    used = versions(request.library)
    chipset = request.target or None
    if given.json:
        print_json(
            {
                "library": request.library,
                "depth": request.depth,
                "chipset": chipset,
                "time_limit_s": request.limit_s,
                "versions": used,
                "models": [finding.to_json() for finding in findings],
                "skipped": skipped,
                "left_out": listing.left_out,
            }
        )
        return
    say = _say(sys.stderr if given.generate_code else sys.stdout)
    if given.test_model:
        wanted = Stage.FX.label if request.depth is Stage.FX else f"fine up to {request.depth}"
        mark, verb = ("✓", "is") if findings[0].ok else ("✗", "is not")
        say(f"\n{mark} {given.test_model} {verb} {wanted}{'!' if findings[0].ok else ''}")
    else:
        say(("\n" if given.verbose else "") + report(findings, skipped, request.target))
    if given.generate_code:
        made_with = ", ".join(f"{name} {version}" for name, version in used.items())
        sys.stdout.write(registry_code(request.library, request.depth, chipset, made_with, findings))
