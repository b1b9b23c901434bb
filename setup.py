"""Packaging. Direct dependencies are named here; global_requirements.txt is the one place for their versions."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
PINS = dict(re.findall(r"^([A-Za-z0-9_.-]+)(==[^\s;]+)", (HERE / "global_requirements.txt").read_text(), re.MULTILINE))

#: The QNN wheel exists for these machines only.
QNN_MACHINES = (
    "(platform_system == 'Linux' and platform_machine == 'x86_64') "
    "or (platform_system == 'Windows' and platform_machine in 'AMD64 ARM64')"
)


def pinned(*names: str) -> list[str]:
    """The requirement lines of these packages."""
    return [name + PINS[name] for name in names]


setup(
    name="model_zoo",
    version=re.search(r'__version__ = "(.+)"', (HERE / "model_zoo/__init__.py").read_text())[1],
    description="Put neural networks on Snapdragon NPUs, from your own machine",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.11",
    packages=find_packages(include=["model_zoo", "model_zoo.*"]),
    package_data={"model_zoo": ["**/*.yaml", "**/*.j2", "**/*.json", "**/*.safetensors", "**/*.txt", "**/*.md"]},
    install_requires=[
        *pinned("torch", "torchvision", "numpy", "onnx", "onnxscript", "onnxruntime", "pillow", "safetensors"),
        *pinned("pydantic", "pyyaml", "ruamel-yaml", "jinja2", "rich", "platformdirs", "psutil", "packaging", "httpx"),
        *pinned("scikit-learn", "scikit-image", "scipy", "filelock", "ml-dtypes"),
        *pinned("torchmetrics", "faster-coco-eval", "jiwer"),
        f"onnxruntime-qnn{PINS['onnxruntime-qnn']} ; {QNN_MACHINES}",
    ],
    extras_require={
        "tflite": pinned("litert-torch", "ai-edge-litert", "ai-edge-quantizer"),
        "recover": pinned("timm", "transformers"),  # whose architectures a checkpoint may be of
        "datasets": pinned("av", "h5py", "soundfile"),  # each reads one dataset only
        "dev": pinned(
            "pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "types-pyyaml", "pre-commit", "cyclonedx-bom"
        ),
    },
    entry_points={"console_scripts": ["model-zoo = model_zoo.cli:main"]},
)
