"""Files in which one thing stands in many places: small on disk, large for a reader that expands each of them."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

_GLOBAL, _MARK, _TUPLE, _STOP = b"c%s\n%s\n", b"(", b"t", b"."


def _log_uniform(rng: random.Random, low: int, high: int) -> int:
    return int(low * (high / low) ** rng.random())


def _zip(records: dict[str, bytes], names: list[tuple[str, str]]) -> bytes:
    """An archive whose directory names records as often as it likes: (name, record) each."""
    body, places = b"", {}
    for record, content in records.items():
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(content) + packer.flush()
        sizes = (zlib.crc32(content), len(packed), len(content))
        places[record] = (len(body), *sizes)
        head = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, *sizes, len(record), 0)
        body += head + record.encode() + packed
    directory = b""
    for name, record in names:
        offset, *sizes = places[record]
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, *sizes, len(name), 0, 0, 0, 0, 0, offset)
        directory += name.encode()
    count = min(len(names), 65535)
    return body + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)


def _torch_zip(pickled: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickled)
    return packed.getvalue()


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _field(number: int, value: bytes | int) -> bytes:
    """A field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _onnx(graph: bytes) -> bytes:
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 17))


def doubling_tuples(rng: random.Random) -> bytes:
    """Each tuple holds the one before twice."""
    depth = rng.randrange(10, 200)
    steps = b"".join(b"(h%ch%ct" % (n, n) + b"q%c" % (n + 1) for n in range(depth))
    return _torch_zip(b"\x80\x02N" + b"q\x00" + steps + _STOP)


def many_globals(rng: random.Random) -> bytes:
    """Names of functions without end."""
    names = (_GLOBAL % (b"m%x" % n, b"f%x" % (n % 97)) for n in range(_log_uniform(rng, 1000, 1_000_000)))
    return _torch_zip(b"\x80\x02" + _MARK + b"".join(names) + _TUPLE + _STOP)


def one_string_many_keys(rng: random.Random) -> bytes:
    """One long string in a list, many times, and dotted into names of tensors."""
    text = b"n" * _log_uniform(rng, 1000, 1_000_000)
    body = b"X" + struct.pack("<I", len(text)) + text + b"q\x00" + b"h\x00" * _log_uniform(rng, 1000, 300_000)
    return _torch_zip(b"\x80\x02]" + _MARK + body + b"e" + _STOP)


def nested_dictionaries(rng: random.Random) -> bytes:
    """Long keys one inside the other, and tensors below."""
    key = "k" * _log_uniform(rng, 10, 100_000)
    value: object = {str(n): n for n in range(_log_uniform(rng, 10, 10_000))}
    for _ in range(rng.randrange(5, 100)):
        value = {key: value}
    return _torch_zip(pickle.dumps(value, protocol=2))


def one_record_many_names(rng: random.Random) -> bytes:
    """A description that is unpacked once for each name in the directory."""
    text = b"[" + rng.choice([b"{},", b"[],", b"0,", b'"",']) * _log_uniform(rng, 1000, 8_000_000) + b"0]"
    names = [(f"p/models/m{n}.json", "j") for n in range(_log_uniform(rng, 1, 1000))]
    return _zip({"v": b"pt2", "j": text}, [("p/archive_format", "v"), *names])


def zips_in_a_zip(rng: random.Random) -> bytes:
    """One archive under many names, itself with one record under many names."""
    inner = _zip({"d": b"\x80\x02N" + b"N0" * _log_uniform(rng, 10, 100_000) + _STOP}, [("x/data.pkl", "d")])
    names = [(f"p/a{n}.pt", "i") for n in range(_log_uniform(rng, 10, 10_000))]
    return _zip({"v": b"pt2", "i": inner}, [("p/archive_format", "v"), *names])


def no_directory(rng: random.Random) -> bytes:
    """Local headers that leave their sizes open, and as many descriptors that fit none."""
    head = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 8, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    count = _log_uniform(rng, 1000, 100_000)
    return head * count + b"PK\7\x08" * count * 2 + bytes(16)


def nested_graphs(rng: random.Random) -> bytes:
    """Branches within branches under long names, with constants below."""
    leaf = b"".join(
        _field(1, _field(2, b"o%d" % n) + _field(4, b"C") + _field(5, _field(5, _field(2, 1) + _field(8, b"w"))))
        for n in range(_log_uniform(rng, 10, 20_000))
    )
    name = b"n" * _log_uniform(rng, 10, 100_000)
    for _ in range(rng.randrange(2, 60)):
        leaf = _field(1, _field(4, b"If") + _field(2, name) + _field(5, _field(6, leaf)))
    return _onnx(leaf)


def many_notes(rng: random.Random) -> bytes:
    """Entries of metadata, dimensions, inputs."""
    count = _log_uniform(rng, 1000, 500_000)
    dims = b"".join(_field(1, rng.choice([0, 1, 2**62])) for _ in range(min(count, 10_000)))
    weights = _field(5, dims + _field(2, 1) + _field(8, b"w")) * rng.randrange(1, 100)
    return _onnx(weights) + _field(14, _field(1, b"k") + _field(2, b"v")) * count


def shared_flatbuffer(rng: random.Random) -> bytes:
    """One tensor, one name, one signature, in many places of a TensorFlow Lite file."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    builder = flatbuffers.Builder(1 << 20)
    name = builder.CreateString("n" * _log_uniform(rng, 10, 1_000_000))
    count = _log_uniform(rng, 10, 50_000)

    def vector(offset: int, times: int) -> int:
        builder.StartVector(4, times, 4)
        for _ in range(times):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    schema.BufferStart(builder)
    buffers = vector(schema.BufferEnd(builder), 1)
    schema.TensorStart(builder)
    schema.TensorAddName(builder, name)
    tensors = vector(schema.TensorEnd(builder), count)
    builder.StartVector(4, count, 4)
    for _ in range(count):
        builder.PrependInt32(0)
    ends = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    schema.SubGraphAddInputs(builder, ends)
    schema.SubGraphAddOutputs(builder, ends)
    graphs = vector(schema.SubGraphEnd(builder), rng.choice([1, 1, 100]))
    schema.SignatureDefStart(builder)
    schema.SignatureDefAddSignatureKey(builder, name)
    signatures = vector(schema.SignatureDefEnd(builder), count)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddBuffers(builder, buffers)
    schema.ModelAddSignatureDefs(builder, signatures)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def long_header(rng: random.Random) -> bytes:
    """A safetensors header of many tensors over the same bytes, or of metadata without end."""
    count = _log_uniform(rng, 1000, 300_000)
    entry = {"dtype": "F32", "shape": [1] * rng.choice([1, 8, 60]), "data_offsets": [0, 4]}
    if rng.random() < 0.5:
        text = json.dumps({f"t{n}": entry for n in range(min(count, 40_000))}).encode()
    else:
        text = b'{"__metadata__":{"a":[' + b"{}," * count + b"0]}}"
    return struct.pack("<Q", len(text)) + text + bytes(4)


def unpacked_array(rng: random.Random) -> bytes:
    """Zeros, deflated a thousand times, with a shape of its own."""
    count = _log_uniform(rng, 1000, 100_000_000)
    shape = rng.choice([f"({count},)", f"({count}, {2**40})", "(" + "1, " * 5000 + ")"])
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text
    return _zip({"a.npy": head + bytes(min(4 * count, 2**26))}, [(f"a{n}.npy", "a.npy") for n in range(3)])


MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "doubling_tuples.pt": doubling_tuples,
    "many_globals.pt": many_globals,
    "one_string_many_keys.pt": one_string_many_keys,
    "nested_dictionaries.pt": nested_dictionaries,
    "one_record_many_names.pt2": one_record_many_names,
    "zips_in_a_zip.pt2": zips_in_a_zip,
    "no_directory.pt": no_directory,
    "nested_graphs.onnx": nested_graphs,
    "many_notes.onnx": many_notes,
    "shared_flatbuffer.tflite": shared_flatbuffer,
    "long_header.safetensors": long_header,
    "unpacked_array.npz": unpacked_array,
}


def sharing_files(seed: int, rounds: int, folder: Path) -> Iterator[Path]:
    """Write one file after the other; each is overwritten by the next of its kind."""
    for number in range(rounds):
        for name, make in MAKERS.items():
            path = folder / name
            path.write_bytes(make(random.Random(f"{seed} {number} {name}")))
            yield path
