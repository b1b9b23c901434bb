"""The default app, demo and tests of each task, from which code generation writes what a model's author does not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskDefault:
    """What lies in `models/_shared/<package>/{app,demo,testing}.py` for the models of a task.

    Args:
        app: Class in app.py.
        demo: Function in demo.py.
        tests: Class in testing.py; None if tests need facts of each model: its trace and its demo are tested then.
        call: Arguments of `predict` in an example; None if they depend on the model.
    """

    package: str
    app: str
    demo: str
    tests: str | None
    call: str | None

    @property
    def testing(self) -> tuple[str, str]:
        """Package and class of the tests."""
        return (self.package, self.tests) if self.tests else ("tensors", "TraceAndDemoTests")


_PICTURE = '"picture.jpg"'

#: By `use_case` of info.yaml.
_DEFAULTS = {
    "Depth Estimation": TaskDefault("depth", "DepthApp", "depth_demo", "DepthTests", _PICTURE),
    "Fill Mask": TaskDefault(
        "text", "MaskedWordApp", "masked_word_demo", "TextModelTests", '"The capital of France is [MASK]."'
    ),
    "Image Classification": TaskDefault(
        "imagenet_classifier", "ImagenetClassifierApp", "classifier_demo", "ImagenetClassifierTests", _PICTURE
    ),
    "Image Restoration": TaskDefault("restoration", "RestorationApp", "denoise_demo", None, _PICTURE),
    "Object Detection": TaskDefault(
        "object_detection", "ObjectDetectionApp", "detection_demo", "ObjectDetectorTests", _PICTURE
    ),
    "Pose Estimation": TaskDefault("pose", "PoseApp", "pose_demo", None, '"person.jpg"'),
    "Semantic Segmentation": TaskDefault(
        "segmentation", "SegmentationApp", "segmentation_demo", "SegmentationTests", _PICTURE
    ),
    "Sentence Similarity": TaskDefault(
        "text", "SimilarityApp", "similarity_demo", None, '"a cat naps", ["a kitten sleeps", "a train is late"]'
    ),
    "Speech Recognition": TaskDefault("whisper", "WhisperApp", "whisper_demo", "WhisperTests", '"speech.wav"'),
    "Super Resolution": TaskDefault("super_resolution", "SuperResolutionApp", "super_resolution_demo", None, _PICTURE),
    "Token Classification": TaskDefault(
        "text", "ReplacedTokenApp", "replaced_token_demo", "TextModelTests", '"The chef cooked the airport."'
    ),
    "Translation": TaskDefault("marian", "TranslationApp", "translation_demo", None, '"Good morning."'),
    "Video Classification": TaskDefault(
        "video_classifier", "VideoClassifierApp", "video_demo", "VideoClassifierTests", '"clip.mp4"'
    ),
    "Zero-shot Image Classification": TaskDefault(
        "zero_shot", "ZeroShotApp", "zero_shot_demo", None, '"picture.jpg", ["a cat", "a dog"]'
    ),
}

#: Arrays in, arrays out, by name.
_ANY = TaskDefault("tensors", "TensorApp", "tensor_demo", None, None)


def task_default(use_case: str) -> TaskDefault:
    """What fits most models of a task; named arrays in and out for a task that has no default of its own."""
    return _DEFAULTS.get(use_case, _ANY)
