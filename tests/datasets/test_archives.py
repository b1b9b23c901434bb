"""A damaged archive is refused in one line that names it; no file of it is lost in silence."""

from __future__ import annotations

import errno
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from model_zoo.datasets.archives import unpack
from model_zoo.utils.errors import UserError

_CONTENT = [np.random.default_rng(seed).bytes(3000) for seed in range(40)]


def _tar(path: Path, kind: str) -> None:
    with tarfile.open(path, f"w:{kind}") as file:  # type: ignore[call-overload]
        for number, content in enumerate(_CONTENT):
            info = tarfile.TarInfo(f"a/{number}")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def _refused(path: Path) -> str:
    shutil.rmtree(path.parent / "into", ignore_errors=True)
    with pytest.raises(UserError, match="cannot unpack") as caught:
        unpack(path, path.parent / "into")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_damaged_tar_loses_no_file_in_silence(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.tar.{kind}"
    _tar(path, kind)
    assert unpack(path, tmp_path / "into") == len(_CONTENT)
    whole = path.read_bytes()
    for start in range(len(whole) // 10, len(whole) - 64, len(whole) // 10):
        path.write_bytes(whole[:start] + bytes(64) + whole[start + 64 :])
        _refused(path)
    path.write_bytes(whole[:-1])
    _refused(path)


@pytest.mark.parametrize("field", [0, 512 + 3072])
def test_a_damaged_header_is_not_the_end(field: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    _tar(path, "")
    whole = path.read_bytes()
    path.write_bytes(whole[:field] + b"x" + whole[field + 1 :])
    _refused(path)
    path.write_bytes(whole[: 40 * (512 + 3072)])  # every file, but not the end
    _refused(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_is_refused(method: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a", _CONTENT[0])
    whole = path.read_bytes()
    for start in (50, 1500):
        path.write_bytes(whole[:start] + bytes(64) + whole[start + 64 :])
        _refused(path)


@pytest.mark.parametrize("names", [["a" * 256], ["a", "a/b"]])
def test_names_that_cannot_be_files_are_refused(names: list[str], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in names:
            file.writestr(name, "x")
    _refused(tmp_path / "a.zip")


def test_a_full_disk_is_not_blamed_on_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    _tar(tmp_path / "a.tar", "")
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(tmp_path / "a.tar", tmp_path / "into")


def test_an_empty_file_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    assert "it is empty" in _refused(tmp_path / "a.tar")


def test_a_header_without_end_is_not_read(tmp_path: Path) -> None:
    """A comment that packs to a thousandth."""
    with tarfile.open(tmp_path / "x.tgz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("first"))
        later = tarfile.TarInfo("later")
        later.pax_headers = {"comment": "x" * 2**21}
        archive.addfile(later)
    with pytest.raises(UserError, match="a header of 2097"):
        unpack(tmp_path / "x.tgz", tmp_path / "out")
