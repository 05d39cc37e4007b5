"""What a federated run and a device say to each other inside Flower's messages.

Arrays and the metrics that Flower's own strategies weight by travel in Flower's records; everything else is
a struct of this module, packed into one field of the `ConfigRecord`, so that both sides check one schema.
"""

from __future__ import annotations

import msgspec

from shared.tasks.compression import Compression

ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
"""Names of the records in a message; `arrays` and `config` are the defaults of Flower's strategies."""

INSTRUCTION = "instruction"
"""Field of the config record that holds a packed `Instruction`."""

ANSWER = "answer"
"""Field of a reply's config record that holds a packed answer to a query."""

NONCE = "nonce"
"""Field that makes each message's content, hence its id, unguessable: SuperLink files a reply by that id alone."""

GRAPH = "graph"
"""Field that carries the calibration graph, ONNX bytes."""

LOST = "lost: the device was ended before it could answer"
"""Reason of an error reply by a device that was started again and finds that it owes an answer."""

CANDIDATE = "candidate:"
"""Prefix of the fields that carry candidate files, ONNX bytes; the file's name follows."""

BASELINE = "baseline"
"""Field that names the candidate the others are compared with: the float file."""

UPDATE = "update"
"""Field of a reply's config record that holds a compressed client update (`shared.tasks.compression`)."""

BOOSTER = "0"
"""Name of the array that holds an update of trees, as bytes: what Flower's XGBoost strategies look for."""

EXAMPLES = "num-examples"
"""The metric that Flower's strategies weight client updates by."""

CONTROL = "control"
"""Record with the server's control variate (SCAFFOLD)."""

CONDITION = "condition"
"""Field of an evaluation's config record that holds a packed `Condition`."""

LOSS = "loss"
LOSS_SUM = "loss-sum"
CORRECT = "correct"

TRAIN = "train"
EVALUATE = "evaluate"
MOMENTS = "query.moments"
CALIBRATE = "query.calibrate"
JUDGE = "query.judge"
"""Message types, as `flwr.clientapp.ClientApp` routes them."""


VETOED = 451
"""Code of the error by which a device answers what its owner does not allow; Flower's own codes are below 100."""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """How a device is at the moment, as far as it says."""

    on_battery: bool = False
    charge: float | None = None
    """Percent of what its batteries hold when full."""

    heat_c: float | None = None
    """Its hottest sensor, °C."""

    metered: bool = False
    """Its link costs by the byte."""


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """What a device is asked to do with its own data."""

    task: str
    labels: int = 0
    """Labelled live examples to train on besides the base split: exactly the first so many of the stream."""

    form: dict[str, tuple[int, ...]] = {}
    """Tensor names and shapes of the weights that come along, in their order (`shared.tasks.records`)."""

    round: int = 0
    seed: int = 0
    epochs: int = 1
    batch_size: int = 16
    learning_rate: float = 0.0
    local_parts: tuple[str, ...] = ()
    """Prefixes of the tensors that stay on the device and never leave it."""

    compression: Compression = Compression()
    """How the update travels back."""

    run: str = ""
    """Id of the run; what a device keeps between rounds belongs to it alone."""

    proximal: float = 0.0
    """FedProx's µ: how strongly training is held at the global weights."""

    controlled: bool = False
    """SCAFFOLD: the server's control variate comes along, and the device keeps one of its own."""

    budget_s: float = 0.0
    """Seconds of training after which the device stops between two batches; 0 for no limit."""

    model: str = ""
    """Name of the model line."""

    purpose: str = ""
    """What the run is for. It, the run and the model are the server's word, by which the device's owner may refuse."""


class MomentsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Input statistics of a device's training part, per channel; sums, so that they merge exactly."""

    training: int
    """Examples the device will train on: the cap for what its updates may claim."""

    holdout: int
    count: int
    """Values per channel."""

    total: list[float]
    square: list[float]
    condition: Condition | None = None


class RangesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Least and greatest value that each activation took on a device's training part."""

    ranges: dict[str, tuple[float, float]]


class FileTally(msgspec.Struct, frozen=True, kw_only=True):
    """What one model did on a device's hold-out."""

    examples: int
    correct: int
    agreed: int
    """Examples on which it names the class that the float file names."""

    found: list[int]
    """Per class: examples of it that were classified right."""

    present: list[int]
    """Per class: examples of it."""


class JudgeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How the trained weights and the candidate files did on a device's hold-out."""

    training: FileTally
    """The weights, in the framework that trained them."""

    files: dict[str, FileTally]
    """The candidate files, under ONNX Runtime."""

    parity: float
    """Largest difference of a logit between the weights and the float file."""
