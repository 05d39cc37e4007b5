"""Who a device is, how it speaks, updates and helps its neighbours; and the whole file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from edge.settings.inference import InferenceSettings
from edge.settings.kinds import Hours, Listen, Percent, Rate, Relay
from edge.settings.pipelines import Pipeline
from edge.settings.serving import ServingSettings
from edge.settings.sparing import SparingSettings
from edge.settings.training import TrainingSettings


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this device is and where it keeps its things."""

    state: str
    """Directory for identity, trust, outbox, models and data; made with mode 0700."""

    token_file: str = ""
    """File with the enrolment token; read only when the device has no identity yet."""

    hardware: list[str] = msgspec.field(default_factory=lambda: ["cpu"])
    """Hardware facts that a release's variants may ask for."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"


class ReportingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a device speaks."""

    telemetry_s: Rate = 10.0
    """Seconds between telemetry windows."""

    drift_inputs: int = 120
    """Inputs per drift sketch."""

    drift_rate: Rate = 50.0
    """Most inputs a second that are looked at for drift; frames milliseconds apart show the same thing."""

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

    listen: Listen = ""
    """Where this device serves its neighbours from what it holds, `host:port`; empty for not at all."""

    source: Relay | list[Relay] = msgspec.field(default_factory=list, name="from")
    """The relays of this site, `host:port`, asked in order before the coordinator is."""

    @property
    def sources(self) -> list[str]:
        """`source`, also where it is one."""
        return [self.source] if isinstance(self.source, str) else self.source


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    agent: AgentSettings
    pipelines: list[Pipeline] = []
    reporting: ReportingSettings = ReportingSettings()
    update: UpdateSettings = UpdateSettings()
    link: LinkSettings = LinkSettings()
    relay: RelaySettings = RelaySettings()
    inference: InferenceSettings = InferenceSettings()
    serving: ServingSettings = ServingSettings()
    sparing: SparingSettings = SparingSettings()
    training: TrainingSettings = TrainingSettings()

    @property
    def state(self) -> Path:
        """The agent's directory."""
        return Path(self.agent.state)

    @property
    def data(self) -> Path:
        """Where local training data lies."""
        return Path(self.training.data) if self.training.data else self.state / "data"
