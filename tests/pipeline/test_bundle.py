"""A folder and the packed one beside it are of one export, whenever it was killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model_zoo.pipeline import bundle
from model_zoo.pipeline.bundle import put_in_place, put_right, zip_path
from model_zoo.utils import temporary
from model_zoo.utils.temporary import temporary_folder


def _export(final: Path, content: str, packed: bool = True) -> None:
    final.parent.mkdir(exist_ok=True)
    with temporary_folder(final) as new:
        (new / "metadata.json").write_text(content)
        if packed:
            (new / bundle._PACKED).write_text(content)
        put_in_place(new, final)


def _read(final: Path) -> tuple[str, str | None]:
    packed = zip_path(final)
    return (final / "metadata.json").read_text(), packed.read_text() if packed.exists() else None


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_killed_at_any_moment_no_packed_folder_lies_beside_another_export(
    tmp_path: Path,
    kill_everywhere: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    packed: bool,
    exchanges: bool,
) -> None:
    if not exchanges:
        monkeypatch.setattr(temporary, "exchange", lambda first, second: False)
    final, seen = tmp_path / "model" / "target", set()

    def check() -> None:
        if exchanges:
            content, beside = _read(final)
            assert beside in (content, None)
        put_right(final.parent)
        seen.add(_read(final))
        names = {path.name for path in final.parent.rglob("*")}
        assert names <= {"target", "target.zip", "metadata.json"}

    kills = kill_everywhere(lambda: _export(final, "old"), lambda: _export(final, "new", packed), check)
    assert seen == {("old", "old"), ("new", "new" if packed else None)} and kills > 10


def test_a_packed_folder_without_its_folder_goes(tmp_path: Path) -> None:
    final = tmp_path / "model" / "target"
    _export(final, "old")
    shutil.rmtree(final)
    _export(final, "new", packed=False)
    assert _read(final) == ("new", None)
