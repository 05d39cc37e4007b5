"""Our Grid: Flower's `ServerApp` and strategies run over it unmodified, and a round's clients train as one batch.

Messages that ask for plain training or evaluation are grouped by the weights and the task they carry, and each group is
handed to the model family at once (`shared.task_many`). Everything else — queries, a family that cannot, an instruction
with a field this Grid does not know — goes through the devices' own app, one client after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import ServerApp

from shared import federation as fed
from shared.codec import pack
from shared.errors import HinterlandError
from shared.federation import Condition, Instruction
from shared.task import Examples, Recipe, Trained, Weights
from shared.task_many import TrainsMany
from shared.tasks import adapter
from shared.tasks.records import from_record, to_record
from simulations.grid.clients import PARTITION, ROUND, Clients, DeviceApp, instruction, own_of
from simulations.grid.local import SERVER, LocalGrid, speak_as
from simulations.grid.processes import Crew

FIRST_NODE = 2
"""Node id of the client at position 0."""

TOGETHER = 64
"""Clients that are evaluated at once: their hold-outs are copied into one array."""

_KNOWN = {"task", "labels", "form", "round", "seed", "epochs", "batch_size", "learning_rate"}
_BEARS_NOT_ON_TRAINING = {"run", "model", "purpose"}
"""Fields by which a device's owner may refuse; a simulated client has no owner."""


class _Asked(NamedTuple):
    message: Message
    position: int
    wanted: Instruction


class VectorisedGrid(LocalGrid):
    """A federation in this process."""

    def __init__(
        self,
        clients: Clients,
        *,
        run: int = 1,
        workers: int = 1,
        processes: int = 0,
        together: bool = True,
        streaming: bool = False,
        progress: Callable[[int], None] = lambda clients: None,
    ) -> None:
        """Serve `clients`.

        Args:
            clients: who is there, and what each holds.
            run: Flower's id of the run.
            workers: threads that train chunks of clients at the same time; as many as the machine has cores.
            processes: train in so many processes instead (`simulations.grid.processes`): faster for small models over
                many rounds, with seconds to begin and more memory. They end with `execute`, or with `close`.
            together: `False` sends every message through the devices' app, which is what the rest is compared with.
            streaming: hand replies over while others are still trained. Memory then does not grow with the number
                of clients under a strategy that keeps no replies, such as `RunStrategy`; some of Flower's go over
                their replies twice and need a list.
            progress: called with the number of clients that have trained since the last call.
        """
        self._count = len(clients.shares())
        super().__init__(range(FIRST_NODE, FIRST_NODE + self._count), run=run)
        self._clients = clients
        self._workers = workers
        self._crew = Crew(clients, processes) if processes else None
        self._together = together
        self._streaming = streaming
        self._progress = progress
        self._app = DeviceApp(clients)

    def execute(self, app: ServerApp) -> Context:
        """Run a `ServerApp` from its start to its end; return the context it leaves."""
        speak_as(self.run.run_id)
        context = Context(run_id=self.run.run_id, node_id=SERVER, node_config={}, state=RecordDict(), run_config={})
        try:
            app(grid=self, context=context)
        finally:
            self.close()
        return context

    def close(self) -> None:
        """End the processes, if any train; the next message begins them again."""
        if self._crew is not None:
            self._crew.close()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Compute the replies, at once or as they are read."""
        replies = super().pull_messages(message_ids)
        return replies if self._streaming else list(replies)

    def replies(self, messages: Sequence[Message]) -> Iterator[Message]:
        groups: dict[tuple[object, ...], list[_Asked]] = {}
        common = _Common(self._clients.task) if self._together else None
        for message in messages:
            position = message.metadata.dst_node_id - FIRST_NODE
            if not 0 <= position < self._count:
                reason = f"there is no node {message.metadata.dst_node_id}"
                yield _numbered(Message(Error(code=ErrorCode.NODE_UNAVAILABLE, reason=reason), reply_to=message))
                continue
            wanted = common.wanted(message, position) if common else None
            if wanted is None:
                yield self._one(message, position)
            else:
                kind = (message.metadata.message_type, wanted.task, id(message.content[fed.ARRAYS]))
                groups.setdefault(kind, []).append(_Asked(message, position, wanted))
        for group in groups.values():
            yield from self._many(group)

    def _many(self, group: Sequence[_Asked]) -> Iterator[Message]:
        first = group[0]
        family = adapter(first.wanted.task)
        assert isinstance(family, TrainsMany)  # noqa: S101 - `_plain` has seen to it; this tells the type checker
        try:
            weights = from_record(first.message.content[fed.ARRAYS], first.wanted.form)
            shares = self._clients.shares()
            if first.message.metadata.message_type == fed.TRAIN:
                for at, trained in self._trained(family, weights, group):
                    self._progress(1)
                    yield _update(group[at].message, trained)
                return
            for start in range(0, len(group), TOGETHER):
                some = group[start : start + TOGETHER]
                parts: list[Examples] = [shares[asked.position].holdout for asked in some]
                for asked, score in zip(some, family.evaluate_many(weights, parts), strict=True):
                    metrics = {fed.EXAMPLES: score.examples, fed.CORRECT: score.correct, fed.LOSS_SUM: score.loss_sum}
                    said = ConfigRecord({fed.CONDITION: pack(Condition())})
                    yield _reply(asked.message, RecordDict({fed.METRICS: MetricRecord(metrics), fed.CONFIG: said}))
        except HinterlandError as error:  # weights that do not fit, which is so for all who got them
            for asked in group:
                reason = f"{error.code}: {error}"[:300]
                failed = Message(
                    Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=asked.message
                )
                yield _numbered(failed)

    def _trained(self, family: TrainsMany, weights: Weights, group: Sequence[_Asked]) -> Iterator[tuple[int, Trained]]:
        if self._crew is not None:
            asked = [(one.position, _recipe(one.wanted)) for one in group]
            return self._crew.train(group[0].wanted.task, weights, asked)
        shares = self._clients.shares()
        clients = [(shares[one.position].training, _recipe(one.wanted)) for one in group]
        return family.train_many(weights, clients, workers=self._workers)

    def _one(self, message: Message, position: int) -> Message:
        context = Context(
            run_id=self.run.run_id,
            node_id=message.metadata.dst_node_id,
            node_config={PARTITION: position},
            state=RecordDict(),
            run_config={},
        )
        reply = _numbered(self._app(message, context))
        if message.metadata.message_type == fed.TRAIN:
            self._progress(1)
        return reply


class _Common:
    """What the messages of one pull have in common: Flower's strategies send all clients of a round one content."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._read: dict[int, tuple[RecordDict, Instruction | None]] = {}

    def wanted(self, message: Message, position: int) -> Instruction | None:
        """What is asked of the client, if it can be answered together with others."""
        if message.metadata.message_type not in {fed.TRAIN, fed.EVALUATE}:
            return None
        known = self._read.get(id(message.content))
        if known is None:  # the content is kept as well, so that its id stays its own
            known = self._read[id(message.content)] = message.content, self._plain(message)
        _, asked = known
        return None if asked is None else own_of(asked, message.content[fed.CONFIG], position)

    def _plain(self, message: Message) -> Instruction | None:
        try:
            wanted = instruction(message)
            family = adapter(wanted.task)
        except HinterlandError:
            return None  # the app says what is wrong
        config = message.content[fed.CONFIG]
        new = [name for name in wanted.__struct_fields__ if name not in _KNOWN | _BEARS_NOT_ON_TRAINING]
        usual = Instruction(task="")
        plain = (
            isinstance(family, TrainsMany)
            and wanted.task == self._task
            and set(message.content) == {fed.ARRAYS, fed.CONFIG}
            and isinstance(config, ConfigRecord)
            and config.keys() <= {fed.INSTRUCTION, fed.NONCE, ROUND}
            and not wanted.labels
            and min(wanted.epochs, wanted.batch_size) >= 1
            and all(getattr(wanted, name) == getattr(usual, name) for name in new)
        )
        return wanted if plain else None


def _recipe(wanted: Instruction) -> Recipe:
    return Recipe(
        epochs=wanted.epochs, batch_size=wanted.batch_size, learning_rate=wanted.learning_rate, seed=wanted.seed
    )


def _update(asked: Message, trained: Trained) -> Message:
    metrics = MetricRecord({fed.EXAMPLES: trained.examples, fed.LOSS: trained.loss})
    return _reply(asked, RecordDict({fed.ARRAYS: to_record(trained.weights), fed.METRICS: metrics}))


def _reply(asked: Message, content: RecordDict) -> Message:
    return _numbered(Message(content, reply_to=asked))


def _numbered(reply: Message) -> Message:
    reply.metadata.__dict__["_message_id"] = f"{reply.metadata.reply_to_message_id}-reply"
    return reply
