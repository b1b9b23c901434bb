"""Samples in. Each dataset is a class; names find them without importing the others."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from model_zoo.utils.errors import unknown_name

if TYPE_CHECKING:
    from model_zoo.base.spec import InputSpec
    from model_zoo.datasets.base import BaseDataset, Split

_CLASSES = {
    "coco": "model_zoo.datasets.coco:CocoDataset",
    "digits": "model_zoo.datasets.digits:DigitsDataset",
    "imagenet": "model_zoo.datasets.imagenet:ImagenetDataset",
    "scenes": "model_zoo.datasets.scenes:ScenesDataset",
}


def dataset_names() -> list[str]:
    """All names `load_dataset` takes."""
    return list(_CLASSES)


def dataset_class(name: str) -> type[BaseDataset]:
    """The class of a dataset.

    Raises:
        UserError: There is no dataset of this name.
    """
    if name not in _CLASSES:
        raise unknown_name("dataset", name, _CLASSES, "model-zoo evaluate --help")
    module, _, class_name = _CLASSES[name].partition(":")
    found: type[BaseDataset] = getattr(import_module(module), class_name)
    return found


def load_dataset(name: str, spec: InputSpec, split: Split) -> BaseDataset:
    """Open a dataset for these inputs.

    Raises:
        UserError: There is no dataset of this name, or it cannot feed these inputs.
        MissingDataError: The data is not on this machine; says what to get and where to put it.
    """
    return dataset_class(name)(spec, split)
