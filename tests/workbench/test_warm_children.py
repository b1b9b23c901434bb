"""Children that answer many requests: one that breaks is replaced, and what they found is readable after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from model_zoo.utils.jobs import ChildFailedError, Limits
from model_zoo.workbench import warm_children
from model_zoo.workbench.json_lines import JsonLines
from model_zoo.workbench.warm_children import WarmChild, WarmChildren


class Halver:
    """Halves numbers; breaks at odd ones."""

    started = 0

    def __init__(self, *_: object) -> None:
        Halver.started += 1
        self.closed = False

    def ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        assert not self.closed
        if not request:
            return {"loaded": True}
        if request["number"] % 2:
            raise ChildFailedError("odd")
        return {"half": request["number"] // 2}

    def close(self) -> None:
        self.closed = True


def test_a_child_that_breaks_is_replaced_and_answers_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_children, "Worker", Halver)

    def half(child: WarmChild, number: int) -> int | None:
        try:
            return int(child.ask({"number": number})["half"])
        except ChildFailedError:
            return None

    with WarmChildren("module", {}, Limits(), "halving", 1) as children:
        with children.child() as child:
            assert child.start() == {"loaded": True}
        assert list(children.map(half, [4, 3, 8, 10])) == [2, None, 4, 5]
        assert child.answered == 2
    assert Halver.started == 2


class Found(BaseModel):
    """A record."""

    name: str


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    lines = JsonLines(path, TypeAdapter(Found))
    assert not list(lines.read())
    lines.append(Found(name="a"))
    with path.open("a") as file:
        file.write('\n{"name": "b')
    lines.append(Found(name="c"))
    assert [record.name for record in lines.read()] == ["a", "c"]


@pytest.mark.parametrize("name", ["half a pair \udcff", "lines\u2028of\u2029text\x85"])
def test_any_text_comes_back(name: str, tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "records.jsonl", TypeAdapter(Found))
    lines.append(Found(name=name))
    assert [record.name for record in lines.read()] == [name]
