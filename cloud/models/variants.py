"""Model files as the variants of a release."""

from __future__ import annotations

from cloud.distribution.cut import cut
from shared.bundle import Runtime, Variant
from shared.ids import Digest, sha256

FLOAT = "cpu-fp32.onnx"
INT8 = "cpu-int8.onnx"


def build_variants(fp32: bytes, int8: bytes | None = None) -> tuple[list[Variant], dict[Digest, bytes]]:
    """Describe the files that any CPU can run; the second value maps each variant's digest to its bytes."""
    files = {FLOAT: ("fp32", fp32)} | ({INT8: ("int8", int8)} if int8 is not None else {})
    variants = [cpu_variant(name, data, precision=precision) for name, (precision, data) in files.items()]
    return variants, {sha256(data): data for _, data in files.values()}


def cpu_variant(name: str, data: bytes, *, precision: str) -> Variant:
    """One ONNX file for ONNX Runtime on a CPU."""
    return Variant(
        name=name,
        runtime=Runtime.ONNXRUNTIME,
        precision=precision,
        hardware=["cpu"],
        digest=sha256(data),
        size=len(data),
        chunks=cut(data),
    )
