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

from edge.settings.agent import (
    AgentSettings,
    LinkSettings,
    RelaySettings,
    ReportingSettings,
    Settings,
    UpdateSettings,
)
from edge.settings.inference import InferenceSettings
from edge.settings.pipelines import Motion, Pipeline, Track
from edge.settings.reading import read
from edge.settings.sensors import Sensor
from edge.settings.serving import ServingSettings
from edge.settings.sources import Camera, ReplaySource, RtspSource, Source, V4l2Source, VideoSource
from edge.settings.sparing import SparingSettings
from edge.settings.training import PolicySettings, TrainingSettings

__all__ = [
    "AgentSettings",
    "Camera",
    "InferenceSettings",
    "LinkSettings",
    "Motion",
    "Pipeline",
    "PolicySettings",
    "RelaySettings",
    "ReplaySource",
    "ReportingSettings",
    "RtspSource",
    "Sensor",
    "ServingSettings",
    "Settings",
    "Source",
    "SparingSettings",
    "Track",
    "TrainingSettings",
    "UpdateSettings",
    "V4l2Source",
    "VideoSource",
    "read",
]
