"""What a fleet hides reaches a device with its desired state, by the same signatures, before its models serve."""

from pathlib import Path
from typing import Any

from edge.pipelines.scene.masks import FrameMask
from edge.pipelines.scene.policy import MaskKeeper
from shared.bundle import FleetDesired
from shared.masks import Mask
from tests.update_world import DEVICE, FLEET, UpdateWorld

POLICY = {"*": {"gate": [{"box": [0.0, 0.0, 0.5, 1.0]}]}}
HALF = Mask(box=(0, 0, 0.5, 1))


async def sign(world: UpdateWorld, masks: Any, **releases: str) -> None:
    world.repository.set_desired(FleetDesired(fleet=FLEET, default=releases, masks=masks))
    await world.publish()


async def test_masks_lie_before_a_model_serves_and_stay_without_a_link(
    update_world: UpdateWorld, running: Any, tmp_path: Path
) -> None:
    device = update_world.device
    keeper = MaskKeeper(tmp_path / "masks", device=DEVICE)
    mask = keeper.guard("gate", FrameMask([]))
    served: list[dict[str, str]] = []

    def accept(policy: Any) -> None:
        served.append(dict(device.serving.serving))
        keeper.accept(policy)

    device.masks = accept
    device.restart()
    async with running(*update_world.parts):
        update_world.release(1, b"model")
        await sign(update_world, POLICY, activity="activity-1")
        await device.reconciler.reconcile_once()
        assert served[0] == {}
        assert device.serving.serving == {"activity": "activity-1"}
        assert list(mask.masks) == [HALF]
        await sign(update_world, {"*": {"gate": "what a later version may say"}}, activity="activity-1")
        await device.reconciler.reconcile_once()
        assert mask.withholds
        await sign(update_world, POLICY, activity="activity-1")
        await device.reconciler.reconcile_once()
    again = MaskKeeper(tmp_path / "masks", device=DEVICE).guard("gate", FrameMask([]))
    assert list(again.masks) == list(mask.masks) == [HALF]


async def test_what_is_not_signed_changes_no_mask(update_world: UpdateWorld, running: Any, tmp_path: Path) -> None:
    """Also not by taking the policy away: with metadata that cannot be proven, what was proven last holds."""
    device = update_world.device
    keeper = MaskKeeper(tmp_path / "masks", device=DEVICE)
    mask = keeper.guard("gate", FrameMask([]))
    device.masks = keeper.accept
    device.restart()
    async with running(*update_world.parts):
        await sign(update_world, POLICY)
        await device.reconciler.look()
        files = dict(update_world.repository.files())
        forged = {
            path: data.replace(b'"gate"', b'"gone"') if path.endswith("desired.json") else data
            for path, data in files.items()
        }
        assert forged != files
        await update_world.publisher.publish(
            forged.items(), fleets=[FLEET], timestamp=update_world.repository.timestamp_version
        )
        device.restart()
        await device.reconciler.look()
    assert list(mask.masks) == [HALF]
