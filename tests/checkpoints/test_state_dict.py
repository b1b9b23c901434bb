"""Every format reads back; every hostile or damaged file is refused in one line, and nothing of it runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model_zoo.checkpoints.state_dict import check_weights, load_strict, read_state_dict
from model_zoo.utils.errors import UserError

STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.count": torch.tensor(3),
    "b": torch.arange(6.0).reshape(2, 3).t()[1:],
}


def assert_state(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = STATE) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        OrderedDict,
        lambda state: {"epoch": 3, "state_dict": state, "hyp": {"lr": 0.1}},
        lambda state: {"ema": None, "model": state, "best_fitness": torch.tensor(0.5).numpy()[()]},
        lambda state: {"ema": state, "model": {"other": torch.zeros(1)}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {name: torch.nn.Parameter(t) if t.is_floating_point() else t for name, t in state.items()},
    ],
    ids=["plain", "ordered", "state_dict", "model", "ema first", "module.", "parameters"],
)
def test_torch_formats(tmp_path: Path, as_zip: bool, wrap: Callable[[dict], dict]) -> None:
    torch.save(wrap(STATE), tmp_path / "x.pt", _use_new_zipfile_serialization=as_zip)
    assert_state(read_state_dict(tmp_path / "x.pt"))


def test_safetensors_and_half_precision(tmp_path: Path) -> None:
    halves = {"h": torch.tensor([1.5, -2.0], dtype=torch.float16), "b": torch.tensor([0.25], dtype=torch.bfloat16)}
    expected = {name: tensor.float() for name, tensor in sorted(halves.items())}
    save_file(halves, tmp_path / "x.safetensors")
    torch.save(halves, tmp_path / "x.pt")
    for file in ("x.safetensors", "x.pt"):
        assert_state(dict(sorted(read_state_dict(tmp_path / file).items())), expected)


@pytest.fixture
def forgotten_class() -> Iterator[type[torch.nn.Module]]:
    """A module class of a package that is gone when the file is read."""
    package = types.ModuleType("gone_package")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.SiLU())
            self.register_buffer("anchors", torch.arange(4.0))
            self.register_buffer("scratch", torch.zeros(7), persistent=False)
            self.hook = self.forward  # a bound method in the state, as fused networks have it

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    Net.__module__, Net.__qualname__ = package.__name__, "Net"
    package.Net = Net  # type: ignore[attr-defined]
    sys.modules[package.__name__] = package
    yield Net
    sys.modules.pop(package.__name__, None)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_pickled_module_of_a_package_that_is_gone(
    tmp_path: Path, forgotten_class: type[torch.nn.Module], as_zip: bool
) -> None:
    net = forgotten_class()
    ema = forgotten_class().half()
    expected = {name: t.float() if t.is_floating_point() else t for name, t in ema.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    content = {"epoch": 1, "model": net, "ema": ema, "optimizer": optimizer.state_dict()}
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=as_zip)
    sys.modules.pop("gone_package")
    found = read_state_dict(tmp_path / "x.pt")
    assert_state(dict(sorted(found.items())), dict(sorted(expected.items())))
    assert "gone_package" not in sys.modules


# Hostile pickles: each says what it wants to call, and must be refused by that name.


class Call:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def name_of(module: str, name: str) -> bytes:
    return b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)) + b"\x93"


HEAD = b"\x80\x04"
HOSTILE: dict[str, tuple[Callable[[str], bytes], str]] = {
    "os.system": (lambda c: pickle.dumps(Call(os.system, c)), f"{os.name}.system"),
    "old protocol": (lambda c: b"\x80\x02" + f"cos\nsystem\n(S'{c}'\ntR.".encode(), "os.system"),
    "eval": (lambda c: pickle.dumps(Call(eval, f"__import__('os').system('{c}')")), "builtins.eval"),
    "getattr of a module": (
        lambda c: HEAD + b"cbuiltins\ngetattr\n" + name_of("os", "path") + b"\x8c\x06system\x86R\x8c\x01x\x85R.",
        "builtins.getattr",
    ),
    "getattr chain": (
        lambda c: HEAD + b"cbuiltins\ngetattr\n" * 2 + b"cos\npath\n\x8c\x02os\x86R\x8c\x06system\x86R.",
        "builtins.getattr",
    ),
    "through an allowed module": (
        lambda c: HEAD + name_of("torch._utils", "os.system") + b"\x8c\x01x\x85R.",
        "torch._utils.os.system",
    ),
    "split in another place": (
        lambda c: HEAD + name_of("torch", "_utils.torch.hub.load") + b"\x8c\x01x\x85R.",
        "torch._utils.torch.hub.load",
    ),
    "copyreg": (
        lambda c: b"\x80\x02ccopy_reg\n_reconstructor\ncos\n_wrap_close\nc__builtin__\nobject\nN\x87R.",
        "copy_reg._reconstructor",
    ),
    "inst": (lambda c: HEAD + f"(S'{c}'\nios\nsystem\n.".encode(), "os.system"),
    "obj": (lambda c: HEAD + f"(cos\nsystem\nS'{c}'\no.".encode(), "os.system"),
    "newobj_ex": (lambda c: HEAD + b"csubprocess\nPopen\n)}\x92.", "subprocess.Popen"),
    "called twice": (lambda c: HEAD + b"ccollections\nOrderedDict\n)R)R.", "a value of the file"),
    "build on a name": (lambda c: HEAD + b"ctorch._utils\n_rebuild_tensor_v2\n}b.", "_rebuild_tensor_v2"),
    "extension": (lambda c: HEAD + b"\x82\x01.", "EXT1"),
    "a name on two lines": (lambda c: HEAD + name_of("os\nINJECTED", "system") + b")R.", r"os\nINJECTED.system"),
}


def zip_checkpoint(path: Path, pickled: bytes, records: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        for name, content in (records or {}).items():
            archive.writestr(f"x/data/{name}", content)
    return path


def legacy_checkpoint(path: Path, pickled: bytes) -> Path:
    start = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    path.write_bytes(b"".join(pickle.dumps(value, protocol=2) for value in start) + pickled)
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_by_name(tmp_path: Path, name: str) -> None:
    build, refused = HOSTILE[name]
    pickled = build(f"touch {tmp_path / 'ran'}")
    (tmp_path / "raw.pt").write_bytes(pickled)
    files = [
        tmp_path / "raw.pt",
        zip_checkpoint(tmp_path / "zip.pt", pickled),
        legacy_checkpoint(tmp_path / "old.pt", pickled),
    ]
    for file in files:
        with pytest.raises(UserError, match="refuses") as caught:
            read_state_dict(file)
        assert refused in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def tensor_pickle(numel: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """A state dict {"w": …} with one tensor over one storage, as torch writes it but with any numbers."""

    class Pickler(pickle._Pickler):  # the C pickler cannot be told what is persistent by an instance
        def persistent_id(self, value: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if value is STORAGE else None

    stream = io.BytesIO()
    tensor = Call(torch._utils._rebuild_tensor_v2, STORAGE, offset, size, stride, False, OrderedDict())
    Pickler(stream, protocol=2).dump({"w": tensor})
    return stream.getvalue()


STORAGE = object()


@pytest.mark.parametrize(
    ("numel", "size", "stride", "offset", "stored"),
    [
        (4, (1000,), (1,), 0, 4),
        (4, (2,), (3,), 1, 4),
        (4, (2,), (1,), 10**9, 4),
        (10**12, (10**12,), (1,), 0, 4),
        (4, (10**12,), (0,), 0, 4),
        (4, (4,), (1,), 0, 3),
        (4, (-2,), (1,), 0, 4),
        (4, (2, 2), (1,), 0, 4),
        (1, (1,), (2**70,), 0, 1),
    ],
)
def test_views_outside_their_storage(tmp_path: Path, numel, size, stride, offset, stored) -> None:
    pickled = tensor_pickle(numel, size, stride, offset)
    numbers = struct.pack(f"<{stored}f", *range(stored))
    with pytest.raises(UserError):
        read_state_dict(zip_checkpoint(tmp_path / "x.pt", pickled, {"0": numbers}))
    old = legacy_checkpoint(tmp_path / "old.pt", pickled)
    with old.open("ab") as file:
        file.write(pickle.dumps(["0"], protocol=2) + struct.pack("<q", numel) + numbers)
    with pytest.raises(UserError):
        read_state_dict(old)


def test_the_hand_made_tensor_pickle_is_right(tmp_path: Path) -> None:
    """Or the test above would pass for the wrong reason."""
    pickled = tensor_pickle(4, (2,), (2,), 1)
    numbers = struct.pack("<4f", *range(4))
    found = read_state_dict(zip_checkpoint(tmp_path / "x.pt", pickled, {"0": numbers}))
    assert found["w"].tolist() == [1.0, 3.0]
    old = legacy_checkpoint(tmp_path / "old.pt", pickled)
    with old.open("ab") as file:
        file.write(pickle.dumps(["0"], protocol=2) + struct.pack("<q", 4) + numbers)
    assert read_state_dict(old)["w"].tolist() == [1.0, 3.0]


def deep_tuple() -> bytes:
    return HEAD + b"}" + b")" + b"\x85" * 1_000_000 + b"Ns."


def endless_module() -> bytes:
    """A module that is its own child."""
    return HEAD + b"cgone\nNet\n)\x81q\x00}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00mh\x00ssb."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"name,value\n1,2\n", "is a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "it begins 'version https://git-lfs"),
        (b"\n<!DOCTYPE html><html><body>Not found</body></html>", "is a web page"),
        (b"\x00\x01\x02\x03" * 10, "is not a checkpoint"),
        (pickle.dumps({"a": 1}), "not one that torch wrote"),
        (deep_tuple(), "refuses|plain value"),
        (endless_module(), "not one that torch wrote"),
        (struct.pack("<Q", 60) + b'{"w": {"dtype": "F32"', "safetensors"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        read_state_dict(tmp_path / "x.pt")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_zip_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match=r"no data\.pkl"):
        read_state_dict(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + b"0" * 100_000)
    with pytest.raises(UserError, match="compressed"):
        read_state_dict(file)
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(file))
    with pytest.raises(UserError, match="TorchScript"):
        read_state_dict(file)
    with pytest.raises(UserError, match="without end"):
        read_state_dict(zip_checkpoint(tmp_path / "y.zip", endless_module()))


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_truncation_anywhere(tmp_path: Path, as_zip: bool) -> None:
    whole, part = tmp_path / "x.pt", tmp_path / "part.pt"
    torch.save({"w": torch.arange(300.0)}, whole, _use_new_zipfile_serialization=as_zip)
    content = whole.read_bytes()
    for size in range(1, len(content), max(1, len(content) // 50)):
        part.write_bytes(content[:size])
        with pytest.raises(UserError):
            read_state_dict(part)


def test_missing_folder_and_empty_content(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at"):
        read_state_dict(tmp_path / "none.pt")
    with pytest.raises(UserError, match="is a folder"):
        read_state_dict(tmp_path)
    torch.save({"epoch": 3, "names": ["a", "b"]}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="holds no tensors"):
        read_state_dict(tmp_path / "x.pt")


def test_load_strict_lists_everything() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    state = module.state_dict()
    load_strict(module, {name: tensor + 1 for name, tensor in state.items()}, "x.pt")
    assert torch.equal(module[0].bias, state["0.bias"])  # the state dict is a view: the module was changed in place
    wrong = {"0.weight": torch.zeros(5, 2), "1.weight": torch.full((1, 3), torch.nan), "9.a": state["0.bias"]}
    with pytest.raises(UserError) as caught:
        load_strict(module, wrong, "x.pt")
    message = str(caught.value)
    for part in (
        "x.pt",
        "0.weight [5, 2] instead of [3, 2]",
        "2 missing: 0.bias, 1.bias",
        "1 extra: 9.a",
        "finite: 1.weight",
    ):
        assert part in message


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.bool, torch.complex64])
def test_weights_of_another_kind_are_named_with_their_dtype(dtype: torch.dtype) -> None:
    module = torch.nn.BatchNorm1d(2)
    state = module.state_dict()
    load_strict(module, {**state, "weight": torch.ones(2, dtype=torch.float64)}, "the file")
    with pytest.raises(UserError, match=rf"1 of another kind: weight {str(dtype)[6:]} instead of float32"):
        load_strict(module, {**state, "weight": torch.ones(2).to(dtype)}, "the file")
    with pytest.raises(UserError, match="num_batches_tracked float32 instead of int64"):
        load_strict(module, {**state, "num_batches_tracked": torch.tensor(0.0)}, "the file")
    check_weights(module)
    module.weight = torch.nn.Parameter(torch.ones(2).to(dtype), requires_grad=False)
    with pytest.raises(UserError, match=rf"^weight of BatchNorm1d is {str(dtype)[6:]}"):
        check_weights(module)


def test_a_module_that_loads_its_own_version_only(tmp_path: Path) -> None:
    """MNASNet refuses a state dict without a version, as safetensors files have none."""
    from torchvision.models import mnasnet0_5

    net = mnasnet0_5()
    save_file({name: tensor + 1 for name, tensor in net.state_dict().items()}, tmp_path / "x.safetensors")
    expected = net.classifier[1].bias + 1
    load_strict(net, read_state_dict(tmp_path / "x.safetensors"), "x")
    torch.testing.assert_close(net.classifier[1].bias, expected)
