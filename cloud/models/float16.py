"""Float to half precision, for GPUs: processors compute it more slowly than float."""

from __future__ import annotations

from onnxruntime.transformers.float16 import convert_float_to_float16

from cloud.models.onnx_file import load, save


def to_float16(fp32: bytes) -> bytes:
    """The model with weights and activations of 16 bits; inputs and outputs stay float.

    Raises:
        ContractError: not an ONNX model.
    """
    return save(convert_float_to_float16(load(fp32), keep_io_types=True))
