"""Capture: a torch module becomes a file with real input and output names."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model_zoo.base.spec import Arrays
from model_zoo.utils.errors import ModelZooError

if TYPE_CHECKING:
    import onnx_ir


#: Elements of a constant up to which what is worked out of it, or into it, is worked out here.
_FOLDED = 2**20


class Interface(torch.nn.Module):
    """The module as a file shows it: its outputs are a tuple."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = self.module(*tensors)
        return tuple(results) if isinstance(results, (tuple, list)) else (results,)


def export_program(module: torch.nn.Module, sample: Arrays) -> torch.export.ExportedProgram:
    """Trace a module.

    Raises:
        ModelZooError: The module cannot be traced; says where.
    """
    example = tuple(torch.from_numpy(value) for value in sample.values())
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(Interface(module).eval(), example, strict=False)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelZooError(f"capture: torch cannot trace the model: {reason}", "run again with --debug") from error


def write_onnx(
    program: torch.export.ExportedProgram, input_names: list[str], output_names: list[str], path: Path
) -> None:
    """Write a traced module as one ONNX file.

    Raises:
        ModelZooError: An operator has no ONNX form.
    """
    try:
        with _quiet():
            onnx_program = torch.onnx.export(
                program,
                (),
                dynamo=True,
                input_names=input_names,
                output_names=output_names,
                external_data=False,
                verbose=False,
            )
            if onnx_program is None:
                raise ModelZooError("capture: torch gave no ONNX program")
            _fold_constants(onnx_program.model)
        _keep_names_apart(onnx_program.model.graph)
        onnx_program.save(str(path), external_data=False)
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelZooError(f"capture: no ONNX form: {reason}", "run again with --debug") from error


def _fold_constants(model: onnx_ir.Model) -> None:
    """Work out what depends on no input, such as the masks of shifted windows, here instead of in every inference.

    The exporter does so too, but only with smaller tensors and with none that starts as a ConstantOfShape: Swin-S was
    left with 237 such nodes of 1234, and QNN's compiler for v68 had no memory for its masks.
    """
    from onnx_ir.passes.common import RemoveUnusedNodesPass
    from onnxscript.optimizer import fold_constants_ir

    def should_fold(node: onnx_ir.Node) -> bool | None:
        return True if node.op_type == "ConstantOfShape" else None

    fold_constants_ir(model, input_size_limit=_FOLDED, output_size_limit=_FOLDED, should_fold=should_fold)
    RemoveUnusedNodesPass()(model)


def _keep_names_apart(graph: onnx_ir.Graph) -> None:
    """Rename what lies inside a graph and is called like an output: torch calls its own tensors `embedding`, `add` …"""
    ends = [*graph.inputs, *graph.outputs]
    taken = {value.name for value in ends}
    for node in graph:
        for value in node.outputs:
            if value.name in taken and not any(value is end for end in ends):
                value.name = f"{value.name}_inside"


def write_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write a traced module as an exported program (.pt2)."""
    with _quiet():
        torch.export.save(program, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress and deprecation talk means nothing to our users; errors still pass."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
