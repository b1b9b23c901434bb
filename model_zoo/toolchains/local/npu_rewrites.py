"""What a quantized model becomes for an NPU alone, right before it is compiled; all share the file before."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from model_zoo.targets.chipset import Chipset
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.signed_factors import FIRST_SIGNED, sign_second_factors
from model_zoo.toolchains.local.sums import center_sums
from model_zoo.toolchains.local.truncation import CUT_OFF, SHORTFALL, raise_biases

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Form:
    """One rewrite.

    Args:
        name: As it appears in settings, beside how many places it changed.
        told: What a user is told behind that number.
        needs: Whether a Hexagon generation needs it.
        apply: Changes the model in place; gives in how many places.
    """

    name: str
    told: str
    needs: Callable[[int], bool]
    apply: Callable[[onnx.ModelProto], int]


_CENTERED = "biases are chosen so that 16-bit sums, whose low 8 bits the NPU drops, are right on average"

_FORMS = (
    Form(
        "raised_biases",
        f"biases are {SHORTFALL} of a step higher: this NPU cuts off where later ones round",
        lambda htp: htp in CUT_OFF,
        raise_biases,
    ),
    Form(
        "centered_sums",
        _CENTERED,
        lambda htp: htp not in CUT_OFF,
        partial(center_sums, toward_zero=True),
    ),
    Form(
        "centered_floors",
        _CENTERED,
        lambda htp: htp in CUT_OFF,
        partial(center_sums, toward_zero=False),
    ),
    Form(
        "signed_factors",
        "second factors of MatMul are signed: this NPU takes unsigned ones in 8 bits only",
        lambda htp: htp >= FIRST_SIGNED,
        sign_second_factors,
    ),
)


def forms_for(chipset: Chipset, precision: Precision) -> list[str]:
    """Names of the forms that builds for a chipset need."""
    return [form.name for form in _FORMS if precision.is_quantized and form.needs(chipset.htp)]


def apply_forms(model: onnx.ModelProto, names: Collection[str]) -> dict[str, str]:
    """Bring a model into these forms, in place; gives in how many places by form, without those that changed none."""
    places = {form.name: form.apply(model) for form in _FORMS if form.name in names}
    return {name: str(count) for name, count in places.items() if count}


def notes(settings: dict[str, str]) -> list[str]:
    """What a user is told of the forms in a build's settings."""
    return [f"{settings[form.name]} {form.told}" for form in _FORMS if form.name in settings]
