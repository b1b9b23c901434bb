"""Files made to do harm: none is believed, each costs little time and memory, and is answered in one line."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model_zoo.checkpoints.reader import open_checkpoint
from model_zoo.utils.errors import UserError

#: What one file may take: seconds of the processor, and address space.
_CPU_SECONDS, _MEMORY_BYTES = 40, 2 * 2**30

_INSPECT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({cpu}, {cpu}))
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
from model_zoo.cli import main
sys.exit(main(["inspect", sys.argv[1], "--json", "--values"]))
"""


def inspect(path: Path) -> tuple[int, str]:
    """Run the command on a file within narrow limits; gives its exit status and all it printed."""
    code = _INSPECT.format(cpu=_CPU_SECONDS, memory=_MEMORY_BYTES)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("\n") <= 1, done.stderr
    return done.returncode, done.stdout + done.stderr


def torch_zip(path: Path, pickled: bytes, records: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        for name, content in (records or {}).items():
            archive.writestr(name, content)
    return path


def storage(key: str, numel: int = 4) -> bytes:
    """The opcodes of a persistent id, but for the last."""
    return (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        + b"X"
        + struct.pack("<I", len(key))
        + key.encode()
        + (b"X\x03\x00\x00\x00cpu" + b"J" + struct.pack("<i", numel) + b"t")
    )


def laughs() -> bytes:
    """Lists of ten times the same list, thirty deep: a billion billion values in 1 KB."""
    made = b"\x80\x02]X\x03\x00\x00\x00lola"
    for level in range(30):
        made += b"q" + bytes([level]) + b"0](" + (b"h" + bytes([level])) * 10 + b"e"
    return made + b"."


def same_hash() -> bytes:
    """Keys that Python's hash of integers cannot tell apart."""
    prime = 2**61 - 1
    keys = (b"\x8a\x0c" + (prime * n).to_bytes(12, "little") + b"N" for n in range(1, 200_000))
    return b"\x80\x02}(" + b"".join(keys) + b"u."


PICKLES: dict[str, tuple[Callable[[], bytes], str]] = {
    "billion laughs": (laughs, "nested without end"),
    "a million lists in each other": (lambda: b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b".", "without end"),
    "more opcodes than any model has": (lambda: b"\x80\x02" + b")0" * 10**7 + b"N.", "asks for more than"),
    "sets, the largest of empty things": (lambda: b"\x80\x04(" + b"\x8f" * 10**7 + b"t.", "asks for more than"),
    "one long list made a dictionary again and again": (
        lambda: b"\x80\x02](" + b"N" * 10**5 + b"eq\x00cbuiltins\nset\nq\x01(" + b"h\x01h\x00\x85R" * 10**5 + b"t.",
        "asks for more than",
    ),
    "one long text encoded again and again": (
        lambda: (
            b"\x80\x02X\x40\x42\x0f\x00"
            + b"a" * 10**6
            + b"q\x00X\x06\x00\x00\x00latin1q\x01c_codecs\nencode\nq\x02("
            + b"h\x02h\x00h\x01\x86R" * 10**5
            + b"t."
        ),
        "asks for more than",
    ),
    "attributes set again and again": (
        lambda: (
            b"\x80\x02ca\nB\n)\x81q\x00}("
            + b"".join(b"K%cN" % n for n in range(256)) * 300
            + b"uq\x01"
            + b"0h\x00"
            + b"h\x01b" * 10**6
            + b"."
        ),
        "asks for more than",
    ),
    "keys of one hash": (same_hash, "no plain value"),
    "an integer of 60 MB": (
        lambda: b"\x80\x02}X\x01\x00\x00\x00n\x8b" + struct.pack("<i", 60 * 10**6) + b"\x7f" * (60 * 10**6) + b"s.",
        "an integer of 479999999 bits",
    ),
    "an integer of 5000 digits": (lambda: b"\x80\x02L" + b"9" * 5000 + b"L\n.", "damaged"),
    "a text of 2^60 bytes": (lambda: b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.", "damaged"),
    "a frame of 2^60 bytes": (lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.", 'no tensors|"whole": true'),
    "a memo far away": (lambda: b"\x80\x02Nr\xff\xff\xff\xff.", '"whole": true'),
    "a dictionary in itself": (lambda: b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.", "nested without end"),
    "a list in itself": (lambda: b"\x80\x02]q\x00h\x00a.", "nested without end"),
    "a storage outside the file": (
        lambda: (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
            + storage("../../etc/passwd")
            + b"QK\x00K\x04\x85K\x01\x85tR."
        ),
        "has the key '../../etc/passwd'",
    ),
    "a storage declared in two ways": (
        lambda: b"\x80\x02" + storage("0", 4) + b"Q" + storage("0", 5) + b"Q\x86.",
        "declared in two ways",
    ),
    "a persistent id that is a call": (lambda: b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85RQ.", '"os.system"'),
    "a persistent id as text": (lambda: b"\x80\x02Pstorage\n.", "persistent id"),
    "a pickle in a pickle": (
        lambda: pickle.dumps({"inner": pickle.dumps(os.system)}),
        r'"inner": "\d+ bytes"',
    ),
    "loads of the inner pickle": (
        lambda: b"\x80\x02c_pickle\nloads\nX\x01\x00\x00\x00.\x85R.",
        '"_pickle.loads"',
    ),
    "__setstate__ on a class": (lambda: b"\x80\x02cos\nsystem\n}b.", "a change of os.system"),
    "an import by name": (
        lambda: b"\x80\x04\x8c\x08builtins\x8c\x0a__import__\x93\x8c\x02os\x85R.",
        "builtins.__import__",
    ),
    "names with dots": (lambda: b"\x80\x04\x8c\x05torch\x8c\x0ehub.load_state\x93)R.", "torch.hub.load_state"),
    "a number for a name": (lambda: b"\x80\x04K\x01K\x02\x93.", "a name is expected"),
    "an extension of copyreg": (lambda: b"\x80\x02\x84\x01\x00\x00\x00.", "the opcode EXT4 1"),
    "a terminal told to clear itself": (lambda: pickle.dumps({"\x1b[2J": "\x1b]0;owned\x07"}), r"\\u001b\[2J"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles(tmp_path: Path, name: str) -> None:
    build, said = PICKLES[name]
    status, printed = inspect(torch_zip(tmp_path / "x.pt", build()))
    assert status in (0, 1), printed[-500:]
    assert re.search(said, printed), printed[:200] + "…" + printed[-1000:]


def test_nothing_runs(tmp_path: Path) -> None:
    class Call:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    status, printed = inspect(torch_zip(tmp_path / "x.pt", pickle.dumps({"w": Call(), "epoch": 3})))
    assert status == 0
    told = json.loads(printed)
    assert told["calls"] == [f"{os.name}.system"]
    assert told["metadata"]["epoch"] == 3  # the rest is told all the same
    assert not (tmp_path / "ran").exists()


def bomb(path: Path, promised: int) -> Path:
    """A deflated record of zeros that promises to unpack to so many bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()
    name = b"x/data.pkl"
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, len(packed), promised, len(name), 0) + name
    central = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, 0, len(packed), promised, len(name), 0, 0, 0, 0, 0, 0
    )
    start = len(local) + len(packed)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(central) + len(name), start, 0)
    path.write_bytes(local + packed + central + name + end)
    return path


@pytest.mark.parametrize(
    ("promised", "said"), [(2**32 - 2, "promises"), (300 * 2**20, "more than"), (1000, "does not unpack")]
)
def test_zip_bombs(tmp_path: Path, promised: int, said: str) -> None:
    status, printed = inspect(bomb(tmp_path / "x.pt", promised))
    assert status == 2
    assert said in printed


def test_zip_of_a_million_records(tmp_path: Path) -> None:
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 1_000_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), 4, 0)
    (tmp_path / "x.pt").write_bytes(b"PK\x03\x04" + directory + end)
    status, printed = inspect(tmp_path / "x.pt")
    assert status == 2
    assert "asks for more than" in printed


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_records_that_are_there_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"good": 1}))
        archive.writestr("x/data.pkl", pickle.dumps({"evil": 1}))
    with pytest.raises(UserError, match="more than once"):
        open_checkpoint(tmp_path / "x.pt")


def test_a_packed_size_beyond_the_file_takes_no_memory(tmp_path: Path) -> None:
    made = io.BytesIO()
    np.savez_compressed(made, w=np.ones(1000))
    content = bytearray(made.getvalue())
    struct.pack_into("<Q", content, 30 + len("w.npy") + 12, 2**60)  # in the header before the record
    (tmp_path / "x").write_bytes(content[: content.index(b"PK\x01\x02")])
    checkpoint = open_checkpoint(tmp_path / "x")
    assert "directory of the zip file is lost" in checkpoint.contents.problems[0]
    assert checkpoint.load()["w"].sum() == 1000


def test_names_outside_the_zip(tmp_path: Path) -> None:
    file = torch_zip(tmp_path / "x.pt", pickle.dumps({}), {"x/data/../../../evil": b"x", "/etc/evil": b"x"})
    assert open_checkpoint(file).contents.state_dicts == {}
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def safetensors(path: Path, header: object, content: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + content)
    return path


@pytest.mark.parametrize(
    ("header", "length", "said"),
    [
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, 2**31, "its header would end at byte"),
        (b"{" + b'"a":{' * 100_000, None, "nested too deeply"),
        (b'{"w":' + b"[" * 80 + b"]" * 80 + b"}", None, "nested too deeply"),
        (b'{"w":1,"w":2}', None, "two values for 'w'"),
        (b'{"w": ' + b"9" * 10_000 + b"}", None, "cannot be read"),
        (b"{" + b" " * 40_000_000 + b"}", None, "more than the 33554432 that are read"),
    ],
)
def test_safetensors_headers(tmp_path: Path, header: object, length: int | None, said: str) -> None:
    status, printed = inspect(safetensors(tmp_path / "x.safetensors", header, length=length))
    assert status == 2
    assert said in printed


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [2**62, 2**62 + 4]},
        {"dtype": "F32", "shape": [1] * 100_000, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
        [],
    ],
)
def test_safetensors_entries(tmp_path: Path, entry: object) -> None:
    good = {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}
    checkpoint = open_checkpoint(safetensors(tmp_path / "x.safetensors", {"bad": entry, "good": good}, bytes(8)))
    assert checkpoint.contents.tensors["bad"].problem
    assert checkpoint.contents.tensors["good"].problem is None
    assert checkpoint.contents.problems


def onnx_file(path: Path, location: str) -> Path:
    onnx = pytest.importorskip("onnx")
    tensor = onnx.TensorProto(dims=[4], data_type=1, name="w", data_location=1)
    tensor.external_data.add(key="location", value=location)
    graph = onnx.GraphProto(name="g", initializer=[tensor])
    path.write_bytes(onnx.ModelProto(ir_version=8, graph=graph).SerializeToString())
    return path


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../secret", "a/../../secret", "link", "pipe", "", "no\0thing", "gone"]
)
def test_onnx_reaches_no_other_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(16))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    contents = open_checkpoint(onnx_file(folder / "x.onnx", location)).contents
    assert contents.tensors["w"].problem
    assert contents.problems


@pytest.mark.parametrize(
    "shard", ["/etc/passwd", "../secret.safetensors", "link.safetensors", "pipe", "zero", "x.bin.index.json"]
)
def test_shards_reach_no_other_folder(tmp_path: Path, shard: str) -> None:
    one = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    safetensors(tmp_path / "secret.safetensors", one, bytes(4))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    index = folder / "x.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"w": shard}}))
    contents = open_checkpoint(index).contents
    assert contents.tensors["w"].problem
    assert contents.problems


def test_configs_of_a_folder(tmp_path: Path) -> None:
    safetensors(tmp_path / "model.safetensors", {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4))
    config = tmp_path / "config.json"
    for content, said in (
        (b"[" * 100_000, "nested too deeply"),
        (b" " * (17 * 2**20), "more than"),
        (b"{", "cannot be read"),
    ):
        config.write_bytes(content)
        contents = open_checkpoint(tmp_path).contents
        assert contents.main == ""  # the weights are read all the same
        assert any(said in problem for problem in contents.problems)


def test_arrays_of_objects_stay_pickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", o=np.array([1, None], dtype=object), w=np.ones(2))
    contents = open_checkpoint(tmp_path / "x.npz").contents
    assert contents.tensors["o"].problem
    assert contents.tensors["w"].problem is None


def test_header_of_an_array(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"(" * 4000 + b"1,), }"
    stream = io.BytesIO()
    stream.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("w.npy", stream.getvalue())
    assert "no numpy array" in open_checkpoint(tmp_path / "x.npz").contents.problems[0]
