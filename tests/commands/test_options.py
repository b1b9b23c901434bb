"""Options are declared once: the command line and the Python functions are made from the same fields."""

from __future__ import annotations

import inspect

import pytest

import model_zoo
from model_zoo.commands.options import in_flags
from model_zoo.pipeline.options import EvaluateOptions, ExportOptions, described
from model_zoo.utils.errors import UserError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('give precision="auto"', "give --precision auto"),
        ("allow more with max_drop=0.5, or", "allow more with --max-drop 0.5, or"),
        ("skip_inferencing=True to get", "--skip-inferencing to get"),
        ("use_cache=False", "--no-cache"),
        ('use runtime="onnx"', "use --target-runtime onnx"),
        ("name one in `chipset`; run `model-zoo chipsets`", "name one in --chipset; run `model-zoo chipsets`"),
        ("another file in report_file", "another file in --report"),
        ("the runtime onnx, on one chipset with precision", "the runtime onnx, on one chipset with precision"),
        ("soc_model=69 and my_output_dir", "soc_model=69 and my_output_dir"),
        ("/data/output_dir/net was not written", "/data/output_dir/net was not written"),
        (
            "output_dir.old is a file, and so is x/precision=w8a8",
            "output_dir.old is a file, and so is x/precision=w8a8",
        ),
        ("unknown dataset 'num_samples'", "unknown dataset 'num_samples'"),
        ("leave max_drop out.", "leave --max-drop out."),
    ],
)
def test_messages_name_parameters_and_the_command_line_shows_flags(text: str, shown: str) -> None:
    assert in_flags(text) == shown


@pytest.mark.parametrize(("function", "options"), [("export", ExportOptions), ("evaluate", EvaluateOptions)])
def test_python_functions_take_every_option_and_say_what_it_means(function: str, options: type) -> None:
    called = getattr(model_zoo, function)
    parameters = inspect.signature(called).parameters
    for name, (_, option) in described(options).items():
        assert parameters[name].default == getattr(options, name, None)
        assert f"{name}: {option.help}"[:60] in " ".join((inspect.getdoc(called) or "").split())


def test_the_model_may_be_given_by_name() -> None:
    with pytest.raises(UserError, match="unknown model 'resnet8'"):
        model_zoo.export(model="resnet8", chipset="sm8650")
    with pytest.raises(UserError, match="unknown model 'resnet8'"):
        model_zoo.evaluate(model="resnet8")


def test_wrong_arguments_are_refused_by_name_before_anything_starts() -> None:
    with pytest.raises(UserError, match=r"chipsett is no argument of export.*did you mean chipset"):
        model_zoo.export("digits_cnn", chipsett="sm8650")
    with pytest.raises(UserError, match=r"num_samples is '80' .*which is no int"):
        model_zoo.evaluate("digits_cnn", num_samples="80")
    for model in (["digits_cnn"], False, None):
        with pytest.raises(UserError, match=r"model is .*, which is no str"):
            model_zoo.evaluate(model)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"model: cannot export bool False"):
        model_zoo.export(False, chipset="sm8650")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown chipset 'sm8659'"):
        ExportOptions(chipset="sm8659")
