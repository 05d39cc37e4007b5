"""`hinterland-agent`: what runs on a device."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
from pathlib import Path

import typer

from edge import settings as conf
from edge.identity import Identity
from edge.operate.commands import register
from edge.operate.systemd import Notifier
from edge.serving.commands import app as tokens
from edge.terminal import CONFIG, Config, guarded
from shared.errors import RefusedError

GONE_S = 25.0
"""After SIGTERM the process is gone within this time: what is in work has ended long before, or never will."""

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Hinterland's agent on this device.")


@app.command(epilog="Example:  hinterland-agent run --config /etc/hinterland/agent.toml")
def run(config: Config = CONFIG) -> None:
    """Enrol if needed, then serve, infer, report and follow the fleet until stopped by SIGTERM."""
    guarded(lambda: asyncio.run(_serve(config)))


@app.command(epilog="Example:  hinterland-agent enrol --config /etc/hinterland/agent.toml")
def enrol(config: Config = CONFIG) -> None:
    """Make this device's key, and exchange the enrolment token for a certificate."""
    guarded(lambda: _enrol(conf.read(config)))


@app.command(epilog="Example:  hinterland-agent key --config /etc/hinterland/agent.toml")
def key(config: Config = CONFIG) -> None:
    """Make this device's key if there is none, and print its fingerprint, for a token that no other key can use."""
    guarded(lambda: print(_fingerprint(conf.read(config))))


@app.command(hidden=True)
def trainer(config: Config = CONFIG) -> None:
    """Take part in federated runs; started and restarted by `run`."""
    guarded(lambda: _train(conf.read(config)))


register(app)
app.add_typer(tokens, name="token")


def main() -> None:
    """Console script."""
    app()


async def _serve(config: Path) -> None:
    settings = conf.read(config)
    _log(settings)
    faulthandler.enable()  # systemd's watchdog ends a hang with SIGABRT: every thread then says where it is
    notifier = Notifier.from_environment(os.environ)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if not stop.is_set():
            faulthandler.dump_traceback_later(GONE_S, exit=True)  # whatever hangs, also a thread nobody waits for
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    identity = await asyncio.to_thread(_enrol, settings)

    from edge.wiring import build

    await build(settings, identity, config=config, notifier=notifier).run(stop)


def _enrol(settings: conf.Settings) -> Identity:
    from edge.facts import LinuxFacts
    from edge.identity import enrol
    from edge.wiring import ways_of

    directory = settings.state / "identity"
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if Identity.exists(directory):
        return Identity.load(directory)
    if not settings.agent.token_file:
        raise RefusedError(
            "this device has no identity and no token",
            hint="Get a token with `hinterland token create`, and name its file as agent.token_file.",
        )
    token = Path(settings.agent.token_file).read_text().strip()
    runtimes = [str(each) for each in ways_of(settings, LinuxFacts()).runtimes]
    return enrol(directory, token=token, hardware=settings.agent.hardware, runtimes=runtimes)


def _fingerprint(settings: conf.Settings) -> str:
    from edge.identity.keys import ensure_key, fingerprint

    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return fingerprint(ensure_key(settings.state / "identity"))


def _train(settings: conf.Settings) -> None:
    _log(settings)

    from edge.training.policy import SitePolicy
    from edge.training.trainer import TrainerSettings, run_trainer
    from shared.task_compute import Compute, Precision

    owner = settings.training.policy
    identity = Identity.load(settings.state / "identity")
    run_trainer(
        TrainerSettings(
            device=identity.device,
            superlink=identity.superlink,
            ca=identity.authority_file,
            key=identity.key_file,
            data=settings.data,
            metered=settings.link.metered,
            policy=SitePolicy(
                tasks=tuple(owner.tasks),
                models=tuple(owner.models),
                purposes=tuple(owner.purposes),
                refuse=tuple(owner.refuse),
                hours=tuple(owner.hours),
            ),
            compute=Compute(device=settings.training.device, precision=Precision(settings.training.precision)),
        )
    )


def _log(settings: conf.Settings) -> None:
    logging.basicConfig(
        level=settings.agent.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


if __name__ == "__main__":
    main()
