"""What a model's README tells a person to call is there."""

from __future__ import annotations

import ast
import inspect

import pytest

from model_zoo.base.registry import load_app_class, model_folder, model_ids


@pytest.mark.parametrize("model_id", model_ids())
def test_the_call_of_a_readme_fits_the_app(model_id: str) -> None:
    code = (model_folder(model_id) / "README.md").read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    predict = [call for call in calls if ast.unparse(call.func) == "app.predict"]
    assert len(predict) == 1, code
    signature = inspect.signature(load_app_class(model_id).predict)
    signature.bind("self", *predict[0].args, **{each.arg or "": each.value for each in predict[0].keywords})
