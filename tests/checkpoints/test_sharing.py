"""Files that refer to one thing many times: what is produced is counted, so their cost is bounded whatever they share.

Cost is told without a clock: by the calls that Python makes, and by the memory that it traces.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from model_zoo.checkpoints import budget, reader
from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.cli import main
from model_zoo.utils.errors import UserError

STEPS, BYTES = 20_000, 4 * 2**20
#: Calls of Python for one step, and what a tiny file takes: modules are imported.
CALLS_FOR_A_STEP, CALLS_OF_NOTHING = 20, 50_000


@dataclass
class Cost:
    """What it took to inspect a file.

    Args:
        printed: Characters.
    """

    calls: int
    peak: int
    printed: int


class Counted(io.TextIOBase):
    """Takes what is printed and keeps only how much it was."""

    size = 0

    def write(self, text: str, /) -> int:
        self.size += len(text)
        return len(text)


def cost(path: Path) -> Cost:
    """Inspect a file that may ask for little."""
    calls, printed = [0], Counted()

    def count(_frame: object, event: str, _argument: object) -> None:
        calls[0] += event in ("call", "c_call")

    with patch.object(budget, "LEAST_STEPS", STEPS), patch.object(budget, "LEAST_BYTES", BYTES):
        tracemalloc.start()
        sys.setprofile(count)
        try:
            with redirect_stdout(printed):
                status = main(["inspect", str(path), "--json"])
        finally:
            sys.setprofile(None)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert status in (0, 1, 2)
    return Cost(calls[0], peak, printed.size)


def check(path: Path) -> None:
    taken = cost(path)
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    assert taken.calls < CALLS_OF_NOTHING + CALLS_FOR_A_STEP * STEPS
    assert taken.peak < 3 * BYTES + 8 * size
    assert taken.printed < BYTES + size


def varint(number: int) -> bytes:
    made = b""
    while number > 127:
        made, number = made + bytes([number & 127 | 128]), number >> 7
    return made + bytes([number])


def part(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def onnx_graphs(path: Path, name: str, count: int, depth: int) -> None:
    """Graphs in graphs below long names, and many tensors, constants and graphs in the innermost."""
    tensor = b"\x10\x01" + part(8, b"w")
    constant = part(1, part(2, b"o") + part(4, b"C") + part(5, part(5, tensor)))
    branch = part(1, part(2, b"b") + part(4, b"If") + part(5, part(6, part(5, tensor))))
    graph = (constant + branch) * count + part(5, b"\x08\x03" + tensor) * count
    for _ in range(depth):
        graph = part(1, part(4, b"If") + part(2, name.encode()) + part(5, part(6, graph)))
    path.write_bytes(b"\x08\x08" + part(7, graph) + part(8, b"\x10\x11"))


def zipped(path: Path, records: dict[str, tuple[bytes, bool]], aliases: dict[str, str]) -> None:
    """A zip file, in whose directory records have more names than one."""
    out, directory = b"", b""
    entries: list[tuple[str, bytes]] = []
    for name, (content, packed) in records.items():
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        stored = packer.compress(content) + packer.flush() if packed else content
        fields = (20, 0, 8 * packed, 0, 0, zlib.crc32(content), len(stored), len(content))
        facts = struct.pack("<H5H3I", 20, *fields)
        place = len(out)
        out += struct.pack("<4s5H3I2H", b"PK\x03\x04", *fields, len(name), 0) + name.encode() + stored
        for other in (name, *(alias for alias, first in aliases.items() if first == name)):
            entries.append((other, facts + struct.pack("<5H2I", len(other), 0, 0, 0, 0, 0, place)))
    directory = b"".join(b"PK\x01\x02" + facts + name.encode() for name, facts in entries)
    counts = [min(len(entries), 65535)] * 2
    path.write_bytes(
        out + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, *counts, len(directory), len(out), 0)
    )


def pt2_records(path: Path, name: str, count: int, depth: int) -> None:
    """One description and one pickle, under many names."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("x/data.pkl", b"N0" * 2000 * depth + b"N.")
    graph = {"graph_module": {"graph": {"tensor_values": {name: {"sizes": [{"as_int": 1}] * count}}}}}
    graph["graph_module"]["signature"] = {
        "input_specs": [{"user_input": {"arg": {"as_tensor": {"name": name}}}}] * count
    }
    records = {
        "p/archive_format": (b"pt2", False),
        "p/models/a.json": (json.dumps(graph).encode(), count % 2 == 0),
        "p/a.pt": (inner.getvalue(), False),
    }
    aliases = {f"p/models/{i}.json": "p/models/a.json" for i in range(count)} | {
        f"p/{i}.pt": "p/a.pt" for i in range(count)
    }
    zipped(path, records, aliases)


def npz_headers(path: Path, name: str, count: int, depth: int) -> None:
    """Headers that numpy takes long to read, packed to a few bytes each; and zeros that unpack to a lot."""
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1L," * (100 * depth) + b"), }\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(2**16)
    zipped(path, {f"{name[:50]}{i}.npy": (array, True) for i in range(count // 4 + 1)}, {})


def pickled(path: Path, name: str, count: int, depth: int) -> None:
    """Lists of lists, keys made of tuples, long names and instances, all out of the memo."""
    text = b"X" + struct.pack("<I", len(name)) + name.encode()
    body = b"\x80\x02" + text + b"q\x00(" + b"h\x00" * 8 + b"tq\x010]h\x00a"
    for level in range(2, 2 + depth):
        body += b"q" + bytes([level]) + b"0}(h\x00h" + bytes([level]) + b"h\x01h" + bytes([level]) + b"u"
        body += b"q\xff0](" + b"h\xff" * 10 + b"e"
    body += (
        b"q\xfe0ccollections\nOrderedDict\nq\xfd0c"
        + name[:1000].encode()
        + b"\nB\nq\xfc0(h\xfeh\x01h\xfe\x86\x85q\xfb0("
    )
    body += b"h\xfe" + b"h\xfdh\xfb\x85R" * count + b"h\xfch\xfb\x81}h\x00h\xfesb" * count
    body += b"".join(b"c%x\n%x\n" % (i, i) for i in range(count)) + b"t."
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", body)


def json_header(path: Path, name: str, count: int, depth: int) -> None:
    """A header of empty things, of long names, and of tensors without values."""
    empties = [[], {}, "", 0][depth % 4]
    entry = {"dtype": "F32", "shape": [0] * (depth % 9), "data_offsets": [0, 0]}
    header: dict[str, Any] = {f"{i}": entry for i in range(count)}
    header["__metadata__"] = {name: {f"{i}": {name[:100]: i} for i in range(count)}, "e": [empties] * count * 20}
    content = json.dumps(header, ensure_ascii=False).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content)


def shards(path: Path, name: str, count: int, depth: int) -> None:
    """One file under many names."""
    json_header(path.with_name("w.safetensors"), name, count, depth)
    names = {f"{i}": "./" * (1 + i) + "w.safetensors" for i in range(count)}
    path.write_text(json.dumps({"weight_map": names}))


FILES: dict[str, tuple[str, Callable[[Path, str, int, int], None]]] = {
    "onnx": ("x.onnx", onnx_graphs),
    "pt2": ("x.pt2", pt2_records),
    "npz": ("x.npz", npz_headers),
    "pickle": ("x.pt", pickled),
    "json": ("x.safetensors", json_header),
    "shards": ("x.safetensors.index.json", shards),
}

NAMES = st.builds(
    lambda letter, size: letter * size, st.sampled_from(["n", "\u0080", "é", "\U0001f600"]), st.integers(1, 20_000)
)


@pytest.mark.parametrize("kind", FILES)
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=NAMES, count=st.integers(1, 300), depth=st.integers(1, 30))
def test_cost_is_bounded_whatever_is_shared(tmp_path: Path, kind: str, name: str, count: int, depth: int) -> None:
    file, write = FILES[kind]
    write(tmp_path / file, name, count, depth)
    check(tmp_path / file)


@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    size=st.integers(1, 100_000),
    count=st.integers(1, 2000),
    many=st.sampled_from(["tensors", "inputs", "codes", "signatures", "graphs", "notes"]),
)
def test_cost_of_shared_tables(tmp_path: Path, size: int, count: int, many: str) -> None:
    """One text and one list of scales, which any number of tables in a TensorFlow Lite file refer to."""
    (tmp_path / "x.tflite").write_bytes(tflite_bytes(size, count, many))
    check(tmp_path / "x.tflite")


def tflite_bytes(size: int, count: int, many: str) -> bytes:
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    made = flatbuffers.Builder(1024)

    def vector(items: list[int]) -> int:
        made.StartVector(4, len(items), 4)
        for item in reversed(items):
            made.PrependUOffsetTRelative(item)
        return int(made.EndVector())

    def numbers(items: list[int], prepend: Callable[[int], None]) -> int:
        made.StartVector(4, len(items), 4)
        for item in items:
            prepend(item)
        return int(made.EndVector())

    text, data = made.CreateString("n" * size), made.CreateByteVector(bytes(4))
    shape, scales = numbers([1], made.PrependInt32), numbers([1] * (size % 5000 + 1), made.PrependFloat32)
    inputs = numbers([0] * (count if many == "inputs" else 1), made.PrependInt32)
    schema.QuantizationParametersStart(made)
    schema.QuantizationParametersAddScale(made, scales)
    quantization = schema.QuantizationParametersEnd(made)
    schema.BufferStart(made)
    schema.BufferAddData(made, data)
    buffer = schema.BufferEnd(made)
    schema.TensorStart(made)
    for add, value in (("Shape", shape), ("Buffer", 1), ("Name", text), ("Quantization", quantization)):
        getattr(schema, f"TensorAdd{add}")(made, value)
    tensors = [schema.TensorEnd(made)] * (count if many == "tensors" else 1)
    schema.SignatureDefStart(made)
    schema.SignatureDefAddSignatureKey(made, text)
    signatures = [schema.SignatureDefEnd(made)] * (count if many == "signatures" else 1)
    schema.OperatorCodeStart(made)
    schema.OperatorCodeAddCustomCode(made, text)
    codes = [schema.OperatorCodeEnd(made)] * (count if many == "codes" else 1)
    lists = [vector(each) for each in ([buffer, buffer], tensors, signatures, codes)]
    schema.SubGraphStart(made)
    schema.SubGraphAddTensors(made, lists[1])
    schema.SubGraphAddInputs(made, inputs)
    graph = schema.SubGraphEnd(made)
    schema.SubGraphStart(made)
    empty = schema.SubGraphEnd(made)
    graphs = vector([graph, *[empty] * (count if many == "graphs" else 0)])
    schema.MetadataStart(made)
    schema.MetadataAddName(made, text)
    notes = vector([schema.MetadataEnd(made)] * (count if many == "notes" else 1))
    schema.ModelStart(made)
    for add, value in (
        ("Subgraphs", graphs),
        ("Buffers", lists[0]),
        ("SignatureDefs", lists[2]),
        ("OperatorCodes", lists[3]),
        ("Metadata", notes),
    ):
        getattr(schema, f"ModelAdd{add}")(made, value)
    made.Finish(schema.ModelEnd(made), b"TFL3")
    return bytes(made.Output())


def test_a_packed_description_of_empty_objects_stays_within_five_seconds_and_half_a_gibibyte(tmp_path: Path) -> None:
    """60 KB that unpack to 60 MB, which parsed would take 3 GB, as the command is run."""
    described = b"[" + b"{}," * (20 * 2**20) + b"0]"
    zipped(tmp_path / "x.pt2", {"p/archive_format": (b"pt2", False), "p/models/m.json": (described, True)}, {})
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (5, 5));"
        "resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29));"
        "from model_zoo.cli import main; sys.exit(main(['inspect', sys.argv[1], '--json']))"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "x.pt2")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "asks for more than" in json.loads(done.stdout)["problems"][0]


def onnx(graph: bytes) -> bytes:
    return b"\x08\x08" + part(7, graph) + part(8, b"\x10\x11")


def torch_zip(pickled: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
    return packed.getvalue()


#: By what there is many of: a file of so many of them, each of a few bytes.
SMALL_PARTS: dict[str, Callable[[int], bytes]] = {
    "inputs": lambda count: onnx(part(11, b"") * count),
    "values": lambda count: onnx(part(5, b"\x10\x01" + part(8, b"w") + part(4, b"") * count)),
    "names": lambda count: torch_zip(b"\x80\x02(" + b"c\n\n" * count + b"t."),
    "graphs": lambda count: tflite_bytes(1, count, "graphs"),
    "notes": lambda count: tflite_bytes(1, count, "notes"),
}


@pytest.mark.parametrize("kind", SMALL_PARTS)
def test_the_smallest_parts_are_counted_at_what_they_take(tmp_path: Path, kind: str) -> None:
    """A part of two bytes may become an object of some hundred, and be made by twenty calls."""

    def taken(count: int) -> tuple[int, int]:
        """Calls of Python, and steps that were counted."""
        (tmp_path / "x").write_bytes(SMALL_PARTS[kind](count))
        calls, counted = [0], budget.Budget()

        def count_calls(_frame: object, event: str, _argument: object) -> None:
            calls[0] += event in ("call", "c_call")

        with patch.object(reader, "Budget", lambda: counted):
            sys.setprofile(count_calls)
            try:
                open_checkpoint(tmp_path / "x")
            finally:
                sys.setprofile(None)
        return calls[0], counted.steps - counted.steps_left

    few, many = taken(100), taken(2100)
    assert many[0] - few[0] < 7 * (many[1] - few[1])


@pytest.mark.parametrize("kind", ["inputs", "values", "graphs"])
def test_memory_of_the_smallest_parts_is_counted_as_they_are_read(tmp_path: Path, kind: str) -> None:
    """Also where there are steps for all of them."""
    count = 120_000
    (tmp_path / "x").write_bytes(SMALL_PARTS[kind](count))
    with patch.object(budget, "LEAST_STEPS", 10 * count), patch.object(budget, "LEAST_BYTES", BYTES):
        tracemalloc.start()
        try:
            open_checkpoint(tmp_path / "x")
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peak < 2 * BYTES


def test_figures_of_tensors_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(
        onnx(b"".join(part(5, b"\x08\x01\x10\x01" + part(8, b"%d" % n) + part(9, bytes(4))) for n in range(300)))
    )
    with patch.object(budget, "LEAST_STEPS", STEPS):
        checkpoint = open_checkpoint(path)
        assert len(checkpoint.contents.tensors) == 300
        with pytest.raises(UserError, match=r"steps of work.*without its values"):
            dict(checkpoint.figures(""))
