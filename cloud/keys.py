"""Opens what the settings say of keys and secrets: rings by role, the Vault behind some of them, the passphrase."""

from __future__ import annotations

from pathlib import Path

from cloud.devices.authority import Authority
from cloud.release.keys import FileKeys, KeyRing
from cloud.release.reseal import reseal, sealed_files
from cloud.release.rings import GROUPS, KeysByRole, Ring
from cloud.release.sealed import Sealer
from cloud.settings import Settings
from cloud.vault import REFERENCE, Vault, VaultAddress
from shared.clock import Clock, SystemClock
from shared.durable import read_if_present, write_atomic
from shared.errors import RefusedError


def open_keys(settings: Settings, *, sealer: Sealer, vault: Vault | None = None) -> KeyRing:
    """The signing keys, each in the ring of its role.

    Args:
        settings: what the coordinator was told.
        sealer: opens those that are files.
        vault: for those on a server; made from the settings when None.

    Raises:
        RefusedError: the settings of a ring are not complete.
    """
    chosen = {name: getattr(settings.keys, name) or settings.keys.default for name in GROUPS}
    rings: dict[str, KeyRing] = {Ring.FILE: FileKeys(settings.layout.keys, sealer=sealer)}
    wanted = {settings.keys.default, *chosen.values()}
    if Ring.VAULT in wanted:
        rings[Ring.VAULT] = _vault_keys(settings, vault)
    if Ring.PKCS11 in wanted:
        rings[Ring.PKCS11] = _token_keys(settings)
    if wanted == {Ring.FILE}:
        return rings[Ring.FILE]
    return KeysByRole({name: rings[ring] for name, ring in chosen.items()}, default=rings[settings.keys.default])


def open_vault(settings: Settings, *, clock: Clock | None = None) -> Vault:
    """The way to the server; it is not asked anything yet.

    Raises:
        RefusedError: the settings do not say where it is or who we are there.
    """
    told = settings.vault
    missing = [name for name in ("url", "role_id_file", "secret_id_file") if not getattr(told, name)]
    if missing:
        raise RefusedError(
            f"the settings want a Vault, and [vault] does not say {', '.join(missing)}",
            hint="Complete it; docs/operators.md shows all of it in the section on keys.",
        )
    if not told.url.startswith(("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:")):
        raise RefusedError(f"a Vault at {told.url} would be given our token in the clear", hint="Use https://.")
    return Vault(
        VaultAddress(
            url=told.url.rstrip("/"),
            role_id=Path(told.role_id_file),
            secret_id=Path(told.secret_id_file),
            ca=Path(told.ca_file) if told.ca_file else None,
            namespace=told.namespace,
            login_mount=told.login_mount,
            deadline_s=told.deadline_s,
        ),
        clock=clock or SystemClock(),
    )


def open_authority(settings: Settings, *, sealer: Sealer, vault: Vault | None = None) -> Authority:
    """Who certifies devices and servers.

    Raises:
        FaultError: there is none yet.
        RefusedError: the passphrase is wrong, or the settings are not complete.
    """
    place = settings.layout.authority
    if settings.keys.authority == "file":
        return Authority.open(place, sealer=sealer)
    from cloud.devices.vault_pki import VaultIssuer

    return Authority(VaultIssuer.open(place, vault=vault or open_vault(settings), mount=settings.vault.pki_mount))


def make_authority(settings: Settings, *, sealer: Sealer, at: float) -> Authority:
    """Make the authority, or note the one that the settings' Vault has; for a directory that has none.

    Raises:
        RefusedError: as `open_authority`, or the Vault has none.
        TransportError: the Vault does not answer.
    """
    place = settings.layout.authority
    if settings.keys.authority == "file":
        return Authority.create(place, name=settings.identity.tenant, sealer=sealer, at=at)
    from cloud.devices.vault_pki import VaultIssuer

    return Authority(VaultIssuer.adopt(place, vault=open_vault(settings), mount=settings.vault.pki_mount))


def uses_vault(settings: Settings) -> bool:
    """Whether anything that is signed needs the server."""
    keys = settings.keys
    return Ring.VAULT in {keys.default, keys.authority, *(getattr(keys, name) for name in GROUPS)}


def passphrase(settings: Settings) -> bytes:
    """Opens the sealed files.

    Raises:
        RefusedError: there is none.
        TransportError: the Vault that has it does not answer.
    """
    told = settings.secrets.passphrase_file
    if told.startswith(REFERENCE):
        return open_vault(settings).secret(told).encode()
    held = read_if_present(settings.passphrase_file)
    if not held or not held.strip():
        raise RefusedError(
            f"no passphrase in {settings.passphrase_file}",
            hint="Set HINTERLAND_SECRETS_PASSPHRASE_FILE, or run `hinterland-coordinator init`.",
        )
    return held.strip()


def change_passphrase(settings: Settings, fresh: Path) -> list[Path]:
    """Seal every file anew with the passphrase in `fresh`, and then put that into its place; may be run again.

    Returns:
        The files that were changed.

    Raises:
        RefusedError: there is no new passphrase, or a file opens with neither; nothing was changed.
        FaultError: the disk failed; run it again.
    """
    layout, held = settings.layout, (read_if_present(fresh) or b"").strip()
    if settings.secrets.passphrase_file.startswith(REFERENCE):
        raise RefusedError(
            "the passphrase is in a Vault, and only its own people change it there",
            hint="For this command give it as a file (HINTERLAND_SECRETS_PASSPHRASE_FILE); then write the new there.",
        )
    if not held:
        raise RefusedError(f"there is no new passphrase in {fresh}", hint="Write 128 random bits there, mode 0600.")
    old = passphrase(settings)
    files = sealed_files(layout.keys, layout.authority)
    if fresh.resolve() == settings.passphrase_file.resolve():
        raise RefusedError(f"{fresh} is where the present passphrase is", hint="Write the new one into another file.")
    changed = reseal(files, old=Sealer(old), new=Sealer(held))
    if old != held:
        write_atomic(settings.passphrase_file, held, mode=0o600)  # last: until now the old one was needed
    return changed


def control_token(settings: Settings) -> str:
    """Opens every door of the SuperLink.

    Raises:
        RefusedError: there is none.
        TransportError: the Vault that has it does not answer.
    """
    if settings.secrets.control_token.startswith(REFERENCE):
        return open_vault(settings).secret(settings.secrets.control_token)
    held = read_if_present(settings.layout.control_token)
    if not held:
        raise RefusedError(
            f"no control token in {settings.layout.control_token}", hint="Run `hinterland-coordinator init`."
        )
    return held.decode().strip()


def _vault_keys(settings: Settings, vault: Vault | None) -> KeyRing:
    from cloud.release.vault import VaultKeys

    return VaultKeys(vault or open_vault(settings), mount=settings.vault.transit_mount)


def _token_keys(settings: Settings) -> KeyRing:
    from cloud.release.pkcs11 import Pkcs11Keys, Token, pin_source

    told = settings.pkcs11
    if not told.module:
        raise RefusedError(
            "the settings want keys on a token, and [pkcs11] names no module",
            hint="Name the token's library, for example /usr/lib/softhsm/libsofthsm2.so.",
        )
    pin = pin_source(Path(told.pin_file) if told.pin_file else None)
    return Pkcs11Keys(Token(Path(told.module), told.token, told.slot), pin=pin)
