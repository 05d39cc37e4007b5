"""Who plays: cameras over Fashion-MNIST at four sites, and what each one sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.task import Examples
from simulations.scenarios.cast import Stream
from simulations.world.agents import AgentSpec, Replay

FLEET, MODEL, TASK, PIPELINE = "shops", "garments", "fashion", "counter"
SITES = ("aarhus", "bergen", "cadiz", "delft")
PERIOD = 1_500
"""Pictures of one device before they come again: far more than it sees while one release is compared."""

CANARY_RATE, RATE = 20.0, 3.0
"""Pictures a second: a canary is where there is much to see."""

TELEMETRY_S = 2.0
ANSWER_S, MEMORY_MIB = 1.0, 256
"""What a model may take on these devices; a batch takes a few milliseconds, and a model a few MiB."""

PHASE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One device."""

    device: str
    site: str
    canary: bool
    stream: Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """All of them."""

    cameras: Sequence[Camera]

    @property
    def canaries(self) -> list[str]:
        """One at each site: a release that only fails in one place must not come far either."""
        return [camera.device for camera in self.cameras if camera.canary]

    @property
    def sites(self) -> dict[str, str]:
        """Device → where it stands."""
        return {camera.device: camera.site for camera in self.cameras}


def write_cast(live: Examples, directory: Path, *, devices: int, seed: int) -> Cast:
    """Draw what each device sees from `live`, and write it under `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    cameras = []
    for number in range(devices):
        site = SITES[number % len(SITES)]
        device = f"shop-{number + 1:02d}"
        chosen = random.permutation(len(live))[:PERIOD]
        path = directory / f"{device}.npz"
        np.savez(path, x=live.x[chosen], y=live.y[chosen])
        stream = Stream(path=path, labels=live.y[chosen], phases=(PHASE,), loop=True)
        cameras.append(Camera(device=device, site=site, canary=number < len(SITES), stream=stream))
    return Cast(cameras=sorted(cameras, key=lambda camera: camera.device))


def spec_of(camera: Camera, directory: Path) -> AgentSpec:
    """Its agent's settings."""
    rate = CANARY_RATE if camera.canary else RATE
    pipeline = Replay(name=PIPELINE, model=MODEL, path=camera.stream.path, rate=rate, loop=True)
    return AgentSpec(
        device=camera.device,
        state=directory / camera.device,
        data=None,
        pipelines=[pipeline],
        telemetry_s=TELEMETRY_S,
        drift_inputs=100_000,  # drift is another story
        inference={"answer_s": ANSWER_S, "memory_mib": MEMORY_MIB},
    )
