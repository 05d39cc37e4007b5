"""Messages between a device and its coordinator, version 1.

Structs only gain optional fields; the golden bytes of every version are kept under `tests/wire`.
All times are Unix seconds in UTC as the sender's clock had them; all counts are since the boot named
by `boot`, unless said otherwise. The sender's identity is never in the payload: it is the topic's device,
which the broker's ACL ties to the client certificate.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from shared.topics import Up


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """One fact a device wants stored exactly once."""

    seq: int
    """Position in the channel's stream since boot `Batch.boot`, from 1, without gaps."""

    at: float
    body: bytes
    """A packed `Telemetry`, `DriftReport` or `UpdateStatus`, by channel."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Records of one channel; sent again until acknowledged."""

    boot: str
    """Random id of the agent's outbox epoch; (device, boot, channel, seq) names a record for ever."""

    channel: Up
    records: list[Record]
    dropped: int = 0
    """Records that the outbox gave up over its cap since `boot`, oldest first: a counted loss."""

    taken_over: int = 0
    """Sessions of this agent's process that another holder of its identity ended (MQTT 5, reason code 0x8E)."""


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """Sent after the coordinator's commit: everything up to `seq` is durable there."""

    boot: str
    channel: Up
    seq: int


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a pipeline's source gave nothing of use; told when noticed, and once more when it is over."""

    reason: str
    """`unreachable`, `silent` (nothing comes), `frozen` (the same picture again and again), `ended`, or `broken`."""

    since: float
    """When the last good input came, or the source was first asked for one; names the stall in its pipeline."""

    noticed: float
    until: float = 0.0
    """When a good input came again; 0 while it lasts."""

    text: str = ""
    """What the driver or the other side said."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """From when on a pipeline works on another share of its frames, because its device is to be spared."""

    at: float
    share: float
    """Most that is worked on, 0 to 1."""

    reason: str = ""
    """`heat` or `battery`; empty when it is all again."""


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one pipeline over one reporting window; never raw data."""

    pipeline: str
    model: str
    release: str
    """Release that served during the window; a window never spans two."""

    since: float
    until: float
    processed: int
    """Windows or frames inferred."""

    errors: int
    dropped: int = 0
    """Inputs not inferred, for whatever reason; `dropped_by` tells them apart."""

    latency_ms: bytes = b""
    """KLL sketch of milliseconds from input ready to result (see `shared.sketch`)."""

    labelled: int = 0
    """Inputs of this pipeline whose label has come since the last report."""

    correct: int = 0
    """Labelled inputs that `release` had classified right."""

    phase: str = ""
    """Set by the replay source: which recording the inputs came from. Empty on a live sensor."""

    labels_held: int = 0
    """Labelled live examples the device holds for training, in total."""

    counts: dict[str, int] = {}
    """Predictions per class name in the window."""

    received: int = 0
    """Inputs that came into the source; over a pipeline's life processed + errors + dropped. 0 from older agents."""

    dropped_by: dict[str, int] = {}
    """Reason (`edge.pipelines.sources.port.Drop`) → inputs; adds up to `dropped`."""

    stalls: list[Stall] = []
    """What the source's watchdog noticed, or saw end, in the window."""

    paces: list[Pace] = []
    """What changed since the last report."""


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """Mergeable sketches of what a model saw and said over one window of inputs."""

    pipeline: str
    model: str
    release: str
    since: float
    until: float
    count: int
    features: dict[str, bytes]
    """KLL sketch per input feature, e.g. `ch0.mean`; the same names in every report of a task."""

    confidence: bytes
    """KLL sketch of the top-1 probability, 0 to 1."""

    classes: dict[str, int]
    """Predictions per class name."""

    reference: bool = False
    """True for the sketches of the data the release was trained on, sent once per release."""


class Stage(StrEnum):
    """Where a device is with one release; the last five are terminal."""

    OFFERED = "offered"
    DOWNLOADING = "downloading"
    VERIFIED = "verified"
    STAGED = "staged"
    SHADOW = "shadow"
    """Runs beside the release that serves, on the same live inputs; nobody acts on its answers."""

    TRIAL = "trial"
    ACTIVE = "active"
    REFUSED = "refused"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    WITHDRAWN = "withdrawn"
    """The signers no longer want it beside the release that serves; nothing was wrong on this device."""


class UpdateStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the update machine, as it was taken."""

    model: str
    """Empty, as is `release`, when the signed metadata as a whole was refused, or (`verified`) is fine again."""

    release: str
    stage: Stage
    slot: str = ""
    """`A` or `B`, once there is one."""

    variant: str = ""
    reason: str = ""
    """Why a release was refused, failed or rolled back: an error's code and text."""

    received: int = 0
    """Bytes of the variant that are verified on disk."""

    total: int = 0
    at: float = 0.0


class ShadowReport(msgspec.Struct, frozen=True, kw_only=True):
    """What challenger and champion answered to the same live inputs, in one window of one pipeline.

    Counts only: which inputs, and what was said of each, stays on the device.
    """

    pipeline: str
    model: str
    release: str
    """The challenger."""

    champion: str
    """The release that served meanwhile; a window never spans two."""

    since: float
    until: float
    inputs: int
    """Inputs that both have answered."""

    skipped: int = 0
    """Inputs that the challenger was spared, for its budget."""

    errors: int = 0
    """Inputs that the champion answered and the challenger could not."""

    champion_errors: int = 0
    """Inputs that the challenger answered and the champion could not."""

    agreed: int = 0
    """Inputs on which both said the same."""

    both_right: int = 0
    """Of the inputs whose label has come since the last report: both were right; the next three are the others."""

    only_challenger: int = 0
    only_champion: int = 0
    both_wrong: int = 0

    confidence: dict[int, int] = {}
    """Paired difference of confidence, challenger less champion, rounded down to twentieths (-20 to 20) → inputs."""

    latency_ms: bytes = b""
    """KLL sketch of the challenger's milliseconds for a batch; see `shared.sketch`."""

    champion_latency_ms: bytes = b""
    classes: dict[str, int] = {}
    """The challenger's predictions per class name."""

    champion_classes: dict[str, int] = {}
    temperature_c: float | None = None
    """Hottest thermal zone of the device in the window; None where it has none."""

    memory_mib: float | None = None
    """Most memory of the challenger's process; None where it has none of its own."""


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """Chunks of a blob that a device lacks."""

    digest: str
    indices: list[int]
    forms: list[str] = []
    """Ways of encoding that the device can read (`shared.forms`); none for plain bytes on the plain topics."""

    base: str = ""
    """Blob that the device holds, against which chunks may be sent as what changed; empty for none."""


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """Retained and unsigned: only says that newer signed metadata exists."""

    timestamp: int
    """Version of the TUF timestamp to expect."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's request to one device."""

    id: str
    name: str
    """`report` (send everything now) so far."""
