"""May this device run this release? Pure rules over proven documents."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from shared.bundle import Release, Runtime, Variant, choose
from shared.errors import TrustError
from shared.trust.marks import Marks
from shared.trust.modelsig import check_variant
from shared.trust.names import variant_path


class SignedTarget(Protocol):
    """What the releases role says of one file; python-tuf's `TargetFile` is one."""

    @property
    def length(self) -> int:
        """Bytes."""
        ...

    @property
    def hashes(self) -> dict[str, str]:
        """Algorithm → hexadecimal digest."""
        ...

    @property
    def custom(self) -> Any:  # foreign JSON, compared and never interpreted
        """What the signer added."""
        ...


def custom(release: Release, variant: Variant) -> dict[str, Any]:
    """What the releases role signs beside a variant's digest and length."""
    return {
        "counter": release.counter,
        "model": release.model,
        "hardware": sorted(variant.hardware),
        "runtime": str(variant.runtime),
    }


def check_variants(release: Release, targets: Mapping[str, SignedTarget]) -> None:
    """Hold the manifest against what was signed of each variant on its own.

    Args:
        release: decoded from bytes that the releases role signed.
        targets: the target list of that role.

    Raises:
        TrustError: they contradict each other; the release is refused as a whole.
    """
    for variant in release.variants:
        signed = targets.get(variant_path(release.id, variant.name))
        if signed is None:
            raise TrustError(f"variant {variant.name} of {release.id} is not signed")
        said = (signed.length, signed.hashes.get("sha256"), signed.custom)
        if said != (variant.size, variant.digest, custom(release, variant)):
            raise TrustError(f"the manifest of {release.id} contradicts what was signed of {variant.name}")


def admit(
    release: Release,
    *,
    marks: Marks,
    hardware: Collection[str],
    runtimes: Collection[Runtime],
    model_keys: Mapping[str, str],
    unexecuted: bool = False,
) -> Variant:
    """Choose the variant to download, or refuse. The caller owes the proof of the manifest's origin.

    Args:
        release: proven manifest.
        marks: what this device has accepted so far.
        hardware: facts of this device.
        runtimes: what it can execute, the preferred one first.
        model_keys: key id → PEM, from the trusted root; none in repositories from before model signatures.
        unexecuted: whether its owner admits files that nobody could run before they were signed.

    Raises:
        TrustError: the release is older than one that ran here, none of its variants is for this device, or no
            model key vouches for the one that is.
    """
    # (1) counter before hardware: a replayed release is called one, whatever it was made for
    marks.check_release(release)
    # (2) a fact of the device for both hardware and runtime
    variant = choose(release, hardware=hardware, runtimes=runtimes, unexecuted=unexecuted)
    if variant is None:
        unrun = choose(release, hardware=hardware, runtimes=runtimes, unexecuted=True)
        if unrun is not None:
            raise TrustError(
                f"{unrun.name} is the only file of {release.id} for this device, and was never executed",
                hint="Set inference.unexecuted where this device may be the first to run it.",
            )
        made_for = sorted({f"{v.runtime} on {h}" for v in release.variants for h in v.hardware})
        raise TrustError(
            f"no variant of {release.id} is for this device ({', '.join(sorted(hardware))}): "
            f"it was made for {', '.join(made_for) or 'nothing'}",
        )
    # (3) a model key, which is none of the keys that sign metadata, vouches for its bytes in this release
    check_variant(release, variant, keys=model_keys)
    return variant
