"""Archives of torch.export: a graph as JSON, and weights as plain bytes beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from model_zoo.checkpoints.budget import Budget, SpentError
from model_zoo.checkpoints.contents import Contents, Format, TensorInfo
from model_zoo.checkpoints.inert_values import printable
from model_zoo.checkpoints.stored_tensor import (
    FileBytes,
    Opened,
    StoredTensor,
    UnreadableError,
    checked_shape,
    describe,
    tensor_problems,
)
from model_zoo.checkpoints.torch_reader import open_torch_zip, torch_prefix
from model_zoo.checkpoints.untrusted_json import parse_json
from model_zoo.checkpoints.zip_records import ZipRecords, read_zip

_MAX_JSON_BYTES = 64 * 2**20
_MOST_DIMENSIONS = 64
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


def open_exported(archive: ZipRecords, prefix: str) -> Opened:
    """Read an exported program. Compiled libraries in it are listed only."""
    reader = _Reader(archive, prefix)
    reader.read()
    problems, unsupported = tensor_problems(reader.infos)
    weights = [path for path in reader.infos if path in reader.weights]
    main = next((path for path in weights if path in ("", "model")), weights[0] if weights else None)
    contents = Contents(
        path=archive.path,
        format=Format.PT2,
        nbytes=archive.file_size,
        state_dicts=reader.infos,
        main=main,
        metadata=reader.metadata,
        refused=tuple(reader.refused),
        calls=tuple(reader.calls),
        problems=(*archive.problems, *reader.problems, *problems),
        notes=(*reader.notes, *unsupported),
    )
    return Opened(contents, reader.places)


def read_description(path: Path) -> Any:
    """The JSON of the program in an archive, as torch.export writes it.

    Raises:
        UnreadableError: There is none or several, or it is damaged or too large.
    """
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
    return parse_json(archive.read(names[0], _MAX_JSON_BYTES), printable(names[0]), budget)


class _Reader:
    def __init__(self, archive: ZipRecords, prefix: str) -> None:
        self.archive, self.prefix, self.budget = archive, prefix, archive.budget
        self._inside: dict[str, Opened] = {}
        self.infos: dict[str, dict[str, TensorInfo]] = {}
        self.places: dict[str, dict[str, StoredTensor]] = {}
        self.weights: set[str] = set()
        self.metadata: dict[str, Any] = {}
        self.refused: dict[str, None] = {}
        self.calls: dict[str, None] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []

    def read(self) -> None:
        """Go through the records."""
        for name in self.archive.records:
            inner = name.removeprefix(self.prefix)
            try:
                self._read_record(name, inner)
            except SpentError as error:
                self.problems.append(str(error))
                return
            except UnreadableError as error:
                self.problems.append(f"{printable(inner)}: {error}")

    def _read_record(self, name: str, inner: str) -> None:
        folder, _, file = inner.rpartition("/")
        if (folder == "models" and file.endswith(".json")) or name == _OLD_PROGRAM:
            title = "" if name == _OLD_PROGRAM else file.removesuffix(".json")
            with self.budget.temporary():  # little is kept of it
                told = _told(self._json(name), self.budget)
            self.metadata[f"program {title}".strip()] = told
        elif folder in ("data/weights", "data/constants") and file.endswith("_config.json"):
            kind = "weights" if folder == "data/weights" else "constants"
            path = file.removesuffix(f"_{kind}_config.json")
            self._read_payloads(path if kind == "weights" else f"{path} constants", folder, self._json(name))
            if kind == "weights":
                self.weights.add(path)
        elif inner.endswith(".pt") and not inner.startswith(("data/weights/", "data/constants/")):
            path = inner.removesuffix(".pt").removeprefix("data/").removeprefix("serialized_")
            self._read_nested(path, name)
            if path == "state_dict":
                self.weights.add(path)
        elif inner.endswith((".so", ".cubin", ".o", ".cpp")):
            self.notes.append(f"{printable(inner)} is compiled code, which is not loaded")

    def _json(self, name: str) -> Any:
        return parse_json(self.archive.read(name, _MAX_JSON_BYTES), printable(name), self.budget)

    def _read_payloads(self, path: str, folder: str, content: Any) -> None:
        entries = content.get("config") if isinstance(content, dict) else None
        if not isinstance(entries, dict):
            raise UnreadableError("does not say where its tensors are")
        for name, entry in entries.items():
            self.budget.tensor(0)
            try:
                info, place = self._payload(folder, entry)
            except SpentError:
                raise
            except UnreadableError as error:
                info, place = TensorInfo((), "unknown", 0, str(error)), None
            self._keep(path, name, info, place)

    def _keep(self, path: str, name: str, info: TensorInfo, place: StoredTensor | None) -> None:
        self.budget.work(2)
        self.infos.setdefault(path, {})[name] = info
        kept = self.places.setdefault(path, {})
        if place is not None and info.problem is None:
            kept[name] = place

    def _payload(self, folder: str, entry: Any) -> tuple[TensorInfo, StoredTensor | None]:
        match entry:
            case {"path_name": str(file), "use_pickle": True}:
                opened = self._nested(f"{self.prefix}{folder}/{file}")
                if len(opened.contents.tensors) != 1:
                    return TensorInfo((), "unknown", 0, "is pickled, and not one plain tensor", True), None
                ((name, info),) = opened.contents.tensors.items()
                return info, opened.places[opened.contents.main or ""].get(name)
            case {"path_name": str(file), "tensor_meta": dict(meta)}:
                source = self.archive.source(f"{self.prefix}{folder}/{file}")
                number = meta.get("dtype")
                dtype = DTYPES.get(number, "unknown") if isinstance(number, int) else "unknown"
                (offset,) = _integers([meta.get("storage_offset", {"as_int": 0})])
                shape = checked_shape(_integers(meta.get("sizes")))
                place = StoredTensor(source, dtype, shape, _integers(meta.get("strides")), offset)
                return describe(place), place
        raise UnreadableError("has no record and no shape")

    def _nested(self, name: str) -> Opened:
        """What torch saved into a record, read once however many tensors are said to be in it."""
        if name in self._inside:
            return self._inside[name]
        source = self.archive.source(name)
        if not isinstance(source, FileBytes):
            raise UnreadableError("is compressed")
        inside = read_zip(source.path, self.budget, source.begin, source.available)
        prefix = torch_prefix(inside)
        if prefix is None:
            raise UnreadableError("is nothing that torch saved")
        opened = open_torch_zip(inside, prefix)
        self.refused.update(dict.fromkeys(opened.contents.refused))
        self.calls.update(dict.fromkeys(opened.contents.calls))
        self._inside[name] = opened
        return opened

    def _read_nested(self, path: str, name: str) -> None:
        opened = self._nested(name)
        self.problems += [f"{printable(path)}: {problem}" for problem in opened.contents.problems]
        for inner, tensors in opened.contents.state_dicts.items():
            self.budget.memory(4 * (len(path) + len(inner)))
            where = f"{path}.{inner}" if inner else path
            for key, info in tensors.items():
                self._keep(where, key, info, opened.places[inner].get(key))


def _integers(values: Any) -> tuple[int, ...]:
    found: list[int] = []
    if not isinstance(values, list) or len(values) > _MOST_DIMENSIONS:
        raise UnreadableError("has no fixed shape")
    for value in values:
        if not isinstance(value, dict) or type(value.get("as_int")) is not int:
            raise UnreadableError("has no fixed shape")
        found.append(value["as_int"])
    return tuple(found)


def _told(program: Any, budget: Budget) -> dict[str, Any]:
    """What people want to know of a graph."""
    module = _dict(_dict(program).get("graph_module"))
    graph, signature = _dict(module.get("graph")), _dict(module.get("signature"))
    tensors = _dict(graph.get("tensor_values"))
    nodes = graph.get("nodes")
    targets = [node.get("target") for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []
    return {
        "torch_version": _dict(program).get("torch_version"),
        "schema_version": _dict(program).get("schema_version"),
        "opset_version": _dict(program).get("opset_version"),
        "inputs": _values(_arguments(signature.get("input_specs"), "user_input"), tensors, budget),
        "outputs": _values(_arguments(signature.get("output_specs"), "user_output"), tensors, budget),
        "operators": dict(Counter(node for node in targets if isinstance(node, str)).most_common()),
    }


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _arguments(specs: Any, kind: str) -> Iterator[str]:
    for spec in specs if isinstance(specs, list) else []:
        name = _dict(_dict(_dict(_dict(spec).get(kind)).get("arg")).get("as_tensor")).get("name")
        if isinstance(name, str):
            yield name


def _values(names: Iterable[str], tensors: dict[str, Any], budget: Budget) -> list[dict[str, Any]]:
    """Values of a graph, each made once however many inputs or outputs it is."""
    made: dict[str, dict[str, Any]] = {}
    found: list[dict[str, Any]] = []
    for name in names:
        budget.work(2)
        if name not in made:
            meta = _dict(tensors.get(name))
            sizes, dtype = meta.get("sizes"), meta.get("dtype")
            shape = [_size(size) for size in sizes] if isinstance(sizes, list) else None
            made[name] = {"name": name, "dtype": DTYPES.get(dtype) if isinstance(dtype, int) else None, "shape": shape}
        found.append(made[name])
    return found


def _size(size: Any) -> Any:
    """A number, or the symbol of a size that may vary."""
    found = _dict(size)
    if "as_int" in found:
        return found["as_int"]
    return _dict(found.get("as_expr")).get("expr_str", "?")
