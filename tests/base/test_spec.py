"""A TensorSpec is right once it is built, and survives JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_zoo.base.spec import DTYPES, TensorSpec, check_arrays, image_spec, random_arrays
from model_zoo.utils.errors import UserError

SHAPES = st.lists(st.integers(1, 5), max_size=4).map(tuple)
RANGES = st.none() | st.tuples(st.integers(-100, 0), st.integers(1, 100)).map(lambda r: (float(r[0]), float(r[1])))
TENSORS = st.builds(TensorSpec, shape=SHAPES, dtype=st.sampled_from(DTYPES), value_range=RANGES)
IMAGES = st.builds(image_spec, st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))


@given(TENSORS | IMAGES)
def test_json_round_trip(tensor: TensorSpec) -> None:
    assert TensorSpec.from_json(json.loads(json.dumps(tensor.to_json()))) == tensor


@given(st.dictionaries(st.text(min_size=1), TENSORS | IMAGES, max_size=3), st.integers(0, 9))
def test_noise_fits_its_spec(spec: dict[str, TensorSpec], seed: int) -> None:
    arrays = random_arrays(spec, seed)
    check_arrays(arrays, spec, "noise")
    for name, tensor in spec.items():
        if tensor.value_range and tensor.dtype != "bool":
            low, high = tensor.value_range
            assert (arrays[name] >= low).all() and (arrays[name] <= high).all()
        assert np.array_equal(arrays[name], random_arrays(spec, seed)[name])


@given(SHAPES, st.integers(max_value=0) | st.booleans() | st.floats() | st.none() | st.text(), st.data())
def test_a_bad_dimension_is_refused(shape: tuple[int, ...], bad: object, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(shape)))
    with pytest.raises(UserError, match=r"^shape"):
        TensorSpec((*shape[:place], bad, *shape[place:]))


@given(st.text().filter(lambda text: text not in DTYPES))
def test_a_bad_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(UserError, match=r"^dtype"):
        TensorSpec((1,), dtype)


@pytest.mark.parametrize(
    "fields",
    [
        {"value_range": (1.0, 1.0)},
        {"value_range": (float("nan"), 1.0)},
        {"color_order": "rgb"},
        {"io_type": "image"},
        {"io_type": "image", "color_order": "gray"},
        {"io_type": "image", "color_order": "rgb", "shape": (3, 8, 8)},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UserError):
        TensorSpec(**{"shape": (1, 3, 8, 8), **fields})
    TensorSpec((1, 3, 8, 8), io_type="image", color_order="rgb")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"sample 3: inputs are \[\], the model takes \['image'\]"),
        ({"image": np.zeros((1, 3, 8, 9), np.float32)}, "'image' is float32"),
        ({"image": np.zeros((1, 3, 8, 8))}, "'image' is float64"),
        ({"image": np.full((1, 3, 8, 8), np.nan, np.float32)}, "NaN"),
        ({"image": np.full((1, 3, 8, 8), np.inf, np.float32)}, "infinite"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_arrays(arrays, {"image": image_spec(8, 8)}, "sample 3")
