"""The ONNX files that targets are made from: one float model in up to five forms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from cloud.models.float16 import to_float16
from cloud.models.quantise import Scheme, quantise
from cloud.models.targets import Target
from shared.calibration import Range


def make_sources(
    fp32: bytes,
    targets: Iterable[Target],
    *,
    ranges: Mapping[str, Range] | None = None,
    keep_float: Collection[str] = (),
) -> dict[tuple[bool, str], bytes]:
    """(for a GPU, precision) → ONNX file, for what `targets` need; int8 only where `ranges` are known.

    Raises:
        ContractError: not an ONNX model, or a range is missing.
    """
    wanted = {(target.engine, target.precision) for target in targets}
    sources: dict[tuple[bool, str], bytes] = {}
    for engine, precision in sorted(wanted):
        if precision == "fp32":
            sources[engine, precision] = fp32
        elif precision == "fp16":
            sources[engine, precision] = to_float16(fp32)
        elif ranges is not None:
            scheme = Scheme.S8S8 if engine else Scheme.U8S8
            sources[engine, precision] = quantise(fp32, ranges, keep_float=keep_float, scheme=scheme)
    return sources
