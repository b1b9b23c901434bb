"""A key for a torch module that is in memory: its state, the source of its classes, and what it computes."""

from __future__ import annotations

import hashlib
import io
import pickle
import site
import sys
import sysconfig
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import psutil
import torch

from model_zoo.base.model import call_torch
from model_zoo.base.spec import InputSpec, random_arrays
from model_zoo.utils.code_digest import installed_versions
from model_zoo.utils.hashing import digest, sha256_file

_STARTED = psutil.Process().create_time()
_distributions = cache(packages_distributions)
#: Where installed packages lie, whose versions stand for their code.
_INSTALLED = tuple(
    Path(folder).resolve()
    for folder in {
        *site.getsitepackages(),
        site.getusersitepackages(),
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
    }
)


def module_key(module: torch.nn.Module, spec: InputSpec) -> str | None:
    """Name a module by everything that its outputs rest on.

    The state is the module as pickle sees it: parameters, buffers and every other attribute. The code is the source of
    each class and function in it, with the modules of the caller's that these import, and the plain values of the
    global variables that functions there read; for an installed package its version. What neither shows changes what
    is computed, so the outputs of one input are part of the key.

    Returns:
        None if the state cannot be pickled, or code has no file that can be read, as in a notebook, or a file is newer
        than this process and may be newer than what runs: nothing names the module safely.
    """
    state = _State()
    try:
        pickler = _Pickler(state)
        pickler.dump(module)
        code = _code_of(pickler.modules)
    except Exception:  # whatever the caller's attributes and files do
        return None
    if code is None:
        return None
    outputs = call_torch(module, random_arrays(spec))
    return digest(state.digest.hexdigest(), code, [_tensor_digest(output) for output in outputs])


class _State(io.RawIOBase):
    """Digests what is written, and keeps none of it."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(memoryview(data))


class _Pickler(pickle.Pickler):
    """Writes a module with digests in place of tensors, and notes which Python modules its classes are defined in."""

    def __init__(self, file: _State) -> None:
        super().__init__(file, protocol=5)
        self.modules: set[str] = set()

    def persistent_id(self, value: Any) -> Any:
        return ("tensor", _tensor_digest(value)) if isinstance(value, torch.Tensor) else None

    def reducer_override(self, value: Any) -> Any:
        owner = value if isinstance(value, type | FunctionType) else type(value)
        self.modules.add(owner.__module__)
        return NotImplemented


def _tensor_digest(tensor: torch.Tensor) -> str:
    plain = tensor.detach().cpu().contiguous()
    data = hashlib.sha256(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest(str(tensor.dtype), list(tensor.shape), tensor.requires_grad, data.hexdigest())


def _plain_globals(module: ModuleType, file: Path) -> dict[str, str]:
    """Numbers, texts and truth values of a module that functions in it read; they can be set while a program runs."""
    due, names = [compile(file.read_bytes(), file, "exec")], set[str]()
    while due:
        nested = [constant for constant in due.pop().co_consts if isinstance(constant, CodeType)]
        names.update(name for code in nested for name in code.co_names)
        due += nested
    values = {name: vars(module).get(name) for name in sorted(names)}
    return {name: repr(value) for name, value in values.items() if type(value) in (bool, int, float, str, bytes)}


def _code_of(names: set[str]) -> list[Any] | None:
    """The caller's files with their digests, and the packages with their versions; None if a file is missing or new."""
    packages: set[str] = set()
    files: dict[str, str] = {}
    due, seen = set(names), set[str]()
    while due := due - seen:
        name = due.pop()
        seen.add(name)
        module = sys.modules.get(name)
        if module is None or (name.partition(".")[0] in sys.stdlib_module_names and name != "__main__"):
            continue
        location = getattr(module, "__file__", None)
        if location is None and name in names:
            return None
        if location is None:
            continue
        file = Path(location).resolve()
        if any(file.is_relative_to(folder) for folder in _INSTALLED):
            packages.add(name.partition(".")[0])
            continue
        if file.stat().st_mtime >= _STARTED:
            return None
        files[name] = digest(sha256_file(file), _plain_globals(module, file) if file.suffix == ".py" else {})
        due |= {value.__name__ for value in vars(module).values() if type(value) is type(sys)}
        due |= {each for value in vars(module).values() if isinstance(each := getattr(value, "__module__", None), str)}
    distributions = _distributions()
    installed = {each for package in {*packages, "torch", "numpy"} for each in distributions.get(package, [package])}
    return [sorted(files.items()), installed_versions(*sorted(installed))]
