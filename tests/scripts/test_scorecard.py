"""Every row is kept with what came of it: done once, and whatever happens to the process that measured it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_zoo.base import registry
from model_zoo.cli import main
from model_zoo.scripts.scorecard import page, run
from model_zoo.scripts.scorecard.rows import Row, Scorecard, Target, read_scorecard, targets_of
from model_zoo.sources import zoo
from model_zoo.targets.chipset import find_chipset
from model_zoo.targets.precision import Precision
from model_zoo.targets.runtime import TargetRuntime
from model_zoo.utils.errors import UserError

INFO = "{name: Net, id: net, status: public, headline: h, description: d, domain: d, use_case: u, license: MIT}"
QNN, ONNX = TargetRuntime.QNN_CONTEXT_BINARY, TargetRuntime.ONNX

#: Outcomes by precision.
OUTCOMES = ((Precision.FLOAT, "no memory"), (Precision.W8A8, None))

#: Measures in no time; dies on float, and says how often it was started.
WORKER = """
import os
from pathlib import Path

def serve(job, work_dir):
    started = Path(os.environ["STARTED"])
    started.write_text(started.read_text() + "x")
    def answer(request):
        if request["precision"] == "float":
            os._exit(9)
        row = {**request, "key": os.environ["KEY"], "date": "2026-01-01", "host_db": 30.0}
        return row if "emulated_as" in request else {**row, "emulate_seconds": 2.0}
    return answer
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder with one model, and a worker that needs no model; gives the file that counts its starts."""
    folder = tmp_path / "package/models/net"
    folder.mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    (folder / "info.yaml").write_text(INFO)
    (folder / "code-gen.yaml").write_text("supported_precisions: [float, w8a8, w8a16]")
    monkeypatch.setattr(registry, "models_folder", lambda: folder.parent)
    monkeypatch.setattr(page, "models_folder", lambda: folder.parent)
    monkeypatch.setattr(zoo, "model_code_digest", lambda model_id: "the code of a model.py")
    (tmp_path / "quick_worker.py").write_text(WORKER)
    (tmp_path / "started").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))
    monkeypatch.setenv("KEY", "the same")
    monkeypatch.setattr(run, "_WORKER", "quick_worker")
    monkeypatch.setattr(run, "row_key", lambda source_key, target: "the same")
    return tmp_path / "started"


def test_targets_are_what_model_and_chipset_take(net: Path) -> None:
    chipsets = [find_chipset("sm8350"), find_chipset("sm8650")]  # the first has no half precision
    found = targets_of("net", [QNN, ONNX], [Precision.FLOAT, Precision.W8A8, Precision.W4A16], chipsets)
    assert [(t.runtime, t.precision, t.chipset) for t in found] == [
        (QNN, "float", chipsets[1].name),
        (QNN, "w8a8", chipsets[0].name),
        (QNN, "w8a8", chipsets[1].name),
        (ONNX, "float", None),
        (ONNX, "w8a8", None),
    ]


def test_a_killed_worker_costs_one_row_and_nothing_is_done_twice(
    net: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["scorecard", "--models", "net", "--runtimes", "onnx", "--workers", "1", "--json"]
    assert main(command) == 1  # a row failed
    rows = json.loads(capsys.readouterr().out)["net"]
    assert [(row["precision"], row.get("host_db")) for row in rows] == [
        ("float", None),
        ("w8a8", 30.0),
        ("w8a16", 30.0),
    ]
    assert "exit status 9" in rows[0]["error"]
    assert net.read_text() == "xx"  # one that died, one in its place
    assert main(command) == 1
    assert net.read_text() == "xx", "known rows were measured again"
    text = (tmp_path / "docs/scorecard.md").read_text()
    assert "| onnx | 2 | 3 |" in text and "net, onnx float: net: exit status 9" in text


def test_one_emulator_stands_for_those_like_it(net: Path, tmp_path: Path) -> None:
    # sm8350 is unlike; the others differ only in the chip that is compiled for.
    command = ["scorecard", "--models", "net", "--runtimes", "qnn", "--precisions", "w8a8", "--chipsets"]
    assert main([*command, "sm8350", "sm8550"]) == 0
    assert main([*command, "sm8350", "sm8550", "sm8650"]) == 0, "the row of an earlier run serves too"
    stands_for = {row.target.chipset: row.emulated_as for row in read_scorecard("net").rows}
    names = [find_chipset(name).name for name in ("sm8350", "sm8550", "sm8650")]
    assert stands_for == dict(zip(names, (None, None, names[1]), strict=True))
    assert "| v68 v73 (v75) |" in (tmp_path / "docs/scorecard.md").read_text()


def test_a_row_comes_back_as_it_was(net: Path) -> None:
    target = Target(QNN, Precision.W8A8, find_chipset("sm8650").name)
    row = Row(**vars(target), key="key", date="2026-01-01", npu_nodes=3, nodes=4, emulator_db=1.25)
    rows = [
        row,
        Row(runtime=ONNX, precision=Precision.FLOAT, key="k", date="2026-01-02", error="a: {b}, 'c' # d, " * 50),
    ]
    card = Scorecard(model_id="net", rows=rows).with_row(row, {"qairt": "2"})
    card.write()
    assert read_scorecard("net") == card and set(card.rows) == set(rows) and card.tool_versions == {"qairt": "2"}
    assert len(card.path.read_text().splitlines()) == 2 + len(rows), "a row a line"


def test_an_outdated_row_says_so(net: Path) -> None:
    rows = [Row(runtime=ONNX, precision=precision) for precision, _ in OUTCOMES]
    rows[1] = rows[1].model_copy(update={"outdated": "before ranges were bounded"})
    Scorecard(model_id="net", rows=rows).write()
    text = page.page([read_scorecard("net")])
    assert "| w8a8 \\* |" in text and "| float |" in text
    assert "- net, w8a8: before ranges were bounded\n" in text


def test_what_is_no_longer_offered_has_no_row(net: Path) -> None:
    rows = [Row(runtime=ONNX, precision=precision) for precision, _ in OUTCOMES]
    Scorecard(model_id="net", rows=rows).write()
    reason = "unsupported: [{runtime: onnx, precision: w8a8, reason: r}]"
    (registry.models_folder() / "net/code-gen.yaml").write_text(f"supported_precisions: [float, w8a8]\n{reason}")
    card = read_scorecard("net")
    assert card.rows == (rows[0],) and "- net, onnx, w8a8: r\n" in page.page([card])


def test_a_task_without_a_build_has_no_table(net: Path) -> None:
    rows = [Row(runtime=ONNX, precision=precision, error=error) for precision, error in OUTCOMES]
    assert "## u\n" not in page.page([Scorecard(model_id="net", rows=rows[:1])])
    text = page.page([Scorecard(model_id="net", rows=rows)])
    assert text.count("## u\n") == 1 and "- net, onnx float: no memory" in text


@pytest.mark.parametrize("text", ["rows: [", "rows: 3", "[]", "rows: [{runtime: none}]\ntool_versions: {}"])
def test_a_damaged_file_is_named(net: Path, text: str) -> None:
    Scorecard(model_id="net").path.write_text(text)
    with pytest.raises(UserError, match=r"scorecard.yaml: damaged"):
        read_scorecard("net")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "nett"], "did you mean net"),
        (["--workers", "0"], "above 0"),
        (["--precisions", "w16a16"], "no model offers"),
        (["--runtimes", "tflight"], "tflite"),
    ],
)
def test_wrong_requests(net: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    assert main(["scorecard", *flags]) == 2
    assert message in capsys.readouterr().err
