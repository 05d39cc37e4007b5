from edge.pipelines.accuracy import Bucket, LiveAccuracy, Tally

OLD, NEW = Bucket("toy-1", "calm"), Bucket("toy-2", "shifted")


def test_labels_are_counted_against_the_release_that_predicted() -> None:
    accuracy = LiveAccuracy()
    for index in range(4):
        accuracy.predicted(f"s:{index}", index=index % 2, bucket=OLD if index < 2 else NEW)
    assert all(accuracy.labelled(f"s:{index}", 0) for index in range(4))
    assert accuracy.drain() == {OLD: Tally(2, 1), NEW: Tally(2, 1)}
    assert accuracy.drain() == {}


def test_a_label_counts_once_and_unknown_inputs_never() -> None:
    accuracy = LiveAccuracy()
    accuracy.predicted("s:0", index=1, bucket=OLD)
    assert accuracy.labelled("s:0", 1)
    assert not accuracy.labelled("s:0", 1)
    assert not accuracy.labelled("s:1", 1)
    assert accuracy.drain() == {OLD: Tally(1, 1)}


def test_the_oldest_predictions_are_forgotten() -> None:
    accuracy = LiveAccuracy(capacity=2)
    for index in range(3):
        accuracy.predicted(f"s:{index}", index=0, bucket=OLD)
    assert [accuracy.labelled(f"s:{index}", 0) for index in range(3)] == [False, True, True]
