"""A coordinator's stations over a real database and repository, with jobs that tests play by hand."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from cloud.central.orders import Where
from cloud.ingest.inbox import Arrival
from cloud.jobs.port import Phase, State
from cloud.loop.attesting import Admission
from cloud.loop.central import CentralKeeper
from cloud.loop.drift import DriftKeeper
from cloud.loop.orders import apply_line
from cloud.loop.releases import Publication
from cloud.loop.rollouts import RolloutKeeper
from cloud.loop.run_orders import order_run
from cloud.loop.runs import RunKeeper
from cloud.models.gates import Scores, Tally
from cloud.models.variants import FLOAT, INT8
from cloud.release.keys import MemoryKeys
from cloud.release.repository import Repository
from cloud.store.blobs import FileBlobs
from cloud.store.database import Database
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.inbox import SqlInbox
from cloud.training.events import AttemptStarted, DeviceScore, RoundFinished, RoundStarted, RunFinished
from cloud.training.ledger import RESULT, RunLedger
from cloud.training.result import WEIGHTS, Artefact, RunResult
from shared.api import RunRequest
from shared.clock import VirtualClock
from shared.codec import pack
from shared.ids import sha256
from shared.messages import Batch, Record, Stage, UpdateStatus
from shared.topics import Up

NAMES = ("watch-1", "watch-2", "watch-3")
LINE = {
    "name": "activity",
    "task": "activity",
    "schema": {"kind": "classification", "labels": ["a", "b"], "input_shape": [6, 100]},
    "fleets": ["wards"],
    "canaries": ["watch-2"],
    "soak_s": 5,
    "deadline_s": 100,
    "rounds": 2,
}


EVALUATION = {
    "accuracy.training": 0.8,
    "parity": 1e-6,
    "examples": 300.0,
    f"accuracy.{FLOAT}": 0.8,
    f"agreement.{FLOAT}": 1.0,
    f"accuracy.{INT8}": 0.79,
    f"agreement.{INT8}": 0.98,
}
"""What the devices found; the default policy admits it."""


class HandJobs:
    """Jobs that live until a test ends them."""

    def __init__(self):
        self.started = []
        self.alive = set()
        self.said = {}

    def submit(self, job):
        self.said.pop(job.name, None)
        if job.directory not in self.alive:
            self.started.append(job.name)
            self.alive.add(job.directory)

    def state(self, job):
        if job.directory in self.alive:
            return State(Phase.RUNNING)
        return self.said.get(job.name, State(Phase.FAILED if job.name in self.started else Phase.ABSENT))

    def log(self, job, *, since=0):
        return b"", since

    def cancel(self, job):
        self.alive.discard(job.directory)

    def close(self):
        self.alive.clear()


class Killed(BaseException):
    """What a kill -9 looks like from inside."""


@dataclass(frozen=True)
class MortalDatabase(Database):
    """Dies at a transaction of its choice, just before or just after the commit."""

    fate: dict = field(default_factory=dict)

    @contextmanager
    def write(self):
        self.fate["seen"] = self.fate.get("seen", 0) + 1
        due = self.fate["seen"] == self.fate.get("at")
        with super().write() as connection:
            yield connection
            if due and self.fate["before"]:
                raise Killed
        if due:
            raise Killed


@dataclass
class Stations:
    """Everything between an order and a fleet that runs it."""

    database: Database
    blobs: FileBlobs
    repository: Repository
    clock: VirtualClock
    jobs: HandJobs
    runs: RunKeeper
    central: CentralKeeper
    publication: Publication
    rollouts: RolloutKeeper
    drift: DriftKeeper
    directory: object
    seqs: dict = field(default_factory=dict)

    def turn(self):
        steps = (self.drift.turn, self.runs.turn, self.central.turn, self.rollouts.turn, self.publication.turn)
        for step in (*steps, self.rollouts.sign):
            step()

    def settle(self, turns=8):
        for _ in range(turns):
            self.turn()

    def read(self, question):
        with self.database.read() as connection:
            return question(connection)

    def say(self, device, channel, body, boot="0" * 16):
        seq = self.seqs[device, channel] = self.seqs.get((device, channel), 0) + 1
        record = Record(seq=seq, at=self.clock.now(), body=pack(body))
        batch = Batch(boot=boot, channel=channel, records=[record])
        return SqlInbox(self.database).store([Arrival(device, batch)], at=self.clock.now())

    def report(self, device, release, stage, reason=""):
        model = release.rpartition("-")[0]
        status = UpdateStatus(model=model, release=release, stage=stage, reason=reason, variant=INT8, slot="A")
        self.say(device, Up.UPDATE, status)

    def activate(self, *devices, release):
        for device in devices:
            self.report(device, release, Stage.ACTIVE)

    def order(self, **request):
        with self.database.write() as connection:
            return order_run(
                connection, RunRequest(model="activity", **request), fleet="wards", at=self.clock.now(), by="test"
            )

    def release_one(self):
        """Train and bring the first release to everybody."""
        self.order()
        self.settle(2)
        self.play_job("activity-run-1")
        self.settle()
        self.bring("activity-1")

    def bring(self, release):
        self.activate("watch-2", release=release)
        self.settle(2)
        self.clock.advance(5)
        self.settle(2)
        self.activate("watch-1", "watch-3", release=release)
        self.settle(2)
        self.clock.advance(5)
        self.settle(2)

    def play_job(self, run, *, admitted=(FLOAT, INT8), rounds=2):
        """What a whole job leaves behind."""
        place = self.directory / "runs" / run
        ledger, now = RunLedger(place), self.clock.now()
        files = {WEIGHTS: b"weights", FLOAT: b"float " * 100, INT8: b"int8 " * 50}
        if any(isinstance(event, RunFinished) for event in ledger.events()):
            return
        ledger.append(AttemptStarted(at=now, flower_run=7, from_round=1))
        finished = []
        for number in range(1, rounds + 1):
            score = DeviceScore(examples=10, correct=8, loss_sum=3.0)
            finished.append(
                RoundFinished(
                    at=now,
                    round=number,
                    train_loss=0.5,
                    loss=0.4,
                    accuracy=0.8,
                    devices=dict.fromkeys(NAMES, score),
                    accepted=3,
                    refused=0,
                    digest=sha256(str(number).encode()),
                    seconds=1.0,
                )
            )
            ledger.append(RoundStarted(at=now, round=number, cohort=list(NAMES)))
            ledger.append(finished[-1])
        for name, data in files.items():
            ledger.write_file(name, data)
        result = RunResult(
            run=run,
            task="activity",
            digest=sha256(b"weights"),
            files={name: Artefact(digest=sha256(data), size=len(data)) for name, data in files.items()},
            rounds=finished,
            devices=dict.fromkeys(NAMES, 100),
            scores=Scores(training=Tally(), variants={}),
            holdouts={name: {FLOAT: 0.8, INT8: 0.79} for name in NAMES},
            admitted=list(admitted),
            refused={},
            evaluation=EVALUATION,
            summary="released" if admitted else "released: nothing",
            seconds=2.0,
        )
        ledger.write_file(RESULT, msgspec.json.encode(result))
        ledger.append(RunFinished(at=now, digest=result.digest, verdict=result.summary))
        self.jobs.alive.discard(place)


@pytest.fixture
def make_stations(database, tmp_path):
    """Stations over one directory, again and again, as restarts make them."""
    clock, keys = VirtualClock(), MemoryKeys()
    repository = Repository.create(tmp_path / "tuf", keys=keys, tenant="acme", clock=clock)
    repository.add_fleet("wards")
    with database.write() as connection:
        for number, name in enumerate(NAMES):
            Devices(connection).put(
                Device(
                    id=name,
                    fleet="wards",
                    state=DeviceState.ENROLLED,
                    hardware=["cpu"],
                    public_key=name.encode(),
                    node=str(100 + number),
                    serial="1",
                    expires_at=2e9,
                    enrolled_at=1.0,
                    last_seen=1.0,
                )
            )
        apply_line(connection, "activity", LINE, at=1.0, by="test")
    jobs, seqs = HandJobs(), {}

    def make(db=database, attempts=3):
        blobs = FileBlobs(tmp_path / "blobs")
        opened = Repository.open(tmp_path / "tuf", keys=keys, clock=clock)
        return Stations(
            database=db,
            blobs=blobs,
            repository=opened,
            clock=clock,
            jobs=jobs,
            runs=RunKeeper(
                database=db,
                blobs=blobs,
                jobs=jobs,
                clock=clock,
                directory=tmp_path / "runs",
                central=tmp_path / "jobs",
                attempts=attempts,
            ),
            central=CentralKeeper(
                database=db,
                blobs=blobs,
                jobs=jobs,
                clock=clock,
                directory=tmp_path / "jobs",
                runs=tmp_path / "runs",
                data=tmp_path / "data",
                where=Where(device="cpu"),
                attempts=attempts,
            ),
            publication=Publication(
                database=db,
                repository=opened,
                keys=keys,
                admission=Admission(
                    database=db, keys=keys, clock=clock, tenant="acme", policy=tmp_path / "admission.toml"
                ),
                clock=clock,
            ),
            rollouts=RolloutKeeper(database=db, repository=opened, clock=clock),
            drift=DriftKeeper(database=db, clock=clock, fleet="wards"),
            directory=tmp_path,
            seqs=seqs,
        )

    return make


@pytest.fixture
def line():
    """The document of the model line that stations begin with."""
    return LINE


@pytest.fixture
def stations(make_stations):
    return make_stations()


@pytest.fixture
def killed():
    """What dying looks like."""
    return Killed


@pytest.fixture
def mortal(make_stations, database):
    """Stations that die at the given transaction."""

    def make(at, *, before):
        return make_stations(MortalDatabase(database.engine, {"at": at, "before": before}))

    return make
