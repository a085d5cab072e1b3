"""Models as ONNX files, made here: stand-ins for what users download."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch


def export(model: torch.nn.Module, example: torch.Tensor, path: Path, outputs: list[str]) -> Path:
    """The model in a file, with one input; skips the test where this torch needs the package onnx for it."""
    try:
        from torch.onnx._internal.torchscript_exporter import onnx_proto_utils as protocol
    except ImportError:
        pytest.skip("this torch has no exporter that works without the package onnx")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(protocol, "_add_onnxscript_fn", lambda data, _: data)  # would need the package onnx
        torch.onnx.export(
            model, example, str(path), input_names=["input"], output_names=outputs, dynamo=False, opset_version=11
        )
    return path
