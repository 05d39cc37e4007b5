"""Everything an agent can be told, read from one TOML file.

[agent]
state = "/var/lib/hinterland"
token_file = "/etc/hinterland/token"      # needed once, for enrolment

[[pipelines]]
name = "wrist"
model = "activity"
source = { kind = "replay", path = "/data/stream.npz", rate = 10.0 }
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge.relay.address import PATTERN
from shared.bundle import Runtime
from shared.errors import RefusedError

Rate = Annotated[float, msgspec.Meta(gt=0)]
Positive = Annotated[int, msgspec.Meta(gt=0)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Relay = Annotated[str, msgspec.Meta(pattern=PATTERN)]
Hours = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this device is and where it keeps its things."""

    state: str
    """Directory for identity, trust, outbox, models and data; made with mode 0700."""

    token_file: str = ""
    """File with the enrolment token; read only when the device has no identity yet."""

    hardware: list[str] = msgspec.field(default_factory=lambda: ["cpu"])
    """Hardware facts that a release's variants may ask for."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"


class ReplaySource(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="replay", forbid_unknown_fields=True
):
    """Recorded sensor windows or images, replayed as if they were live."""

    path: str
    """NPZ with `x` [n, ...] and, optionally, `phase` [n] naming the recording each window is from."""

    rate: Rate = 10.0
    """Inputs per second."""

    loop: bool = False


class VideoSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="video", forbid_unknown_fields=True):
    """A video file read frame by frame."""

    path: str
    fps: Rate = 5.0
    """Frames per second handed to the model; the rest of the file's frames are decoded and left out."""

    loop: bool = True


class Pipeline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source feeding one model."""

    name: str
    model: str
    source: ReplaySource | VideoSource
    remember: bool = False
    """Keep inputs on the device until somebody labels them, so that they can be trained on here."""

    snapshot: str = ""
    """File to which the newest picture with its detections is written; empty for none."""

    threshold: float = 0.5
    """Least score of a detection, 0 to 1."""


class ReportingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a device speaks."""

    telemetry_s: Rate = 10.0
    """Seconds between telemetry windows."""

    drift_inputs: int = 120
    """Inputs per drift sketch."""

    outbox_mib: int = 64
    """Most disk space for what is not yet acknowledged; over it the oldest goes, and is counted."""


class UpdateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the device follows its fleet's desired state."""

    check_s: Rate = 1.0
    """Seconds between looks at the signed metadata this device has received."""

    least_charge: Percent = 20.0
    """On battery, updates wait below this charge."""

    over_metered: bool = False
    """Whether updates may use a link that costs by the byte (`link.metered`)."""

    hours: list[Hours] = []
    """When updates may start, `HH:MM-HH:MM` in UTC, also over midnight; empty for always. What has begun goes on."""


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The device's way to its coordinator."""

    metered: bool = False
    """It costs by the byte: updates wait unless `update.over_metered`."""


class RelaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the devices of one site help each other."""

    listen: Relay | Literal[""] = ""
    """Where this device serves its neighbours from what it holds, `host:port`; empty for not at all."""

    source: Relay | list[Relay] = msgspec.field(default_factory=list, name="from")
    """The relays of this site, `host:port`, asked in order before the coordinator is."""

    @property
    def sources(self) -> list[str]:
        """`source`, also where it is one."""
        return [self.source] if isinstance(self.source, str) else self.source


class InferenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models run."""

    isolation: Literal["process", "none"] = "process"
    """`process`: each model in a process of its own without rights. `none`: in the agent, where a bad model can do
    what the agent can; for systems that cannot start processes."""

    threads: Positive = 1
    """Threads within one operator. Small models lose by more, and an agent has neighbours."""

    memory_mib: Positive = 512
    """Most address space for a model, beyond what Python and the runtime take; over it the model is killed."""

    load_s: Rate = 60.0
    """Seconds that starting a process, checking and loading a model may take."""

    answer_s: Rate = 5.0
    """Seconds that one batch may take; over it the model is killed."""

    runtimes: list[Runtime] = msgspec.field(default_factory=lambda: [Runtime.ONNXRUNTIME])
    """What executes models here, the preferred one first; a release's file for an earlier one is taken first."""

    unexecuted: bool = False
    """Whether files may run here that nobody could run before they were signed. Each proves itself first."""

    user: Positive = 65534
    """Uid and gid of a model's process where the agent is root; `nobody` by default."""


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this device's owner allows federated runs to do here; no server can change it."""

    tasks: list[str] = []
    """Tasks, hence data, that may be trained and judged on; `*` stands for any text. Empty for all."""

    models: list[str] = []
    """Model lines that may be trained; empty for all."""

    purposes: list[str] = []
    """Purposes that count, such as `training`; empty for all."""

    refuse: list[str] = []
    """Runs that may not, whatever the rules above say."""

    hours: list[Hours] = []
    """When a message of a run may be answered, `HH:MM-HH:MM` in UTC, also over midnight; empty for always."""


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether this device takes part in federated training."""

    enabled: bool = False
    data: str = ""
    """Directory of the local data sets, `<task>/train.npz` and `<task>/holdout.npz`; default `<state>/data`."""

    device: Annotated[str, msgspec.Meta(pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")] = "auto"
    """Where models train: `auto` (a GPU where torch can use one), `cpu`, `cuda` or `cuda:n`."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Numbers in which training multiplies: float32 on a CPU, on a GPU what it is made for."""

    policy: PolicySettings = PolicySettings()


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    agent: AgentSettings
    pipelines: list[Pipeline] = []
    reporting: ReportingSettings = ReportingSettings()
    update: UpdateSettings = UpdateSettings()
    link: LinkSettings = LinkSettings()
    relay: RelaySettings = RelaySettings()
    inference: InferenceSettings = InferenceSettings()
    training: TrainingSettings = TrainingSettings()

    @property
    def state(self) -> Path:
        """The agent's directory."""
        return Path(self.agent.state)

    @property
    def data(self) -> Path:
        """Where local training data lies."""
        return Path(self.training.data) if self.training.data else self.state / "data"


def read(path: Path) -> Settings:
    """Read and check a settings file.

    Raises:
        RefusedError: the file is missing, no TOML, or has an unknown, missing or wrong field.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Settings)
    except FileNotFoundError as error:
        raise RefusedError(
            f"no settings file {path}", hint="Give one with --config; docs/devices.md shows an example."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise RefusedError(f"{path}: {error}", hint="docs/devices.md explains each field.") from error
