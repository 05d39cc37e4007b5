"""`hinterland trust`: key ceremonies, on the coordinator's machine and beside a running coordinator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from shared.errors import HinterlandError

EPILOG = """
Examples:

  hinterland trust init --dir /var/lib/hinterland-coordinator --fleet lab --offline-dir /media/stick

  hinterland trust rotate releases --offline-dir /media/stick

  hinterland trust revoke snapshot timestamp --reason "laptop stolen" --offline-dir /media/stick

  hinterland trust status --json
"""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make, rotate and revoke the keys that devices trust.",
    epilog=EPILOG,
)

Directory = Annotated[Path | None, typer.Option("--dir", help="The coordinator's directory [HINTERLAND_DIR].")]
Offline = Annotated[Path | None, typer.Option("--offline-dir", help="Where the offline keys are, e.g. a stick.")]
Passphrase = Annotated[
    Path | None, typer.Option("--offline-passphrase-file", help="What opens them, if not the coordinator's own.")
]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.callback()
def private() -> None:
    """Make, rotate and revoke the keys that devices trust."""
    os.umask(0o077)


@app.command()
def init(
    directory: Directory = None,
    tenant: Annotated[str | None, typer.Option(help="Whose repository this is.")] = None,
    fleet: Annotated[list[str] | None, typer.Option(help="A fleet to sign for; may be repeated.")] = None,
    offline_dir: Offline = None,
    offline_passphrase_file: Passphrase = None,
) -> None:
    """Make repository and keys, offline keys where `--offline-dir` says; complete what is there.

    Offline keys that already lie in the key store are carried there. `hinterland-coordinator init` makes the rest.
    """
    with _one_line():
        from cloud.release.founding import found

        place = _place(directory)
        for line in found(place, tenant=tenant, fleets=fleet, offline=offline_dir, passphrase=offline_passphrase_file):
            typer.echo(line)


@app.command()
def rotate(
    roles: Annotated[list[str], typer.Argument(help="root, targets, releases, fleet-ID, snapshot, timestamp, …")],
    directory: Directory = None,
    offline_dir: Offline = None,
    offline_passphrase_file: Passphrase = None,
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "planned",
) -> None:
    """Give the keys of roles successors; `model-signing` is the key that vouches for models."""
    with _one_line():
        from cloud.release import ceremonies, told
        from cloud.release.place import opened

        with opened(_place(directory), offline=offline_dir, passphrase=offline_passphrase_file) as place:
            with place.audited("trust.rotate", ", ".join(roles), reason=reason) as after:
                outcome = ceremonies.rotate(place.repository, roles)
                after.update(told.record(outcome))
            _say(told.rotated(outcome, where=place.where))


@app.command()
def revoke(
    keys: Annotated[list[str], typer.Argument(help="Stolen keys by name; or the role, where it has one key.")],
    reason: Annotated[str, typer.Option(help="What happened; for the audit log.")],
    directory: Directory = None,
    offline_dir: Offline = None,
    offline_passphrase_file: Passphrase = None,
) -> None:
    """Replace stolen keys at once; what they signed is signed again."""
    with _one_line():
        from cloud.release import ceremonies, told
        from cloud.release.place import opened
        from shared.errors import RefusedError

        if not reason.strip():
            raise RefusedError("a revocation needs a reason", hint='Say what happened: `--reason "…"`.')
        with opened(_place(directory), offline=offline_dir, passphrase=offline_passphrase_file) as place:
            with place.audited("trust.revoke", ", ".join(keys), reason=reason) as after:
                outcome = ceremonies.revoke(place.repository, keys)
                after.update(told.record(outcome))
            _say(told.revoked(outcome, where=place.where))


@app.command()
def renew(directory: Directory = None, offline_dir: Offline = None, offline_passphrase_file: Passphrase = None) -> None:
    """Sign again what has lived half of its life, with the same keys; the coordinator does so for its own."""
    with _one_line():
        from cloud.release import told
        from cloud.release.place import opened

        with opened(_place(directory), offline=offline_dir, passphrase=offline_passphrase_file) as place:
            with place.audited("trust.renew", place.settings.identity.tenant, reason="due") as after:
                renewal = place.repository.renew()
                after.update({"signed": renewal.signed} if renewal.signed else {})
            _say(told.renewed(renewal))
        if renewal.waiting:
            raise typer.Exit(1)


@app.command()
def status(directory: Directory = None, offline_dir: Offline = None, as_json: Json = False) -> None:
    """Each role's keys, version and days left; exit code 1 when something has expired."""
    with _one_line():
        import msgspec

        from cloud.release import told
        from cloud.release.place import opened
        from cloud.release.standing import standings

        with opened(_place(directory), offline=offline_dir) as place:
            found = standings(place.repository.heads(), place.where, at=place.clock.now())
        if as_json:
            typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        else:
            _say(told.table(found))
        if any(role.state == "expired" for role in found):
            raise typer.Exit(1)


def _place(directory: Path | None) -> Path:
    from cloud.settings import directory_from

    return (directory or directory_from(os.environ)).absolute()


def _say(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


@contextmanager
def _one_line() -> Iterator[None]:
    """Show our own errors as one line with its remedy."""
    try:
        yield
    except HinterlandError as error:
        _fail(f"{str(error).rstrip('.')}." + (f" Remedy: {error.hint}" if error.hint else ""))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or ''}. Remedy: check space and rights of the disk.")


def _fail(line: str) -> NoReturn:
    typer.echo(f"hinterland trust: {line}", err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
