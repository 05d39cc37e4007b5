"""A release: its variants, their chunks, and which device may run which.

The manifest is a TUF target (`releases/<release>/manifest.json`); each variant's bytes are another one
(`releases/<release>/<variant name>`) whose custom fields repeat counter, hardware and runtime, so that the
signature of the `releases` role covers them twice, and a device can refuse before it downloads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from shared.errors import ContractError
from shared.ids import Digest, check_digest, check_name, sha256

CHUNK_SIZE = 256 << 10
"""Bytes. Mosquitto keeps whole messages in memory per subscriber, and a lost chunk is asked for again."""

UNEXECUTED = "not-executed"
"""Label of a file that was built and never run: for hardware that its builder does not have."""

TAKEN = frozenset({"manifest.json", "slot.json"})
"""File names beside a variant in the repository and in a slot."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

MAX_VARIANT = 8 << 30
"""Bytes; a manifest that claims more is refused."""


T = TypeVar("T")


class Runtime(StrEnum):
    """What executes a variant."""

    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"
    OPENVINO = "openvino"


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a variant, named by its content."""

    digest: str
    size: int


class Needs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a device must have before the first byte of a variant is fetched."""

    memory_mib: int = 0
    """Free memory for loading it beside the one that serves."""

    runtime_version: str = ""
    """Oldest version of the runtime that executes it, e.g. `1.22`; empty for any."""


class Variant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file for one kind of hardware; without a signature it encodes as it did before there were any."""

    name: str
    """File name within the release, e.g. `cpu-int8.onnx`."""

    runtime: Runtime
    precision: str
    """`fp32`, `fp16` or `int8`."""

    hardware: list[str]
    """Hardware facts that admit a device, any of them: `cpu`, `sm87`, …"""

    digest: str
    size: int
    chunks: list[Chunk]
    signature: str = ""
    """OpenSSF Model Signing bundle over this file in this release, JSON (`shared.trust.modelsig`); empty for none."""

    needs: Needs = Needs()
    label: str = ""
    """`not-executed` for a file that nobody could run before it was signed; it carries its own proof
    (`shared.engine`). Empty for one that was run and compared."""


class Signal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model's windows [channels, points] are made of, so that a device can fit its own sensor to them."""

    rate: float = 0.0
    """Points a second; 0 where nobody says."""

    channels: list[str] = []
    """Names in order; empty where the order alone counts."""

    units: list[str] = []
    """One a channel, as `edge.pipelines.sources.sensors.units` knows them; empty where nobody says."""


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How answers are read, beyond their shape; which fields count depends on the kind of model."""

    head: str = ""
    """Layout of the outputs where a kind has several; empty for its first."""

    threshold: float | None = None
    """Anomaly: the score above which an input is one."""

    unit: str = ""
    """Regression: of the value."""

    scale: float = 1.0
    """Regression: output · scale + offset is the value in `unit`."""

    offset: float = 0.0
    low: float | None = None
    """Regression: least value there can be; what the model says below it is taken for it."""

    high: float | None = None
    coverage: float = 0.0
    """Regression with an interval: share of values that are meant to lie in it, 0 to 1."""

    tolerance: float = 0.0
    """Two answers that differ by no more say the same."""

    more: dict[str, float | str] = {}
    """What kinds of other packages ask for."""


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """How to feed the model and read its answer."""

    kind: str
    """`classification` (logits over `labels`), `detection` (boxes and scores), `anomaly` (a reconstruction, a forecast
    or a score), `regression` (a value, perhaps with an interval), or one that another package brings."""

    labels: list[str]
    input_shape: list[int]
    """One input without its batch axis, e.g. [6, 100]."""

    mean: list[float] = []
    """Per channel, subtracted before division by `std`; empty when the graph normalises by itself."""

    std: list[float] = []
    signal: Signal | msgspec.UnsetType = msgspec.UNSET
    """Of a sensor's windows; without it, and the next, a schema encodes as it did before there were any."""

    reading: Reading | msgspec.UnsetType = msgspec.UNSET

    @property
    def read(self) -> Reading:
        """`reading`, or what holds where none is given."""
        return self.reading or Reading()


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """What the signers vouch for."""

    id: str
    model: str
    counter: int
    """Only grows within a model line; going back re-releases old bytes under a higher counter."""

    schema: Schema
    variants: list[Variant]
    created: float
    """Unix seconds at the publish gate."""

    run: str = ""
    """Federated run it came from; empty for an imported model."""

    evaluation: dict[str, float] = {}
    """What the acceptance gate measured, e.g. `accuracy.fp32`, `agreement.cpu-int8`."""

    format: int = 1


class Challenge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A release that a device should run beside the one that serves, and how much that may cost."""

    release: str
    rollout: str = ""
    """For whom its reports are meant."""

    share: float = 0.25
    """Most of one core's time that the challenger may take, 0 to 1."""

    split: float = 0.0
    """Share of inputs whose answer is the challenger's, 0 to 1; 0 keeps all its answers silent."""


class FleetDesired(msgspec.Struct, frozen=True, kw_only=True):
    """The signed answer to “what should this device run?” (TUF target `fleets/<fleet>/desired.json`)."""

    fleet: str
    default: dict[str, str] = {}
    """Model → release for devices without an entry of their own."""

    devices: dict[str, dict[str, str]] = {}
    """Device → model → release."""

    challengers: dict[str, dict[str, Challenge]] = {}
    """Device → model → what is to run in its release's shadow."""

    masks: Any = {}
    """Device or `*` → pipeline or `*` → privacy masks (`shared.masks`). Untyped, so that a device that does not
    understand them still gets the rest, and knows that there is something to hide."""

    format: int = 1

    def for_device(self, device: str) -> dict[str, str]:
        """Model → release that `device` should run; an empty release id means none."""
        return {**self.default, **self.devices.get(device, {})}


def split(data: bytes, size: int = CHUNK_SIZE) -> list[Chunk]:
    """Chunk list of `data`, cut at fixed offsets."""
    return [Chunk(sha256(piece), len(piece)) for piece in pieces(data, size)]


def pieces(data: bytes, size: int = CHUNK_SIZE) -> Iterable[bytes]:
    """The pieces that `split` lists, in order; the last may be shorter."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def encode(document: Release | FleetDesired) -> bytes:
    """Canonical JSON (sorted keys), so that equal documents have equal digests."""
    return msgspec.json.encode(document, order="sorted")


def decode_release(data: bytes) -> Release:
    """Decode and check a manifest's own consistency; proving its origin is the caller's part.

    Raises:
        ContractError: not a manifest, or one that contradicts itself.
    """
    release = _decode(data, Release)
    check_name(release.id, kind="release id")
    if release.id != f"{release.model}-{release.counter}" or release.counter < 1:
        raise ContractError(f"release {release.id!r} contradicts its model and counter")
    if len({variant.name for variant in release.variants}) != len(release.variants):
        raise ContractError(f"release {release.id!r} names a variant twice")
    for variant in release.variants:
        check_digest(variant.digest)
        if not _FILE_NAME.fullmatch(variant.name) or variant.name in TAKEN:
            raise ContractError(f"{variant.name[:80]!r} is no file name of a variant")
        if not 0 < variant.size <= MAX_VARIANT or sum(chunk.size for chunk in variant.chunks) != variant.size:
            raise ContractError(f"the chunks of {variant.name} do not add up to its size")
        for chunk in variant.chunks:
            check_digest(chunk.digest)
    return release


def decode_desired(data: bytes) -> FleetDesired:
    """Decode a fleet's desired state.

    Raises:
        ContractError: not one.
    """
    return _decode(data, FleetDesired)


def choose(
    release: Release, *, hardware: Iterable[str], runtimes: Iterable[Runtime], unexecuted: bool = False
) -> Variant | None:
    """The variant for a device, or None: of its first runtime that has one, the smallest.

    Size is the proxy for cost on one device kind.

    Args:
        release: what is offered.
        hardware: facts of the device.
        runtimes: what it can execute, the preferred one first.
        unexecuted: whether its owner admits files that were never run.
    """
    facts, ranks = set(hardware), {runtime: rank for rank, runtime in enumerate(runtimes)}
    fitting = [
        each
        for each in release.variants
        if each.runtime in ranks and facts & set(each.hardware) and (unexecuted or each.label != UNEXECUTED)
    ]
    return min(fitting, key=lambda each: (ranks[each.runtime], each.size, each.name), default=None)


def digest_of(release: Release) -> Digest:
    """What names a release for ever: the digest of its manifest."""
    return sha256(encode(release))


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"no {kind.__name__}: {error}") from error
