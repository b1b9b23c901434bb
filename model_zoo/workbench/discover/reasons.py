"""Why a model failed: the class of the reason, the message in one line, and the line of the model's code."""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from pathlib import Path

from model_zoo.workbench.discover.verdict import Reason, StageVerdict

_LONGEST = 300
_PYTHON = Path(traceback.__file__).parent
_OURS = Path(__file__).resolve().parents[2]
_TRACERS = ("torch", "onnx", "onnx_ir", "onnxscript")
_CAUSED_BY = re.compile(r"Caused by: \((?P<file>\S+):(?P<line>\d+) in (?P<function>[^)]+)\)")


class NetworkRefusedError(BaseException):
    """Somebody asked for the network. Not an Exception, so that nobody's retries catch it."""


#: What a model may raise that does not end the child process.
FAILURES = (Exception, NetworkRefusedError, SystemExit)

#: Reasons by the types that say them, then by what one of the texts in the message does.
_TYPES = {NetworkRefusedError: Reason.NETWORK, ImportError: Reason.PACKAGE, MemoryError: Reason.MEMORY}
_TEXTS = {
    Reason.CONTROL_FLOW: ("control flow", "data-dependent", "cannot be iterated", "GuardOnDataDependent"),
    Reason.NON_TENSOR: ("Proxy", "symbolic tracing", "symbolically traced"),
}


def refuse_network() -> None:
    """Make every attempt of this process to reach the network fail at once, for good; local sockets still work."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        raise NetworkRefusedError(f"it asks for {_text(arguments[0])}, and nothing is fetched here")
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        raise NetworkRefusedError(f"it connects to {_text(arguments[1][0])}, and nothing is fetched here")


def _text(host: object) -> str:
    return host.decode(errors="replace") if isinstance(host, bytes) else str(host)


def failure(error: BaseException, containers: bool = False) -> StageVerdict:
    """The verdict that an exception means, from a model that takes lists or dicts, if `containers`."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    root = next((each for each in chain if isinstance(each, NetworkRefusedError | ImportError)), chain[-1])
    if isinstance(error, NotImplementedError | TypeError) or type(error).__module__.startswith("torch.fx"):
        root = error
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    message = ": ".join([type(root).__name__, *lines[:1]])
    message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"
    return StageVerdict(reason=_reason(root, message, containers), message=message, where=_where(error) or _where(root))


def _reason(error: BaseException, message: str, containers: bool) -> Reason:
    if known := next((reason for kind, reason in _TYPES.items() if isinstance(error, kind)), None):
        return known
    if "cannot be iterated" in message and containers:
        return Reason.CONTAINERS
    said = (reason for reason, texts in _TEXTS.items() if any(text in message for text in texts))
    return next(said, Reason.OTHER)


def _where(error: BaseException) -> str:
    """The last line of code that belongs neither to Python, nor to what traces, nor to us."""
    if named := _CAUSED_BY.search(str(error)):
        frames = [(named["file"], int(named["line"]), named["function"])]
    else:
        frames = [(f.filename, f.lineno or 0, f.name) for f in traceback.extract_tb(error.__traceback__)]
    for file, line, function in reversed(frames):
        if _is_of_the_model(file):
            code = linecache.getline(file, line).strip()
            return f"{_short(file)}:{line} in {function}" + (f": {code}" if code else "")
    return ""


def _is_of_the_model(file: str) -> bool:
    if file.startswith("<") or Path(file).is_relative_to(_OURS):
        return False
    if "site-packages" in file:
        return _short(file).split("/")[0] not in _TRACERS
    return not Path(file).is_relative_to(_PYTHON)


def _short(file: str) -> str:
    parts = Path(file).parts
    return "/".join(parts[parts.index("site-packages") + 1 :] if "site-packages" in parts else parts[-2:])


def child_failure(message: str, seconds: float = 0.0) -> StageVerdict:
    """The verdict on a model in whose child process something broke, from what `utils.jobs` says."""
    text = message.split(": ", 1)[-1]
    if "ran longer than" in text:
        reason = Reason.TIME
    elif "of memory" in text:
        reason = Reason.MEMORY
    else:
        reason, text = Reason.CRASH, text if "killed" in text else f"the child process ended itself: {text}"
    return StageVerdict(seconds=seconds, reason=reason, message=text)
