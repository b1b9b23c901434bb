"""A model folder from a recovery: only a whole one that nobody changed, and only names that Python takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model_zoo.scripts import run_codegen
from model_zoo.scripts.new_model import recovery_facts
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.hashing import sha256_file


@pytest.fixture
def recovery(tmp_path: Path) -> Path:
    """What `model-zoo recover` writes, with names that no Python function could have."""
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    (tmp_path / "model.py").write_text("import torch\n\n\ndef build_model():\n    return torch.nn.Identity()\n")
    inputs = [
        {"name": "input ids", "shape": [1, 16], "dtype": "int64", "high": 99},
        {"name": "class", "shape": [1, 3, 8, 8], "dtype": "float32", "high": None},
    ]
    outputs = [{"name": name, "shape": [1], "dtype": "float32"} for name in ("0.boxes", "0 boxes", "t_class", '"]; x')]
    record = {
        "model": {"title": 'a """ title\nimport os', "found_by": "name"},
        "inputs": inputs,
        "verification": {"passed": True, "problem": None, "outputs": outputs},
        "not_recovered": {"missing": [], "unused": ["head"]},
        "weights": {"sha256": sha256_file(tmp_path / "weights.safetensors")},
    }
    (tmp_path / "recovery.json").write_text(json.dumps(record))
    return tmp_path


def change(recovery: Path, edit: Any) -> None:
    record = json.loads((recovery / "recovery.json").read_text())
    edit(record)
    (recovery / "recovery.json").write_text(json.dumps(record))


def test_names_become_identifiers_and_text_stays_data(recovery: Path) -> None:
    facts = recovery_facts(recovery)
    assert facts["outputs"] == ["t_0_boxes", "t_0_boxes_", "t_class_out", "x"]
    assert facts["call"] == "input_ids=input_ids, t_class=t_class"
    known = {"id": "my_net", "name": "My Net", **facts}
    text = run_codegen.environment().get_template("new_model/recovered.py.j2").render(known)
    compile(text, "model.py", "exec")
    assert "import os" not in text


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda r: r["verification"].update(passed=False, problem="outputs are not finite"), "not finite"),
        (lambda r: r["not_recovered"].update(missing=["fc.weight"]), "1 tensors are missing"),
        (lambda r: r.pop("weights"), "holds no recovery"),
        (lambda r: r["weights"].update(sha256="0" * 64), "not the file that was verified"),
        (lambda r: r["inputs"][0].update(dtype="float33"), "float33"),
        (lambda r: r.update(inputs=None), "holds no recovery"),
        (lambda r: r["inputs"][0].pop("name"), r"holds no recovery: .*inputs.0.name Field required"),
        (lambda r: r["inputs"][0].update(shape=[1, "x"]), "holds no recovery"),
        (lambda r: r["inputs"][0].update(high=float("inf")), "holds no recovery"),
        (lambda r: r["verification"].update(outputs=[{}]), "holds no recovery"),
        (lambda r: r["not_recovered"].update(missing=5), "holds no recovery"),
    ],
)
def test_anything_but_a_whole_recovery_is_refused(recovery: Path, edit: Any, message: str) -> None:
    change(recovery, edit)
    with pytest.raises(UserError, match=message):
        recovery_facts(recovery)


def test_a_module_that_was_changed_to_do_more_is_refused(recovery: Path) -> None:
    (recovery / "model.py").write_text("import os\nos.system('true')\n")
    with pytest.raises(ModelZooError, match="'os' in line 1"):
        recovery_facts(recovery)
    with pytest.raises(UserError, match="holds no recovery"):
        recovery_facts(recovery / "nowhere")
