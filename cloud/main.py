"""`hinterland-coordinator`: set up a coordinator, run it, and run the processes that it works with."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from shared.errors import HinterlandError, RefusedError

EPILOG = """
Examples:

  hinterland-coordinator init --dir /var/lib/hinterland-coordinator --fleet lab

  hinterland-coordinator serve --dir /var/lib/hinterland-coordinator

  hinterland-coordinator superlink --dir /var/lib/hinterland-coordinator

  mosquitto -c /var/lib/hinterland-coordinator/broker/mosquitto.conf
"""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run Hinterland's coordinator.",
    epilog=EPILOG,
)

Directory = Annotated[Path | None, typer.Option("--dir", help="The coordinator's directory [HINTERLAND_DIR].")]


@app.command()
def init(  # noqa: PLR0917  typer makes options of them, which have names
    directory: Directory = None,
    tenant: Annotated[str | None, typer.Option(help="Whose coordinator this is.")] = None,
    fleet: Annotated[list[str] | None, typer.Option(help="A fleet to sign for; may be repeated.")] = None,
    host: Annotated[str | None, typer.Option(help="Address that API, broker and SuperLink listen on.")] = None,
    public_host: Annotated[str | None, typer.Option(help="Name under which devices reach the API.")] = None,
    api_port: Annotated[int | None, typer.Option(help="Port of the API.")] = None,
    broker_port: Annotated[int | None, typer.Option(help="Port of the MQTT broker.")] = None,
    superlink_port: Annotated[int | None, typer.Option(help="Port of the SuperLink.")] = None,
    unless_busy: Annotated[
        bool, typer.Option("--unless-busy", help="Do nothing, and end well, while others work on a complete directory.")
    ] = False,
) -> None:
    """Make the directory: authority, keys, repository, certificates, broker configuration, first API key.

    Running it again completes what is missing and adds fleets; keys and certificates that are there stay.
    """
    with _one_line():
        from cloud.serve import is_busy, only_one
        from cloud.settings import directory_from, make_settings
        from cloud.setup import set_up
        from shared.clock import SystemClock

        place = (directory or directory_from(os.environ)).absolute()
        document = _told(
            place,
            identity={"tenant": tenant, "fleets": fleet},
            api={"host": host, "public_host": public_host, "port": api_port},
            broker={"host": host, "port": broker_port},
            superlink={"host": host, "port": superlink_port},
        )
        settings = make_settings(document, os.environ, directory=place)
        place.mkdir(parents=True, exist_ok=True)
        if unless_busy and settings.layout.profile.exists() and is_busy(settings):
            typer.echo(f"{place} is complete, and others work on it: nothing was done")
            return
        with only_one(settings):
            made = set_up(settings, clock=SystemClock(), account=_account())
        for part in made:
            typer.echo(f"made: {part}")
        typer.echo(f"{place} is ready. API {settings.url}; operators: hinterland --profile {settings.layout.profile}")


@app.callback()
def private() -> None:
    """Run Hinterland's coordinator."""
    os.umask(0o077)  # state and keys are this account's alone; what others may read says so where it is written


@app.command()
def serve(directory: Directory = None) -> None:
    """Serve the API, talk to devices, and keep the loop going. SIGTERM and Ctrl-C stop it."""
    with _one_line():
        _log()
        from cloud.serve import serve as serve_forever
        from cloud.settings import read_settings

        serve_forever(read_settings(_place(directory), os.environ))


@app.command()
def superlink(directory: Directory = None) -> None:
    """Serve Flower's SuperLink behind our doors. SIGTERM and Ctrl-C stop it."""
    with _one_line():
        _log()
        from cloud.keys import control_token
        from cloud.settings import read_settings
        from cloud.training.superlink import SuperLinkSettings
        from cloud.training.superlink import serve as serve_superlink

        settings = read_settings(_place(directory), os.environ)
        layout = settings.layout
        serve_superlink(
            SuperLinkSettings(
                host=settings.superlink.listen or settings.superlink.host,
                port=settings.superlink.port,
                certificate=layout.certificate("superlink"),
                key=layout.key("superlink"),
                ca=layout.ca,
                database=layout.superlink_database,
                control_token=control_token(settings),
            )
        )


@app.command(name="broker-reload")
def broker_reload(
    directory: Directory = None,
    once: Annotated[bool, typer.Option(help="Look once, and end with status 1 if nothing was to be told.")] = False,
) -> None:
    """Beside a broker in a container: have it read its lists and certificate again when they change.

    For `[broker] reload = "watch"`, where the coordinator and the broker share files but no processes. SIGTERM ends it.
    """
    with _one_line():
        _log()
        from cloud.devices.reload import LOOK_S, Reload
        from cloud.layout import Layout

        watch = Reload(Layout(_place(directory)).broker)
        if once:
            raise typer.Exit(not watch.look())
        while True:
            watch.look()
            time.sleep(LOOK_S)


@app.command()
def job(
    place: Annotated[Path, typer.Argument(help="Directory of the job, with its spec.json or order.json.")],
    kind: Annotated[str, typer.Option(help="run, warm-start or evaluation.")] = "run",
    directory: Directory = None,
) -> None:
    """Carry out one job: a federated run, first weights, an evaluation.

    The coordinator starts this, and again after a crash.
    """
    with _one_line():
        _log()
        from cloud.jobs.hold import hold

        with hold(place):
            said = _work(kind, place, directory)
        typer.echo(said)


def _work(kind: str, place: Path, directory: Path | None) -> str:
    """Do it, and say what came of it in one line."""
    from shared.clock import SystemClock

    match kind:
        case "run":
            from cloud.settings import read_settings
            from cloud.training.job import run_job
            from cloud.wiring import superlink_address

            return run_job(place, superlink_address(read_settings(_place(directory), os.environ))).summary
        case "warm-start":
            from cloud.central.warm import make_first_weights

            made = make_first_weights(place, clock=SystemClock())
            return f"first weights {made.digest} from {made.examples} examples, accuracy {made.accuracy:.3f}"
        case "evaluation":
            from cloud.central.evaluate import evaluate

            return evaluate(place, clock=SystemClock()).summary
        case _:
            raise RefusedError(f"there is no job of kind {kind[:20]!r}", hint="Say run, warm-start or evaluation.")


@app.command()
def engines(  # noqa: PLR0917  typer makes options of them, which have names
    model: Annotated[Path, typer.Argument(help="Float ONNX file, weights inside.")],
    inputs: Annotated[Path, typer.Option(help="NPZ with float arrays `calibration` and `holdout`, each [n, …].")],
    out: Annotated[Path, typer.Option(help="Directory for the files, the builds and files.json.")],
    target: Annotated[list[str], typer.Option(help="For example cpu-int8, openvino-fp32, sm86-fp16; repeatable.")],
    kind: Annotated[str, typer.Option(help="classification or detection.")] = "classification",
    timeout: Annotated[float, typer.Option(help="Seconds that one build may take.")] = 900.0,
) -> None:
    """Make a model's files for other hardware, run them where that can be done here, and label them.

    files.json is the `files` of POST /v1/releases; what was not made or failed is not in it. Ends with status 1 then.
    """
    with _one_line():
        from cloud.models.engines.command import make

        raise typer.Exit(
            make(model, inputs=inputs, out=out, names=target, kind=kind, deadline_s=timeout, say=typer.echo)
        )


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    directory: Directory = None,
    role: Annotated[list[str] | None, typer.Option(help="viewer, operator, release-manager or admin [admin].")] = None,
    fleet: Annotated[list[str] | None, typer.Option(help="Where the role counts; may be repeated [all].")] = None,
) -> None:
    """Make an API key and print it once; for whoever has lost every other one."""
    with _one_line():
        from cloud.access.keys import create
        from cloud.settings import read_settings
        from cloud.setup import open_state
        from shared.clock import SystemClock

        database = open_state(read_settings(_place(directory), os.environ))
        typer.echo(create(database, name, at=SystemClock().now(), roles=role or ["admin"], fleets=fleet or ["*"]))


@app.command()
def policy(directory: Directory = None) -> None:
    """Check the access policy; ends with status 1 if it is broken."""
    with _one_line():
        from cloud.access.policy import DEFAULT, parse
        from cloud.layout import Layout
        from shared.durable import read_if_present

        path = Layout(_place(directory)).policy
        data = read_if_present(path)
        parse(DEFAULT if data is None else data.decode(errors="replace"))
        typer.echo(f"{path}: good" if data is not None else f"{path} is not there: the default counts, and is good")


@app.command()
def reseal(
    passphrase_file: Annotated[Path, typer.Option(help="File with the new passphrase.")], directory: Directory = None
) -> None:
    """Change the passphrase of all sealed keys; run it again if it was interrupted."""
    with _one_line():
        from cloud.keys import change_passphrase
        from cloud.serve import only_one
        from cloud.settings import read_settings

        settings = read_settings(_place(directory), os.environ)
        with only_one(settings):
            changed = change_passphrase(settings, passphrase_file)
        typer.echo(f"{len(changed)} files are sealed anew, and {settings.passphrase_file} has the new passphrase")


def main() -> None:
    """Entry point of the console script."""
    app()


def _place(directory: Path | None) -> Path:
    from cloud.settings import directory_from

    return (directory or directory_from(os.environ)).absolute()


def _told(place: Path, **groups: dict[str, object]) -> dict[str, dict[str, object]]:
    """What the directory's file says, if there is one, and the options over it."""
    import msgspec

    from cloud.layout import Layout
    from cloud.settings import read_settings

    document: dict[str, dict[str, object]] = {}
    if Layout(place).settings.exists():
        document = msgspec.to_builtins(read_settings(place, {}))
        document.pop("directory")
    for group, values in groups.items():
        given = {name: value for name, value in values.items() if value not in (None, [])}
        document[group] = {**document.get(group, {}), **given}
    return document


def _account() -> str:
    """The account that owns the directory's files, which the broker must be able to read."""
    import getpass

    return getpass.getuser()


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "alembic", "aiomqtt", "uvicorn", "tuf"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextmanager
def _one_line() -> Iterator[None]:
    """Show our own errors as one line with its remedy."""
    try:
        yield
    except HinterlandError as error:
        _fail(f"{str(error).rstrip('.')}." + (f" Remedy: {error.hint}" if error.hint else ""))
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] in ("cloud", "shared"):
            raise
        _fail(f"the package {error.name} is missing. Remedy: pip install 'hinterland[coordinator]'")
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or ''}. Remedy: check space and rights of the disk.")


def _fail(line: str) -> NoReturn:
    typer.echo(f"hinterland-coordinator: {line}", err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    main()
