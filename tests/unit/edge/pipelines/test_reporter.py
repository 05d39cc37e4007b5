from edge.pipelines.accuracy import Bucket, LiveAccuracy
from edge.pipelines.reporter import PACES, Reporter
from shared.messages import Pace, Stall
from shared.sketch import Sketch

CALM, SHIFTED, NEXT = Bucket("toy-1", "calm"), Bucket("toy-1", "shifted"), Bucket("toy-2", "shifted")


def _reporter(accuracy: LiveAccuracy | None = None) -> Reporter:
    accuracy = accuracy or LiveAccuracy()
    return Reporter(pipeline="wrist", model="toy", accuracy=accuracy, labels_held=lambda: 12, since=100.0)


def test_nothing_to_say_is_no_message() -> None:
    assert _reporter().flush(at=110.0) == []


def test_one_message_for_each_release_and_phase() -> None:
    reporter = _reporter()
    for latency in (1.0, 2.0, 3.0):
        reporter.inferred(CALM, latency_ms=latency, labels=["low"])
    reporter.inferred(SHIFTED, latency_ms=4.0, labels=["high", "low"])
    reporter.failed(SHIFTED)
    stall = Stall(reason="silent", since=1.0, noticed=6.0)
    reporter.came(NEXT, received=7, dropped={"late": 2}, stalls=[stall])
    reporter.came(NEXT, received=0, dropped={"late": 2, "still": 1}, stalls=[])
    first, second, third = reporter.flush(at=110.0)
    assert (first.release, first.phase, first.processed, first.counts) == ("toy-1", "calm", 3, {"low": 3})
    assert (second.phase, second.processed, second.errors, second.counts) == ("shifted", 1, 1, {"low": 1, "high": 1})
    assert (third.release, third.processed, third.dropped, third.latency_ms) == ("toy-2", 0, 5, b"")
    assert (third.received, third.dropped_by, third.stalls) == (7, {"late": 4, "still": 1}, [stall])
    assert {(message.since, message.until, message.labels_held) for message in (first, second, third)} == {
        (100.0, 110.0, 12)
    }
    assert Sketch.from_bytes(first.latency_ms).quantile(0.5) == 2.0


def test_windows_follow_each_other_without_gap_or_memory() -> None:
    reporter = _reporter()
    reporter.inferred(CALM, latency_ms=1.0, labels=["low"])
    reporter.flush(at=110.0)
    reporter.inferred(CALM, latency_ms=1.0, labels=["low"])
    (second,) = reporter.flush(at=125.0)
    assert (second.since, second.until, second.processed) == (110.0, 125.0, 1)


def test_labels_of_an_earlier_release_are_reported_for_it() -> None:
    accuracy = LiveAccuracy()
    reporter = _reporter(accuracy)
    accuracy.predicted("s:0", index=1, bucket=CALM)
    accuracy.predicted("s:1", index=1, bucket=CALM)
    accuracy.labelled("s:0", 1)
    accuracy.labelled("s:1", 0)
    reporter.inferred(NEXT, latency_ms=1.0, labels=["low"])
    old, new = reporter.flush(at=110.0)
    assert (old.release, old.processed, old.labelled, old.correct) == ("toy-1", 0, 2, 1)
    assert (new.release, new.processed, new.labelled) == ("toy-2", 1, 0)


def test_changes_of_pace_wait_for_a_message_and_are_told_once() -> None:
    reporter = _reporter()
    paces = [Pace(at=float(at), share=0.5, reason="heat") for at in range(PACES + 4)]
    for pace in paces:
        reporter.paced(pace)
    assert reporter.flush(at=110.0) == []
    reporter.inferred(CALM, latency_ms=1.0, labels=["low"])
    reporter.inferred(NEXT, latency_ms=1.0, labels=["low"])
    told = [pace for message in reporter.flush(at=120.0) for pace in message.paces]
    assert told == paces[-PACES:]
    reporter.inferred(CALM, latency_ms=1.0, labels=["low"])
    (message,) = reporter.flush(at=130.0)
    assert message.paces == []
