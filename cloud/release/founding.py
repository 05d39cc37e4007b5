"""Make a tenant's repository and keys, the offline ones away from the coordinator's machine from their first moment."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cloud.layout import Layout
from cloud.release.carried import carry_away
from cloud.release.place import open_with_offline
from cloud.release.repository import Repository
from cloud.serve import only_one
from cloud.settings import Settings, make_settings, read_settings, render_settings
from cloud.vault import REFERENCE
from shared.clock import SystemClock
from shared.durable import make_directory, write_atomic
from shared.errors import RefusedError


def found(
    directory: Path, *, tenant: str | None, fleets: list[str] | None, offline: Path | None, passphrase: Path | None
) -> list[str]:
    """Make what is missing and carry the offline keys away; say what was done.

    Raises:
        RefusedError: a coordinator works on the directory while its repository is still to be made, or an offline
            key is needed that is not here.
        FaultError: a disk failed.
    """
    settings, said = _settings(directory, tenant, fleets), []
    layout = settings.layout
    if not Repository.exists(layout.tuf):
        for private in (layout.directory, layout.keys):
            make_directory(private, mode=0o700)
        with only_one(settings):
            said += _make(settings, offline=offline, passphrase=passphrase)
    keys = open_with_offline(settings, offline=offline, passphrase=passphrase)
    repository = Repository.open(layout.tuf, keys=keys, clock=SystemClock())
    for fleet in settings.identity.fleets:
        if fleet not in repository.fleets():
            repository.add_fleet(fleet)
            said.append(f"made: the role of fleet {fleet}")
    if offline is not None and passphrase is None and (moved := carry_away(layout.keys, offline)):
        said.append(f"carried to {offline}: {', '.join(moved)}")
    return [*said, _advice(layout, offline)]


def _make(settings: Settings, *, offline: Path | None, passphrase: Path | None) -> list[str]:
    layout = settings.layout
    if not settings.secrets.passphrase_file.startswith(REFERENCE) and not settings.passphrase_file.exists():
        write_atomic(settings.passphrase_file, secrets.token_urlsafe(32).encode(), mode=0o600)
    if not layout.settings.exists():
        write_atomic(layout.settings, render_settings(settings).encode())
    keys = open_with_offline(settings, offline=offline, passphrase=passphrase)
    Repository.create(layout.tuf, keys=keys, tenant=settings.identity.tenant, clock=SystemClock())
    return [f"made: release repository of {settings.identity.tenant}, root 2 of 3 and targets 1 of 2 offline"]


def _settings(directory: Path, tenant: str | None, fleets: list[str] | None) -> Settings:
    told = {"tenant": tenant, "fleets": fleets}
    if not Layout(directory).settings.exists():
        identity = {name: value for name, value in told.items() if value}
        return make_settings({"identity": identity}, os.environ, directory=directory)
    settings = read_settings(directory, os.environ)
    if tenant not in (None, settings.identity.tenant):
        raise RefusedError(f"{directory} is the directory of {settings.identity.tenant}", hint="Choose another.")
    if set(fleets or ()) - set(settings.identity.fleets):
        raise RefusedError(
            f"{directory} does not name these fleets", hint="Add them: `hinterland-coordinator init --fleet …`."
        )
    return settings


def _advice(layout: Layout, offline: Path | None) -> str:
    here = sorted(path.stem for path in (layout.keys / "offline").glob("*.key"))
    if here:
        return f"still on this machine: {', '.join(here)}; carry them away: `--offline-dir`"
    return f"take {offline} away, and keep a copy of it elsewhere" if offline else "the offline keys are not here"
