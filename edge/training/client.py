"""What this device does for a federated run: a Flower `ClientApp` that was installed with the agent.

Nothing that a message carries is executed except ONNX graphs, and those are checked before a session exists.
Weights, sums, ranges and counts leave the device; examples never do.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from msgspec import structs

from edge.facts.port import Facts
from edge.training.controls import ControlStore
from edge.training.dataset import DatasetStore
from edge.training.judging import activation_ranges, judge
from edge.training.kept import KeptStore
from edge.training.learning import learn
from edge.training.memory import Memory
from edge.training.personal import answer, line_of, with_own
from edge.training.policy import Owner, VetoError
from edge.training.secagg import Sessions, prepare
from edge.training.trees import tree_answer
from shared import federation as fed
from shared.clock import Clock, SystemClock
from shared.codec import pack, unpack
from shared.errors import ContractError, HinterlandError
from shared.federation import Condition, Instruction, MomentsAnswer, RangesAnswer
from shared.secagg import STAGE, Masked, Setup, ShareKeys, Stage
from shared.task import Examples, Moments, TaskAdapter, Trained
from shared.task_compute import Compute, placed
from shared.task_trees import GrowsTrees
from shared.tasks import adapter
from shared.tasks.records import FLAT, from_record

Handler = Callable[[Message, Context], Message]


def build_client(
    store: DatasetStore,
    *,
    condition: Callable[[], Condition] = Condition,
    clock: Clock | None = None,
    owner: Owner | None = None,
    compute: Compute | None = None,
) -> ClientApp:
    """Make the app over the device's own data.

    Args:
        store: what it learns from.
        condition: says how the device is.
        clock: tells when a budget is spent.
        owner: asked before any message is answered, where there is one.
        compute: where models train and are scored; on the CPU unless it says otherwise.
    """

    def family(name: str) -> TaskAdapter:
        return placed(adapter(name), compute or Compute())

    # the memory comes after the owner: what was answered once may be forbidden by now
    app = ClientApp(mods=[*([_owner_first(owner)] if owner else []), Memory().mod])
    clock, controls = clock or SystemClock(), ControlStore(store.directory)

    kept = KeptStore(store.directory)

    @app.train()
    def train(message: Message, _context: Context) -> Message:
        wanted, (training, _) = _read(message, store)
        weights = from_record(message.content.get(fed.ARRAYS), wanted.form)
        begun = kept.before(line_of(wanted), run=wanted.run, round_=wanted.round)
        own = with_own(weights, begun.local, wanted)
        task = family(wanted.task)
        trained = learn(message, wanted, training, start=own, task=task, controls=controls, clock=clock)
        if isinstance(task, GrowsTrees):
            return Message(tree_answer(task, trained), reply_to=message)
        return Message(answer(kept, wanted, begun=begun, weights=weights, trained=trained), reply_to=message)

    def learnt(message: Message) -> Trained:
        wanted, (training, _) = _read(message, store)
        start = from_record(message.content.get(fed.ARRAYS), wanted.form)
        return learn(message, wanted, training, start=start, task=family(wanted.task), controls=controls, clock=clock)

    @app.evaluate()
    def evaluate(message: Message, _context: Context) -> Message:
        wanted, (_, holdout) = _read(message, store)
        weights = from_record(message.content.get(fed.ARRAYS), wanted.form)
        score = family(wanted.task).evaluate(with_own(weights, kept.latest(line_of(wanted)), wanted), holdout)
        metrics = MetricRecord({fed.EXAMPLES: score.examples, fed.CORRECT: score.correct, fed.LOSS_SUM: score.loss_sum})
        said = ConfigRecord({fed.CONDITION: pack(condition())})
        return Message(RecordDict({fed.METRICS: metrics, fed.CONFIG: said}), reply_to=message)

    @app.query("moments")
    def moments(message: Message, _context: Context) -> Message:
        _, (training, holdout) = _read(message, store)
        return _answer(message, pack(structs.replace(moments_of(training, holdout), condition=condition())))

    @app.query("holdings")
    def holdings(message: Message, _context: Context) -> Message:
        _, (training, holdout) = _read(message, store)
        return _answer(message, pack(structs.replace(holdings_of(training, holdout), condition=condition())))

    sessions = Sessions()

    @app.query("secagg")
    def secagg(message: Message, _context: Context) -> Message:
        return _secagg(message, sessions, learnt)

    @app.query("calibrate")
    def calibrate(message: Message, _context: Context) -> Message:
        _, (training, _) = _read(message, store)
        ranges = activation_ranges(_bytes(message, fed.GRAPH), training.x)
        return _answer(message, pack(RangesAnswer(ranges=ranges)))

    @app.query("judge")
    def judge_files(message: Message, _context: Context) -> Message:
        wanted, (_, holdout) = _read(message, store)
        config = _config(message)
        files = {
            name.removeprefix(fed.CANDIDATE): _bytes(message, name) for name in config if name.startswith(fed.CANDIDATE)
        }
        task = family(wanted.task)
        logits = task.logits(from_record(message.content.get(fed.ARRAYS), wanted.form), holdout.x)
        baseline = str(config.get(fed.BASELINE))
        return _answer(message, pack(judge(files, holdout, trained=logits, baseline=baseline)))

    return app


def handle(app: ClientApp, message: Message, node: int) -> Message:
    """Answer one message; a failure becomes an error reply and ends nothing."""
    context = Context(run_id=message.metadata.run_id, node_id=node, node_config={}, state=RecordDict(), run_config={})
    try:
        return app(message, context)
    except VetoError as error:
        return Message(Error(code=fed.VETOED, reason=str(error)[:300]), reply_to=message)
    except HinterlandError as error:
        reason = f"{error.code}: {error}"
    except Exception as error:
        reason = f"{type(error).__name__}"  # no text: it may quote data of this device
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason[:300]), reply_to=message)


def condition_of(facts: Facts, *, metered: bool = False) -> Condition:
    """What the machine says of itself now."""
    power = facts.power()
    return Condition(on_battery=power.on_battery, charge=power.charge, heat_c=facts.hottest_c(), metered=metered)


def _owner_first(owner: Owner) -> Callable[[Message, Context, Handler], Message]:
    """Ask the owner around every handler, also around one that is added later: none can forget it."""

    def mod(message: Message, context: Context, handler: Handler) -> Message:
        owner.check(unpack(_bytes(message, fed.INSTRUCTION), Instruction))
        return handler(message, context)

    return mod


def moments_of(training: Examples, holdout: Examples) -> MomentsAnswer:
    """Count, sum and sum of squares per channel of the training part."""
    own = Moments.of(training.x)
    return MomentsAnswer(
        training=len(training),
        holdout=len(holdout),
        count=own.count,
        total=own.total.tolist(),
        square=own.square.tolist(),
    )


def holdings_of(training: Examples, holdout: Examples) -> MomentsAnswer:
    """Counts, and the moments of a standard normal in place of the device's own."""
    count, channels = len(training), training.x.shape[1]
    return MomentsAnswer(
        training=count, holdout=len(holdout), count=count, total=[0.0] * channels, square=[float(count)] * channels
    )


def _secagg(message: Message, sessions: Sessions, learnt: Callable[[Message], Trained]) -> Message:
    """One stage of secure aggregation (`shared.secagg`)."""
    wanted = unpack(_bytes(message, fed.INSTRUCTION), Instruction)
    run, round_ = message.metadata.run_id, wanted.round
    stage: Stage = unpack(_bytes(message, STAGE), Stage)  # type: ignore[arg-type]  # a union is no type to mypy
    if isinstance(stage, Setup):
        return _answer(message, pack(sessions.setup(run, round_, stage)))
    if isinstance(stage, ShareKeys):
        return _answer(message, pack(sessions.share(run, round_, stage)))
    if isinstance(stage, Masked):
        sessions.receive(run, round_, stage)
        model = from_record(message.content.get(fed.ARRAYS), wanted.form)
        masked = sessions.deliver(run, round_, prepare(model, learnt(message), stage), stage.bits)
        return Message(RecordDict({fed.ARRAYS: ArrayRecord({FLAT: Array(masked)})}), reply_to=message)
    return _answer(message, pack(sessions.open(run, round_, stage)))


def _read(message: Message, store: DatasetStore) -> tuple[Instruction, tuple[Examples, Examples]]:
    wanted = unpack(_bytes(message, fed.INSTRUCTION), Instruction)
    return wanted, store.training(wanted.task, labels=wanted.labels)


def _config(message: Message) -> ConfigRecord:
    config = message.content.get(fed.CONFIG)
    if not isinstance(config, ConfigRecord):
        raise ContractError("the message holds no instruction")
    return config


def _bytes(message: Message, name: str) -> bytes:
    data = _config(message).get(name)
    if not isinstance(data, bytes):
        raise ContractError(f"the message holds no {name[:80]}")
    return data


def _answer(message: Message, data: bytes) -> Message:
    return Message(RecordDict({fed.CONFIG: ConfigRecord({fed.ANSWER: data})}), reply_to=message)
