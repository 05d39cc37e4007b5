"""Family `models`: what an operator may be talked into importing, and what is not made for the device.

Each file takes the whole honest way: it is uploaded, signed by the coordinator, rolled out and downloaded. If the
coordinator does not refuse it, the device must.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from simulations.scenarios.attacks import models
from simulations.scenarios.attacks.ground import PIT, Ground
from simulations.scenarios.attacks.row import Attack, Seen, Threat

DEVICE = "pit-1"
ENDED = ("active", "refused", "failed", "rolled-back")


def attacks(ground: Ground) -> Iterator[Attack]:
    """One device, which pursues every model line that its fleet is given."""
    ground.enrol(DEVICE, fleet=PIT)
    agent = ground.agent(DEVICE)
    agent.start()
    canary = ground.world.directory / "unpickled"
    try:
        for name, threat, done, data in _files(canary):
            yield Attack(
                name=name,
                threat=threat,
                victim="coordinator and device",
                done=done,
                control="an honest model of the same line: signed, fetched, tried and served",
                act=_shipping(ground, f"pit-{name}", data, canary),
            )
        for name, done, target in _targets():
            yield Attack(
                name=name,
                threat=Threat.HARDWARE,
                victim="device",
                done=done,
                control="the same line's next release, made for the device's own: served",
                act=_misdirecting(ground, f"pit-{name}", target),
            )
    finally:
        agent.kill()


def _files(canary: Path) -> Iterator[tuple[str, Threat, str, bytes]]:
    onnx = Threat.ONNX
    yield "external-data", onnx, "imported a model with a tensor in ../../identity", models.altered(1, models.outside)
    yield (
        "custom-operator",
        onnx,
        "imported a model with an operator of its own",
        models.altered(2, models.custom_operator),
    )
    yield (
        "session-options",
        onnx,
        "imported a model that asks for a shared library",
        models.altered(3, models.session_options),
    )
    yield (
        "oversize-tensor",
        onnx,
        "imported a model that says a terabyte of weights",
        models.altered(4, models.huge_tensor),
    )
    yield "pickle", onnx, "imported a pickled program as a model", models.pickled(canary)
    yield "gzip-bomb", Threat.BOMB, "imported an archive of 256 MiB of zeros as a model", models.bomb()
    yield "tar", Threat.BOMB, "imported a tar with a file that wants to lie in ../../identity", models.archive()


def _targets() -> Iterator[tuple[str, str, dict[str, object]]]:
    yield "wrong-hardware", "released a variant for sm87 alone to a device with a CPU", {"hardware": ["sm87"]}
    yield "wrong-runtime", "released a variant for TensorRT alone to a device without", {"runtime": "tensorrt"}


def _shipping(ground: Ground, line: str, data: bytes, canary: Path) -> Callable[[], Seen]:
    def act() -> Seen:
        refused, error, where = _ship(ground, line, data)
        ended, _, _ = _ship(ground, line, models.honest(900 + len(line)))
        return Seen(
            refused=refused != "active" and not canary.exists(),
            error=error,
            observed=f"refused by the {where}; no canary of the file's own",
            accepted=ended == "active",
        )

    return act


def _misdirecting(ground: Ground, line: str, target: dict[str, object]) -> Callable[[], Seen]:
    def act() -> Seen:
        stage, error, where = _ship(ground, line, models.honest(800 + len(line)), **target)
        ended, _, _ = _ship(ground, line, models.honest(801 + len(line)))
        return Seen(
            refused=stage == "refused", error=error, observed=f"refused by the {where}", accepted=ended == "active"
        )

    return act


def _ship(ground: Ground, line: str, data: bytes, **target: object) -> tuple[str, str, str]:
    """Import and roll out; return (how it ended, the reason, who decided)."""
    mark = ground.mark()
    try:
        release = ground.release(line, data, **target)  # type: ignore[arg-type]  # two keywords of `release`
    except httpx.HTTPStatusError as error:
        return "refused", error.response.text, "coordinator"
    ground.roll_out(release, fleet=PIT)
    status = ground.wait_status(DEVICE, *ENDED, release=release, after=mark)
    return str(status.stage), status.reason, "device"
