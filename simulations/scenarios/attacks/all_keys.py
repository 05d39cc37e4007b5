"""Family `all`: every online key is stolen at once, and what a device still refuses by itself.

Who holds the keys of releases, fleet, snapshot and timestamp makes a device fetch what it likes; without the model
key it is not staged, and with it, it is still looked at before any runtime is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cloud.release.keys import FileKeys
from cloud.release.modelsig import MODEL_SIGNING, sign_models
from cloud.release.sealed import Sealer
from shared.bundle import FleetDesired, Release
from simulations.scenarios.attacks import models
from simulations.scenarios.attacks.forging import Forger, forged_release, manifest_of
from simulations.scenarios.attacks.ground import MITM, Ground
from simulations.scenarios.attacks.middle import MODEL, Middle, settled
from simulations.scenarios.attacks.row import Attack, Seen, Threat

FLEET = f"fleet-{MITM}"
STOLEN = ("timestamp", "snapshot", "releases", FLEET)


def attacks(ground: Ground) -> Iterator[Attack]:
    """One victim; the coordinator's versions pass the forged ones after each attack."""
    middle = Middle(ground, "all-1")
    middle.open()
    canary = ground.world.directory / "unpickled-by-a-device"
    try:
        for name, threat, done, data, model_key in _files(canary):
            yield Attack(
                name=name,
                threat=threat,
                victim="device",
                done=done,
                control="what the coordinator signs next with the same keys: fetched, tried and served",
                act=_forging(middle, data, canary, model_key=model_key),
            )
    finally:
        middle.close()


def _files(canary: Path) -> Iterator[tuple[str, Threat, str, bytes, bool]]:
    four = "signed with the keys of releases, fleet, snapshot and timestamp"
    five = f"{four}, and with the model key"
    yield "model-key-missing", Threat.RELEASE_KEY, f"{four} a good model of the attacker's", models.honest(13), False
    yield "external-data", Threat.ONNX, f"{five}, a model with a tensor in ../../identity", _with(models.outside), True
    yield "custom-operator", Threat.ONNX, f"{five}, a model with its own operator", _with(models.custom_operator), True
    yield "oversize-tensor", Threat.ONNX, f"{five}, a model that says a terabyte", _with(models.huge_tensor), True
    yield (
        "session-options",
        Threat.ONNX,
        f"{five}, a model that asks for a library",
        _with(models.session_options),
        True,
    )
    yield "pickle", Threat.ONNX, f"{five}, a pickled program", models.pickled(canary), True
    yield "gzip-bomb", Threat.BOMB, f"{five}, an archive of 256 MiB of zeros", models.bomb(), True


def _with(change: Callable[[object], None]) -> bytes:
    return models.altered(99, change)


def _forging(middle: Middle, data: bytes, canary: Path, *, model_key: bool) -> Callable[[], Seen]:
    def act() -> Seen:
        release, honest = middle.ship()
        if not middle.accepts(release, honest):
            return Seen(refused=False, accepted=False, observed=f"{release} was never served")
        evil = _evil(middle, manifest_of(honest, release), data, model_key=model_key)
        forger = Forger(middle.ground.world.layout, honest, *STOLEN)
        forger.lead_to("releases", forger.name_release("releases", evil))
        forger.lead_to(FLEET, forger.want(MITM, FleetDesired(fleet=MITM, default={MODEL: evil.id})))
        since, asked = settled(middle, quiet_s=0.1), len(middle.asked)
        middle.show(forger.files)
        error = middle.refusal(since)
        kept, sent = middle.active == release, len(middle.asked) - asked
        middle.ship()
        return Seen(
            refused=bool(error) and kept and not canary.exists(),
            error=error,
            observed=f"serves {middle.active} (before: {release}); {sent} chunks of the forged model were sent",
            accepted=middle.accepts(*middle.ship()),
        )

    return act


def _evil(middle: Middle, template: Release, data: bytes, *, model_key: bool) -> Release:
    """The next release, with the attacker's bytes, and the model's signature if its key was stolen too."""
    evil = forged_release(MODEL, template.counter + 1, data, template)
    middle.ground.blobs[evil.variants[0].digest] = data
    if not model_key:
        return evil
    layout = middle.ground.world.layout
    ring = FileKeys(layout.keys, sealer=Sealer(layout.passphrase.read_bytes().strip()))
    return sign_models(evil, ring.signer(MODEL_SIGNING))
