"""The digest of code covers what runs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from model_zoo.utils import code_digest as module
from model_zoo.utils.code_digest import code_digest, data_files, own_file


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """A package of the same name in a folder; the function it gives writes one of its files."""
    root = tmp_path / "model_zoo"

    def write(name: str, text: str) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        _forget()

    monkeypatch.setattr(module, "_ROOT", root)
    write("stage/__init__.py", "")
    yield write
    _forget()


def _forget() -> None:
    for cached in (code_digest, module._file, module._source):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("from model_zoo.stage.helper import work", True),
        ("from model_zoo.stage import helper", True),
        ("import model_zoo.stage.helper", True),
        ("from model_zoo.stage.helper import (\n    work,\n    more,\n)", True),
        ("def run():\n    from model_zoo.stage.helper import work", True),
        ('_WORKER = "model_zoo.stage.helper"', True),
        ("if TYPE_CHECKING:\n    from model_zoo.stage.helper import work", False),
        ('"""See model_zoo.stage.helper."""', False),
        ("from model_zoo.stage.other import work", False),
    ],
)
def test_what_a_module_imports_counts(package: Callable[[str, str], None], text: str, counts: bool) -> None:
    package("stage/run.py", text)
    package("stage/helper.py", "work = 1")
    package("stage/other.py", "work = 1")
    before = code_digest("model_zoo.stage.run")
    package("stage/helper.py", "work = 2")
    assert (code_digest("model_zoo.stage.run") != before) is counts


def test_imports_are_followed_through_other_modules(package: Callable[[str, str], None]) -> None:
    package("stage/run.py", "from model_zoo.stage import first")
    package("stage/first.py", "from model_zoo.stage import second")
    package("stage/second.py", "work = 1")
    before = code_digest("model_zoo.stage.run")
    package("stage/second.py", "work = 2")
    assert code_digest("model_zoo.stage.run") != before


def test_of_the_own_package_only_what_runs_on_import_counts(package: Callable[[str, str], None]) -> None:
    package("stage/run.py", "from model_zoo.stage.helper import work")
    package("stage/helper.py", "work = 1")
    package("stage/lazy.py", "work = 1")
    package("stage/__init__.py", "def load():\n    from model_zoo.stage import lazy")
    before = code_digest("model_zoo.stage.run")
    package("stage/lazy.py", "work = 2")
    assert code_digest("model_zoo.stage.run") == before
    package("stage/__init__.py", "from model_zoo.stage import lazy")
    assert code_digest("model_zoo.stage.run") != before


def test_a_module_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no module model_zoo\.models\.resnet18\.modle"):
        code_digest("model_zoo.models.resnet18.modle")
    with pytest.raises(ValueError, match="no module resnet18"):
        code_digest("resnet18")
    with pytest.raises(FileNotFoundError):
        code_digest("model_zoo.base.spec", data=(module._ROOT / "no such file",))
    with pytest.raises(ValueError, match="no folder"):
        data_files(module._ROOT / "models" / "resnet8")


class _Called:
    def __call__(self) -> None:
        """Do nothing."""


def test_the_file_of_a_function_is_known_through_wrappers(tmp_path: Path) -> None:
    files = {own_file(code_digest), own_file(partial(code_digest, "x")), own_file(data_files)}
    assert files == {(Path(module.__file__),)}
    assert own_file(pytest.raises) == () == own_file(partial(_Called()))
