"""How much a job grows over rounds with a real SuperLink: TLS, Flower's objects, its database, and simple devices.

    python -m tests.benchmarks.deployed_memory CLIENTS SIZE [STRATEGY] [ROUNDS]

SIZE is the model's number of weights; growth is counted from a process that holds the model and has its channel. The
devices are real nodes with keys and connections of their own, all in one process; what each sends back are the weights
it got with some of them moved, so that no two are the same bytes.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from itertools import cycle
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from flwr.app import Message, MetricRecord, RecordDict

from cloud.training.asking import Roster
from cloud.training.channel import Channel
from cloud.training.control import FlowerControl, SuperLinkAddress
from cloud.training.events import UpdateLate
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.spec import Member, RunSpec
from cloud.training.strategy import RunStrategy
from edge.training import connection
from shared import federation as fed
from shared.clock import SystemClock
from shared.errors import RefusedError
from shared.tasks.records import Sendable, read_arrays
from tests.benchmarks.memory import growth_since, status
from tests.system.federation import TOKEN, Federation, make_key, public_pem

LIMIT_S = 840.0
MODULE = (sys.executable, "-m", "tests.benchmarks.deployed_memory")


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of rounds took."""

    growth: int
    """Bytes by which the job grew at most."""

    seconds: float
    database: list[int]
    """Bytes of the SuperLink's database, its log included, after each round."""

    late: int = 0
    """Updates that a round did not wait for, if it had a quorum."""


class Deployed:
    """A SuperLink and simple devices under `place`, in processes of their own; a context manager that ends them."""

    def __init__(self, place: Path, *, clients: int) -> None:
        self.place = place
        self._federation = Federation(place)
        try:
            self._federation.start_superlink()
            self.control = FlowerControl(self._federation.address)
            members = []
            for number in range(clients):
                key = public_pem(make_key(place / f"{number}.key"))
                members.append(Member(device=f"d-{number:04}", node=self.control.register_node(key)))
            self.flower_run = self.control.start_run()
            (place / "members").write_bytes(msgspec.json.encode(members))
            with (place / "devices.log").open("wb") as log:
                argv = [*MODULE, "devices", str(place), str(self._federation.port)]
                self._federation.processes["devices"] = subprocess.Popen(argv, stdout=log, stderr=log)
        except BaseException:
            self._federation.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.control.close()
        self._federation.stop()

    def job(self, size: int, *, strategy: str = "momentum", rounds: int = 1, quorum: float = 0.0) -> list[str]:
        """The command of a job."""
        numbers = [str(self._federation.port), str(size), strategy, str(rounds), str(quorum)]
        return [*MODULE, "job", str(self.place), *numbers]

    def play(self, size: int, **terms: Any) -> Grown:
        """Run a job to its end."""
        done = subprocess.run(self.job(size, **terms), check=False, capture_output=True, timeout=LIMIT_S)
        if done.returncode:
            raise RuntimeError(done.stderr.decode()[-2000:] + (self.place / "devices.log").read_text()[-2000:])
        return msgspec.json.decode(done.stdout, type=Grown)

    def objects(self) -> int:
        """How many objects the SuperLink keeps."""
        with closing(sqlite3.connect(self.place / "superlink.sqlite")) as database:
            return int(database.execute("SELECT count(*) FROM objects").fetchone()[0])


def _devices(place: Path, address: str) -> None:
    connection.ANNOUNCED_S, connection.HEARTBEAT_S = 300.0, 100.0  # a thousand hearts would be the work of the day
    count = len(msgspec.json.decode((place / "members").read_bytes(), type=list[Member]))
    nodes = []
    for number in range(count):
        key = place / f"{number}.key"
        node = connection.FleetConnection(address, ca=place / "tls" / "ca.pem", key=key)
        node.__enter__()
        nodes.append(node)
    (place / "ready").touch()
    last: dict[str, bytes] = {}
    for number, node in cycle(enumerate(nodes)):
        node._last = last  # or each would remember the model
        message = node.receive()
        last = node._last
        node._last = {}
        if message is not None:
            with suppress(RefusedError):  # nobody waits for it any more
                node.reply(_answer(message, number), seconds=0.0)
        elif number == count - 1:
            time.sleep(0.05)


def _answer(message: Message, number: int) -> Message:
    if message.metadata.message_type == fed.EVALUATE:
        counts: Any = {fed.EXAMPLES: 4, fed.CORRECT: 2, fed.LOSS_SUM: 1.0}
        return Message(RecordDict({fed.METRICS: MetricRecord(counts)}), reply_to=message)
    own = Sendable(read_arrays(message.content[fed.ARRAYS]))
    own.flat[:: 1 << 10] += np.float32(1e-3 * (number + 1))
    metrics = MetricRecord({fed.EXAMPLES: 10, fed.LOSS: 1.0})
    return Message(RecordDict({fed.ARRAYS: own.record(), fed.METRICS: metrics}), reply_to=message)


def _job(place: Path, address: str, size: int, strategy: str, rounds: int, quorum: float) -> Grown:
    members = msgspec.json.decode((place / "members").read_bytes(), type=list[Member])
    terms = {"round_timeout_s": LIMIT_S, "strategy": {"type": strategy}, "pace": {"quorum": quorum}}
    spec = msgspec.convert({"run": "r", "task": "t", "members": members, "seed": 1, **terms}, RunSpec)
    ledger = RunLedger(place / "run")
    superlink = SuperLinkAddress(address=address, ca=place / "tls" / "ca.pem", control_token=TOKEN)
    database: list[int] = []
    while not (place / "ready").exists():
        time.sleep(0.1)
    with Channel(superlink) as channel:
        weights = {"w": np.random.default_rng(1).standard_normal(size, dtype=np.float32)}
        before = status("VmRSS")
        begun = _Watched(
            spec,
            roster=Roster(members, task="t", ttl_s=LIMIT_S),
            registered={member.device: 10 for member in members},
            begin=Checkpoint(0, weights, {}),
            ledger=ledger,
            clock=SystemClock(),
        )
        del weights  # as the job does
        begun.after_round = lambda: database.append(sum(p.stat().st_size for p in place.glob("superlink.sqlite*")))
        started = time.monotonic()
        begun.start(channel.grid, begun.arrays(), num_rounds=rounds, timeout=LIMIT_S)
        seconds = time.monotonic() - started
    late = sum(isinstance(event, UpdateLate) for event in ledger.events())
    return Grown(growth=growth_since(before), seconds=seconds, database=database, late=late)


class _Watched(RunStrategy):
    """Tells when a round is done."""

    def aggregate_evaluate(self, server_round: int, replies: Any) -> MetricRecord | None:
        found = super().aggregate_evaluate(server_round, replies)
        self.after_round()
        return found

    def after_round(self) -> None: ...


def main(argv: list[str]) -> None:
    match argv:
        case ["devices", place, port]:
            _devices(Path(place), f"127.0.0.1:{port}")
        case ["job", place, port, size, strategy, rounds, quorum]:
            found = _job(Path(place), f"127.0.0.1:{port}", int(size), strategy, int(rounds), float(quorum))
            sys.stdout.buffer.write(msgspec.json.encode(found))
        case [clients, size, *rest]:
            strategy, rounds = (*rest, *("momentum", "1")[len(rest) :])
            with (
                tempfile.TemporaryDirectory(dir=Path.cwd()) as place,
                Deployed(Path(place), clients=int(clients)) as deployed,
            ):
                found = deployed.play(int(size), strategy=strategy, rounds=int(rounds))
            models = found.growth / (4 * int(size))
            print(f"{clients} devices, {4 * int(size) / 1e6:.0f} MB, {strategy}, {rounds} rounds: grew by")
            print(f"{models:.2f} models in {found.seconds:.1f} s; database after each round, MB:")
            print(*(f"{size / 1e6:.0f}" for size in found.database))


if __name__ == "__main__":
    main(sys.argv[1:])
