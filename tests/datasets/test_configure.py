"""What the user downloaded is taken as it is, checked, and in place whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from model_zoo.cli import main
from model_zoo.datasets import archives, dataset_class, dataset_names, load_dataset
from model_zoo.datasets.configure import configure, dataset_states
from model_zoo.datasets.downloaded import DownloadedDataset
from model_zoo.utils.errors import UserError

Miniature = Callable[[str, Path], Path]

#: Samples of both splits in the miniatures.
COUNTS = {
    **{"bsd100": 2, "cityscapes": 2, "coco": 4, "coco_keypoints": 3, "kinetics400": 2},
    **{"librispeech": 3, "nyu_depth_v2": 3, "set14": 3, "stsb": 4, "voc": 2},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The miniatures count as what is published, without checksums."""
    for name, count in COUNTS.items():
        found: type[DownloadedDataset] = dataset_class(name)  # type: ignore[assignment]
        monkeypatch.setattr(found, "published", count)
        parts = tuple(replace(part, download=replace(part.download, checksum="")) for part in found.parts)
        monkeypatch.setattr(found, "parts", parts)


def zipped(path: Path, source: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for each in sorted(source.rglob("*")):
            file.write(each, f"{prefix}{each.relative_to(source)}")
    return path


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", COUNTS)
def test_a_folder_is_taken_and_stays_as_it_is(name: str, data: Path, tmp_path: Path, miniature: Miniature) -> None:
    given = miniature(name, tmp_path / "given")
    before = snapshot(given)
    folder, checks = configure(name, [given])
    found: type[DownloadedDataset] = dataset_class(name)  # type: ignore[assignment]
    assert folder == found.home() and snapshot(given) == before
    assert {check.found for check in checks if check.what == "samples"} == {str(COUNTS[name])}
    assert len(found(found.probe, "test")) > 0
    assert next(each for each in dataset_states() if each["dataset"] == name)["state"] == "configured"
    assert sorted(path.name for path in data.iterdir()) == [f".lock-{folder.name}", folder.name]
    assert not any(path.name.startswith(".") for path in folder.rglob("*"))


def test_archives_are_taken_as_published(data: Path, tmp_path: Path, miniature: Miniature) -> None:
    given = miniature("coco", tmp_path / "given")
    pictures = zipped(tmp_path / "val2017.zip", given / "val2017", "val2017/")
    annotations = zipped(tmp_path / "annotations_trainval2017.zip", given / "annotations", "annotations/")
    assert main(["dataset", "configure", "coco", "--files", str(pictures), str(annotations)]) == 0
    assert len(load_dataset("coco_keypoints", dataset_class("coco_keypoints").probe, "test")) >= 1  # type: ignore[attr-defined]
    clips = miniature("kinetics400", tmp_path / "clips")
    parts = []
    for number, clip in enumerate(sorted((clips / "val").iterdir())):
        parts.append(tmp_path / f"part_{number}.tar.gz")
        with tarfile.open(parts[-1], "w:gz") as tar:
            tar.add(clip, f"./{clip.name}")
    configure("kinetics400", [clips / "val.csv", *parts])


def test_what_another_dataset_of_the_folder_needs_is_kept(data: Path, tmp_path: Path, miniature: Miniature) -> None:
    given = miniature("coco", tmp_path / "given")
    configure("coco", [given / "val2017", given / "annotations" / "instances_val2017.json"])
    configure("coco_keypoints", [given / "val2017", given / "annotations" / "person_keypoints_val2017.json"])
    states = {each["dataset"]: each["state"] for each in dataset_states()}
    assert states["coco"] == states["coco_keypoints"] == "configured"
    assert len(load_dataset("coco", dataset_class("coco").probe, "test")) >= 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_only_a_full_disk_wants_more_space(
    number: int, full: bool, data: Path, tmp_path: Path, miniature: Miniature, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(source: str, target: str) -> None:
        raise OSError(number, os.strerror(number), source)

    given = miniature("coco", tmp_path / "given")
    monkeypatch.setattr("model_zoo.datasets.configure._link", fails)
    for files in ([given], [given / "annotations" / "instances_val2017.json"]):
        with pytest.raises(UserError, match=os.strerror(number)) as caught:
            configure("coco", files)
        assert ("more space" in str(caught.value)) == full


def test_imagenet_is_sorted_into_its_classes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    monkeypatch.setattr(dataset_class("imagenet"), "published", 3)
    parts = dataset_class("imagenet").parts  # type: ignore[attr-defined]
    bare = tuple(replace(part, download=replace(part.download, checksum="")) for part in parts)
    monkeypatch.setattr(dataset_class("imagenet"), "parts", bare)
    kit = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "U9"), ("num_children", "i4")]
    ranks = np.random.default_rng(0).permutation(1000)
    synsets = [(number + 1, f"n{rank:08}", 0) for number, rank in enumerate(ranks)] + [(1001, "n99999999", 5)]
    savemat(kit / "meta.mat", {"synsets": np.array(synsets, kinds)[:, None]})
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("3\n1000\n3\n")
    devkit, pictures = tmp_path / "ILSVRC2012_devkit_t12.tar.gz", tmp_path / "ILSVRC2012_img_val.tar"
    with tarfile.open(devkit, "w:gz") as tar:
        tar.add(kit.parent, kit.parent.name)
    with tarfile.open(pictures, "w") as tar:
        for number in (3, 1, 2):
            path = tmp_path / f"ILSVRC2012_val_{number:08}.JPEG"
            Image.new("RGB", (40, 40), (number, 0, 0)).save(path)
            tar.add(path, path.name)
    with pytest.raises(UserError, match=r"not known without ILSVRC2012_devkit_t12\.tar\.gz"):
        configure("imagenet", [pictures])
    folder, _ = configure("imagenet", [pictures, devkit])
    found = {path.name[-6]: int(path.parent.name[1:]) for path in folder.rglob("*.JPEG")}
    assert found == {"1": ranks[2], "2": ranks[999], "3": ranks[2]}


def test_what_is_wrong_is_said_and_nothing_is_left(
    data: Path, tmp_path: Path, miniature: Miniature, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*files: Path) -> str:
        assert main(["dataset", "configure", "coco", "--json", "--files", *map(str, files)]) == 2
        assert [path.name for path in data.iterdir() if path.name != ".lock-coco"] == kept
        shown = capsys.readouterr()
        assert shown.err.count("\n") == 1 and json.loads(shown.out)["exit_status"] == 2
        return shown.err

    kept: list[str] = []
    given = miniature("coco", tmp_path / "given")
    assert "does not exist; get val2017.zip (778 MB) from http" in refused(tmp_path / "nowhere")
    assert "holds annotations/instances_val2017.json; give all of coco at once; get annotations" in refused(
        given / "val2017"
    )
    (tmp_path / "empty").mkdir()
    assert "empty holds nothing of coco" in refused(given, tmp_path / "empty")
    assert "was given twice" in refused(given, given / "val2017")
    (tmp_path / "val2017.zip").write_bytes(b"PK\x03\x04")
    assert "cannot unpack" in refused(given / "annotations", tmp_path / "val2017.zip")
    assert main(["dataset", "configure", "coco", "--json", "--files", str(given)]) == 0
    assert json.loads(capsys.readouterr().out)["checks"][0] == {"what": "samples", "expected": "4", "found": "4"}
    kept = ["coco"]
    (data / "coco" / "kept").touch()
    picture = given / "val2017" / f"{0:012}.jpg"
    picture.unlink()
    assert "000000000000.jpg, which is not there" in refused(given)
    Image.new("RGB", (9, 9)).save(picture)
    picture.write_bytes(picture.read_bytes()[:100])
    assert "cannot read the image" in refused(given)
    index = given / "annotations" / "instances_val2017.json"
    content = json.loads(index.read_text())
    content["images"].pop(0)
    index.write_text(json.dumps(content))
    assert "3 samples of coco, expected 4" in refused(given)
    assert (data / "coco" / "kept").exists()


def test_published_checksums_are_held_against(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: type[DownloadedDataset] = dataset_class("voc")  # type: ignore[assignment]
    name = found.parts[0].download.name
    with tarfile.open(tmp_path / name, "w"):
        pass
    wrong = replace(found.parts[0].download, checksum="0" * 32)
    monkeypatch.setattr(found, "parts", (replace(found.parts[0], download=wrong),))
    right = hashlib.md5((tmp_path / name).read_bytes()).hexdigest()
    with pytest.raises(UserError, match=f"has the md5 {right}, expected 000"):
        configure("voc", [tmp_path / name])


def test_a_killed_run_leaves_nothing_to_the_next(data: Path, tmp_path: Path, miniature: Miniature) -> None:
    given = miniature("coco", tmp_path / "given")
    archive = zipped(tmp_path / "a.zip", given)
    killed = (
        "import os, pathlib, shutil, sys; from model_zoo.datasets.configure import configure;"
        "shutil.copyfileobj = lambda *_: os.kill(os.getpid(), 9); configure('coco', [pathlib.Path(sys.argv[1])])"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(archive)], check=False).returncode == -9
    assert [path for path in data.iterdir() if path.name.startswith(".coco.")]
    configure("coco", [given])
    assert sorted(path.name for path in data.iterdir()) == [".lock-coco", "coco"]


def test_two_at_once_do_not_meet(data: Path, tmp_path: Path, miniature: Miniature) -> None:
    given = miniature("coco", tmp_path / "given")
    with FileLock(data / ".lock-coco"), pytest.raises(UserError, match="another process is configuring coco"):
        configure("coco_keypoints", [given])


def test_every_dataset_is_listed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "list", "--json"]) == 0
    states = {each["dataset"]: each for each in json.loads(capsys.readouterr().out)}
    assert sorted(states) == sorted(dataset_names())
    assert states["digits"]["state"] == "bundled" and states["voc"]["state"] == "missing"
    assert states["voc"]["where"] == str(data / "voc") and states["voc"]["target"] == "class of each pixel"
    assert main(["dataset", "configure", "digits", "--files", str(data)]) == 2


def _zip(path: Path, name: str, content: bytes = b"x", mode: int = 0o100644) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        info = zipfile.ZipInfo(name)
        info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
        file.writestr(info, content)


def _tar(path: Path, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    with tarfile.open(path, "w") as file:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
        file.addfile(info, io.BytesIO(b"x"))


@pytest.mark.parametrize(
    ("write", "arguments", "message"),
    [
        (_zip, ("../out",), "outside"),
        (_zip, ("a/../../out",), "outside"),
        (_zip, ("/out",), "outside"),
        (_zip, ("..\\out",), "outside"),
        (_zip, ("C:/out",), "outside"),
        (_zip, ("link", b"/etc/passwd", 0o120777), "a link or a device"),
        (_zip, ("bomb", bytes(2**23)), "far more than its own size"),
        (_tar, ("../out",), "outside"),
        (_tar, ("/out",), "outside"),
        (_tar, ("link", tarfile.SYMTYPE, "/etc"), "a link or a device"),
        (_tar, ("link", tarfile.LNKTYPE, "../x"), "a link or a device"),
        (_tar, ("pipe", tarfile.FIFOTYPE), "a link or a device"),
        (_tar, ("disk", tarfile.BLKTYPE), "a link or a device"),
    ],
)
def test_malicious_archives_are_refused(
    write: Callable[..., None], arguments: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.zip"
    write(path, *arguments)
    with pytest.raises(UserError, match=message):
        archives.unpack(path, tmp_path / "deep" / "into")
    shutil.rmtree(tmp_path / "deep", ignore_errors=True)
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        info = tarfile.TarInfo("a")
        info.size = 100_000
        file.addfile(info, io.BytesIO(np.random.default_rng(0).bytes(100_000)))
    for content in (path.read_bytes()[:50_000], b"", b"no archive"):
        path.write_bytes(content)
        shutil.rmtree(tmp_path / "into", ignore_errors=True)
        with pytest.raises(UserError, match="cannot unpack"):
            archives.unpack(path, tmp_path / "into")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("a", "1")
        file.writestr("a", "2")
    with pytest.raises(UserError, match="twice"):
        archives.unpack(tmp_path / "b.zip", tmp_path / "into")
