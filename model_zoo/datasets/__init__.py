"""Samples in. Each dataset is a class; names find them without importing the others."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.utils.errors import unknown_name

if TYPE_CHECKING:
    from model_zoo.base.spec import InputSpec
    from model_zoo.datasets.base import BaseDataset, Split

_CLASSES = {
    "bsd100": "model_zoo.datasets.downloaded_pictures:Bsd100Dataset",
    "cityscapes": "model_zoo.datasets.downloaded_pictures:CityscapesDataset",
    "coco": "model_zoo.datasets.coco:CocoDataset",
    "coco_keypoints": "model_zoo.datasets.coco:CocoKeypointsDataset",
    "digits": "model_zoo.datasets.digits:DigitsDataset",
    "imagenet": "model_zoo.datasets.downloaded_pictures:ImagenetDataset",
    "kinetics400": "model_zoo.datasets.downloaded_sequences:KineticsDataset",
    "librispeech": "model_zoo.datasets.downloaded_sequences:LibrispeechDataset",
    "noisy_photos": "model_zoo.datasets.photos:NoisyPhotosDataset",
    "nyu_depth_v2": "model_zoo.datasets.downloaded_pictures:NyuDepthDataset",
    "photos": "model_zoo.datasets.photos:PhotosDataset",
    "scenes": "model_zoo.datasets.scenes:ScenesDataset",
    "scenes_segmentation": "model_zoo.datasets.scenes:ScenesSegmentationDataset",
    "set14": "model_zoo.datasets.downloaded_pictures:Set14Dataset",
    "stsb": "model_zoo.datasets.downloaded_sequences:StsbDataset",
    "voc": "model_zoo.datasets.downloaded_pictures:VocDataset",
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
        raise unknown_name("dataset", name, _CLASSES, "model-zoo dataset list")
    module, _, class_name = _CLASSES[name].partition(":")
    dataset: type[BaseDataset] = getattr(import_module(module), class_name)
    return dataset


def load_dataset(name: str, spec: InputSpec, split: Split, tokenizer: str | Path | None = None) -> BaseDataset:
    """Open a dataset for these inputs.

    Args:
        tokenizer: The file of the model's tokenizer, for a dataset of text.

    Raises:
        UserError: There is no dataset of this name, or it cannot feed these inputs.
        MissingDataError: The data is not on this machine; says what to get and where to put it.
    """
    return dataset_class(name).load(spec, split, Path(tokenizer) if tokenizer is not None else None)
