from pathlib import Path

import cv2
import numpy as np

from edge.pipelines.answer import Answer, Detection, Result
from edge.pipelines.sinks import LastResult, Snapshot, draw
from edge.pipelines.sources.port import Sample
from shared.clock import VirtualClock

FOUND = Detection("person", 0.9, (0.25, 0.25, 0.75, 0.75))
RESULT = Result(
    id="cam:0", release="d-1", at=0.0, answer=Answer(labels=("person",), confidence=0.9, detections=(FOUND,))
)


def sample() -> Sample:
    picture = np.full((60, 80, 3), 90, np.uint8)
    return Sample(id="cam:0", x=np.zeros((3, 8, 8), np.float32), at=0.0, ready=0.0, picture=lambda: picture)


def test_the_last_result_stays() -> None:
    sink = LastResult()
    sink.put(sample(), RESULT)
    assert sink.result is RESULT


def test_boxes_are_drawn_where_objects_are() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    drawn = draw(image, (FOUND,))
    assert (image == 0).all()
    assert drawn[30, 20].tolist() == [40, 220, 90]
    assert drawn[30, 40].tolist() == [0, 0, 0]


def test_a_snapshot_is_written_every_so_often(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "shot.png"
    sink = Snapshot(path, clock=clock, every_s=5)
    sink.put(sample(), RESULT)
    first = cv2.imread(str(path))
    assert first is not None
    assert first.shape == (60, 80, 3)
    assert first[30, 20].tolist() == [90, 220, 40]  # cv2 reads BGR
    path.unlink()
    clock.advance(4)
    sink.put(sample(), RESULT)
    assert not path.exists()
    clock.advance(1)
    sink.put(sample(), RESULT)
    assert path.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_a_snapshot_is_written_on_request_only(tmp_path: Path) -> None:
    path = tmp_path / "shot.jpg"
    sink = Snapshot(path, clock=VirtualClock())
    sink.put(sample(), RESULT)
    assert not path.exists()
    sink.request()
    sink.put(sample(), RESULT)
    assert path.exists()


def test_a_disk_that_refuses_does_not_stop_the_pipeline(tmp_path: Path) -> None:
    Snapshot(tmp_path / "gone" / "shot.png", clock=VirtualClock(), every_s=1).put(sample(), RESULT)


def test_inputs_without_a_picture_are_no_snapshot(tmp_path: Path) -> None:
    blind = Sample(id="s:0", x=np.zeros((1, 1), np.float32), at=0.0, ready=0.0)
    Snapshot(tmp_path / "shot.png", clock=VirtualClock(), every_s=1).put(blind, RESULT)
    assert list(tmp_path.iterdir()) == []
