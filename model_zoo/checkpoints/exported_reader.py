"""Archives of torch.export: a graph as JSON, and weights as plain bytes beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, SpentError, UnreadableError
from model_zoo.checkpoints.contents import Contents, ContentsBuilder, Format, TensorInfo
from model_zoo.checkpoints.stored_tensor import MOST_DIMENSIONS, FileBytes, StoredTensor, checked_shape
from model_zoo.checkpoints.torch_reader import read_torch_zip, torch_prefix
from model_zoo.checkpoints.untrusted_json import parse_json
from model_zoo.checkpoints.zip_records import ZipRecords, read_zip
from model_zoo.utils.text import printable

_MOST_JSON_BYTES = 64 * 2**20
_OLD_PROGRAM = "serialized_exported_program.json"

#: torch.export's own numbers for types.
DTYPES = {
    **dict(enumerate(("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"), 1)),
    **{9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16"},
    **{29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz", 33: "float8_e8m0fnu"},
    **{34: "uint32", 35: "uint64"},
}


def exported_prefix(archive: ZipRecords) -> str | None:
    """The folder of an exported program in a zip file, with its slash; None if there is none."""
    if _OLD_PROGRAM in archive.records:
        return ""
    formats = [name for name in archive.records if name.endswith("archive_format") and name.count("/") <= 1]
    return formats[0].removesuffix("archive_format") if len(formats) == 1 else None


def read_description(path: Path) -> Any:
    """The JSON of the one program in an archive, as torch.export writes it."""
    budget = Budget()
    budget.add_file(path)
    archive = read_zip(path, budget)
    prefix = exported_prefix(archive)
    if prefix is None:
        raise UnreadableError("is no exported program")
    inside = [name for name in archive.records if name.startswith(f"{prefix}models/") and name.endswith(".json")]
    names = [_OLD_PROGRAM] if _OLD_PROGRAM in archive.records else inside
    if len(names) != 1:
        raise UnreadableError(f"holds {len(names)} programs, not one")
    return _json(archive, names[0])


def _json(archive: ZipRecords, name: str) -> Any:
    return parse_json(archive.read(name, _MOST_JSON_BYTES), printable(name), archive.budget)


class ExportedReader:
    """Reads an exported program. Compiled libraries in it are listed only."""

    def __init__(self, archive: ZipRecords, prefix: str) -> None:
        self._archive, self._prefix, self._budget = archive, prefix, archive.budget
        self._built = ContentsBuilder(archive.path, Format.PT2)
        self._inside: dict[str, Contents] = {}
        self._weights: set[str] = set()

    def read(self) -> Contents:
        """Go through the records."""
        built = self._built
        built.problems += self._archive.problems
        for name in self._archive.records:
            inner = name.removeprefix(self._prefix)
            try:
                self._record(name, inner)
            except SpentError as error:
                built.problems.append(str(error))
                break
            except UnreadableError as error:
                built.problems.append(f"{printable(inner)}: {error}")
        built.report()
        weights = [path for path in built.state_dicts if path in self._weights]
        built.main = next((path for path in weights if path in ("", "model")), weights[0] if weights else None)
        return built.build()

    def _record(self, name: str, inner: str) -> None:
        folder, _, file = inner.rpartition("/")
        if (folder == "models" and file.endswith(".json")) or name == _OLD_PROGRAM:
            title = "" if name == _OLD_PROGRAM else file.removesuffix(".json")
            with self._budget.temporary():  # little is kept of it
                summary = _summary(_json(self._archive, name), self._budget)
            self._built.metadata[f"program {title}".strip()] = summary
        elif folder in ("data/weights", "data/constants") and file.endswith("_config.json"):
            kind = "weights" if folder == "data/weights" else "constants"
            path = file.removesuffix(f"_{kind}_config.json")
            self._payloads(path if kind == "weights" else f"{path} constants", folder, _json(self._archive, name))
            if kind == "weights":
                self._weights.add(path)
        elif inner.endswith(".pt") and not inner.startswith(("data/weights/", "data/constants/")):
            path = inner.removesuffix(".pt").removeprefix("data/").removeprefix("serialized_")
            self._pickled(path, name)
            if path == "state_dict":
                self._weights.add(path)
        elif inner.endswith((".so", ".cubin", ".o", ".cpp")):
            self._built.notes.append(f"{printable(inner)} is compiled code, which is not loaded")

    def _payloads(self, path: str, folder: str, content: Any) -> None:
        entries = _dict(content).get("config")
        if not isinstance(entries, dict):
            raise UnreadableError("does not say where its tensors are")
        for name, entry in entries.items():
            self._budget.tensor()
            try:
                info = self._payload(folder, entry)
            except SpentError:
                raise
            except UnreadableError as error:
                info = TensorInfo.unreadable(error)
            self._built.add(path, name, info)

    def _payload(self, folder: str, entry: Any) -> TensorInfo:
        match entry:
            case {"path_name": str(file), "use_pickle": True}:
                tensors = list(self._nested(f"{self._prefix}{folder}/{file}").tensors.values())
                if len(tensors) != 1:
                    return TensorInfo((), "unknown", 0, "is pickled, and not one plain tensor", True)
                return tensors[0]
            case {"path_name": str(file), "tensor_meta": dict(meta)}:
                source = self._archive.source(f"{self._prefix}{folder}/{file}")
                number = meta.get("dtype")
                dtype = DTYPES.get(number, "unknown") if isinstance(number, int) else "unknown"
                (offset,) = _integers([meta.get("storage_offset", {"as_int": 0})])
                shape = checked_shape(_integers(meta.get("sizes")))
                return TensorInfo.of(StoredTensor(source, dtype, shape, _integers(meta.get("strides")), offset))
        raise UnreadableError("has no record and no shape")

    def _nested(self, name: str) -> Contents:
        """What torch saved into a record, read once however many tensors are said to be in it."""
        if name not in self._inside:
            source = self._archive.source(name)
            if not isinstance(source, FileBytes):
                raise UnreadableError("is compressed")
            archive = read_zip(source.path, self._budget, source.begin, source.available)
            prefix = torch_prefix(archive)
            if prefix is None:
                raise UnreadableError("is nothing that torch saved")
            self._inside[name] = read_torch_zip(archive, prefix)
            self._built.add_names(self._inside[name])
        return self._inside[name]

    def _pickled(self, path: str, name: str) -> None:
        contents = self._nested(name)
        self._built.problems += [f"{printable(path)}: {problem}" for problem in contents.problems]
        for inner, tensors in contents.state_dicts.items():
            self._budget.memory(4 * (len(path) + len(inner)))
            where = f"{path}.{inner}" if inner else path
            for key, info in tensors.items():
                self._budget.work(2)
                self._built.add(where, key, info)


def _integers(values: Any) -> tuple[int, ...]:
    sizes = values if isinstance(values, list) and len(values) <= MOST_DIMENSIONS else [None]
    numbers: tuple[Any, ...] = tuple(_dict(size).get("as_int") for size in sizes)
    if not all(type(number) is int for number in numbers):
        raise UnreadableError("has no fixed shape")
    return numbers


def _summary(program: Any, budget: Budget) -> dict[str, Any]:
    module = _dict(_dict(program).get("graph_module"))
    graph, signature = _dict(module.get("graph")), _dict(module.get("signature"))
    tensors, nodes = _dict(graph.get("tensor_values")), graph.get("nodes")
    targets = [node.get("target") for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []
    return {
        **{key: _dict(program).get(key) for key in ("torch_version", "schema_version", "opset_version")},
        "inputs": _values(_arguments(signature.get("input_specs"), "user_input"), tensors, budget),
        "outputs": _values(_arguments(signature.get("output_specs"), "user_output"), tensors, budget),
        "operators": dict(Counter(target for target in targets if isinstance(target, str)).most_common()),
    }


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _arguments(specs: Any, kind: str) -> Iterator[str]:
    for spec in specs if isinstance(specs, list) else []:
        match _dict(spec).get(kind):
            case {"arg": {"as_tensor": {"name": str(name)}}}:
                yield name


def _values(names: Iterable[str], tensors: dict[str, Any], budget: Budget) -> list[dict[str, Any]]:
    """Values of a graph, each made once however many inputs or outputs it is."""

    @cache
    def value(name: str) -> dict[str, Any]:
        meta = _dict(tensors.get(name))
        sizes, dtype = meta.get("sizes"), meta.get("dtype")
        shape = list(map(_size, sizes)) if isinstance(sizes, list) else None
        return {"name": name, "dtype": DTYPES.get(dtype) if isinstance(dtype, int) else None, "shape": shape}

    values = []
    for name in names:
        budget.work(2)
        values.append(value(name))
    return values


def _size(size: Any) -> Any:
    fields = _dict(size)
    return fields["as_int"] if "as_int" in fields else _dict(fields.get("as_expr")).get("expr_str", "?")
