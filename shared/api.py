"""What the coordinator's HTTP API says and hears, version 1.

All bodies are JSON. Structs only gain optional fields. Times are Unix seconds in UTC; an empty string stands for none.
Enrolment and renewal have shapes of their own in `shared.enrolment`; those of `shared.insight` and
`shared.rollouts` belong here by name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shared.access import Vote
from shared.bundle import Runtime, Schema
from shared.insight import (
    AccuracyPoint as AccuracyPoint,
)
from shared.insight import (
    Delivery as Delivery,
)
from shared.insight import (
    Drift as Drift,
)
from shared.insight import (
    DriftScore as DriftScore,
)
from shared.insight import (
    Event as Event,
)
from shared.insight import (
    InferenceView as InferenceView,
)
from shared.insight import (
    TelemetrySummary as TelemetrySummary,
)
from shared.jobs import (
    CentralJob as CentralJob,
)
from shared.rollouts import (
    Applied as Applied,
)
from shared.rollouts import (
    Gate as Gate,
)
from shared.rollouts import (
    Rollout as Rollout,
)
from shared.rollouts import (
    RolloutDevice as RolloutDevice,
)
from shared.rollouts import (
    RolloutRequest as RolloutRequest,
)
from shared.rollouts import (
    RolloutWave as RolloutWave,
)

PREFIX = "/v1"
PROBLEM = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error, after RFC 9457."""

    title: str
    status: int
    detail: str
    code: str
    """`HinterlandError.code`: contract, trust, transport, refused, fault, …"""

    hint: str = ""
    message: str = ""
    """Repeats `detail` under the name that `shared.enrolment.Refusal` reads."""

    type: str = "about:blank"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the coordinator can do its part."""

    status: str
    """`ok`, or `degraded` when a part below says so."""

    version: str
    tenant: str
    at: float
    parts: dict[str, str]
    """Part → `ok` or what is wrong with it."""

    certificates: dict[str, float] = {}
    """Certificate of the coordinator's own servers and clients → days until it ends."""


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for the right to enrol one device."""

    fleet: str = ""
    """The coordinator's only fleet when empty."""

    device: str = ""
    """Only this device may use the token; any when empty."""

    ttl_s: float = 86_400.0
    key_sha256: str = ""
    """Only this key may use it: SHA-256 of the public key in DER, as `hinterland-agent key` prints; any when empty."""

    reason: str = ""
    labels: dict[str, str] = {}
    """What the device will be called by from its first moment."""


class TokenIssued(msgspec.Struct, frozen=True, kw_only=True):
    """A token, shown once."""

    token: str
    fleet: str
    device: str
    expires_at: float


class DeviceModel(msgspec.Struct, frozen=True, kw_only=True):
    """Where a device is with one model line."""

    model: str
    desired: str
    """What the signed state asks of it."""

    serving: str = ""
    release: str = ""
    """What its newest report was about."""

    stage: str = ""
    slot: str = ""
    variant: str = ""
    reason: str = ""
    at: float = 0.0


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One enrolled device."""

    id: str
    fleet: str
    state: str
    """`enrolled` or `revoked`."""

    hardware: list[str]
    node: str
    """Flower's node id, decimal."""

    serial: str
    expires_at: float
    enrolled_at: float
    last_seen: float
    models: list[DeviceModel] = []
    revoked_at: float | None = None
    alarm: str = ""
    """Why its key seems to be in two places; empty for none."""

    alarm_at: float | None = None
    labels: dict[str, str] = {}
    """What operators call it by; `site` says where it stands."""


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What operators call a device by, whole."""

    labels: dict[str, str]


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """Ask to shut a device out."""

    reason: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A model line: the policy of one model, in the words of `cloud.models.line`."""

    name: str
    document: dict[str, Any]
    updated_at: float


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for a federated run."""

    model: str
    reason: str = ""
    devices: list[str] = []
    """Who trains; the model line decides when empty."""

    labels: dict[str, int] = {}
    """Labelled live examples that each device adds to its base split."""

    start: str = ""
    """Run whose final weights this one goes on from; empty starts afresh."""

    overrides: dict[str, Any] = {}
    """Fields of the run's specification that differ from the model line's, for example `rounds` or `seed`."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One closed round."""

    number: int
    cohort: list[str]
    metrics: dict[str, float]
    digest: str
    at: float


class ClientProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one client of a round is."""

    state: str
    """`selected`, `training`, `uploaded`, `late`, `quarantined` or `failed`."""

    at: float
    """Since when, Unix seconds."""

    reason: str = ""
    examples: int = 0
    """That its update stands for."""


class RoundProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the clients of a round are."""

    round: int
    finished: bool = False
    clients: dict[str, ClientProgress] = {}
    excluded: dict[str, str] = {}
    """Device that was not to be drawn → why."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One federated run."""

    id: str
    model: str
    number: int
    state: str
    """`queued`, `warming`, `running`, `judged`, `released`, `rejected` or `failed`."""

    cause: str
    reason: str
    spec: dict[str, Any]
    result: dict[str, Any]
    release: str
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    rounds: list[Round] = []
    progress: list[RoundProgress] = []
    """Of the clients; filled where it was asked for."""


class ImportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One uploaded file of an imported release."""

    name: str
    digest: str
    """Of bytes sent before with `PUT /v1/blobs/{digest}`."""

    precision: str
    runtime: Runtime = Runtime.ONNXRUNTIME
    hardware: list[str] = msgspec.field(default_factory=lambda: ["cpu"])
    memory_mib: int = 0
    """Free memory that a device must have before it fetches the file; 0 for any."""

    runtime_version: str = ""
    """Oldest version of the runtime that executes it, e.g. `1.22`; empty for any."""

    label: str = ""
    """`not-executed` for an engine that carries its own proof; see `shared.bundle.Variant`."""


class ReleaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Import a model that was trained elsewhere."""

    model: str
    schema: Schema
    files: list[ImportedFile]
    evaluation: dict[str, float] = {}
    reason: str = ""


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a release."""

    name: str
    digest: str
    size: int
    precision: str
    runtime: str
    hardware: list[str]


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One signed release."""

    id: str
    model: str
    counter: int
    run: str
    digest: str
    signers: list[str]
    replaces: str
    created_at: float
    published_at: float | None
    variants: list[Variant]
    evaluation: dict[str, float]
    labels: list[str]
    attestations: list[str] = []
    """Kinds that are there, for example `provenance`; `GET /v1/releases/{release}/attestations` has them whole."""

    refusal: str = ""
    """The rules of the admission policy that keep it from being published."""

    content: str = ""
    """What approvers vote on: digest of the manifest without its model signatures."""

    approval: str = ""
    """`waiting`, `approved` or `rejected` where people must approve; else empty."""

    votes: list[Vote] = []


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """How a release does on a device now."""

    processed: int = 0
    errors: int = 0
    labelled: int = 0
    accuracy: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    drift: float | None = None


class ModelLineage(msgspec.Struct, frozen=True, kw_only=True):
    """Why a device runs what it runs, for one model line."""

    status: DeviceModel
    release: Release | None = None
    variant: Variant | None = None
    run: Run | None = None
    jobs: list[CentralJob] = []
    """On data of the company's own: what made the run's first weights, and who judged its candidate or the release."""

    cohort: list[str] = []
    """Devices whose data formed the model, over all rounds."""

    rollout: str = ""
    rollout_state: str = ""
    wave: int | None = None
    gates: list[Gate] = []
    """What the wave had proven before the device was asked."""

    offered_at: float | None = None
    active_at: float | None = None
    live: Live = Live()


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Why a device runs what it runs."""

    device: str
    fleet: str
    models: list[ModelLineage]
