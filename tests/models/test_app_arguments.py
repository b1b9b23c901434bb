"""Every app names the argument that is of a wrong type."""

from __future__ import annotations

import inspect

import pytest

from model_zoo.base.registry import load_app_class, model_ids
from model_zoo.utils.errors import UserError


def test_apps_refuse_what_is_no_model_and_what_is_no_input() -> None:
    apps = [load_app_class(model_id) for model_id in model_ids()]
    methods = {method for app in apps for method in (app.__init__, app.predict)}
    assert len(methods) > 20
    for method in methods:
        first = list(inspect.signature(method).parameters)[1]
        with pytest.raises(UserError, match=rf"^{first} is None"):
            method(object(), **{first: None, **_others(method, first)})


def _others(method: object, first: str) -> dict[str, object]:
    """What else must be given; it is looked at later."""
    parameters = list(inspect.signature(method).parameters.values())[1:]  # type: ignore[arg-type]
    return {p.name: [] for p in parameters if p.default is p.empty and p.name != first}
