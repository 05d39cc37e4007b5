import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.objects import DetectSettings, find_objects, intersection_over_union

CASES = st.tuples(st.integers(0, 10_000), st.integers(1, 60), st.floats(0.05, 0.9), st.floats(0.1, 0.9))


def _image(seed: int, anchors: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(-0.1, 1.1, size=(anchors, 2, 2)), axis=1)
    return corners.reshape(anchors, 4).astype(np.float32), rng.uniform(size=(anchors, 3)).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(CASES)
def test_what_stays_is_sure_sorted_apart_and_inside(case: tuple[int, int, float, float]) -> None:
    seed, anchors, threshold, overlap = case
    boxes, scores = _image(seed, anchors)
    chosen = DetectSettings(threshold=threshold, overlap=overlap)
    labels, values, kept = find_objects(boxes, scores, chosen)
    assert (values > threshold).all()
    assert (np.diff(values) <= 0).all()
    assert ((kept >= 0) & (kept <= 1)).all()
    rivals = intersection_over_union(kept) * (labels[:, None] == labels)
    np.fill_diagonal(rivals, 0)
    assert (rivals <= overlap).all()


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_every_candidate_left_out_overlaps_a_surer_one(case: tuple[int, int, float, float]) -> None:
    seed, anchors, threshold, overlap = case
    boxes, scores = _image(seed, anchors)
    everything = DetectSettings(threshold=threshold, overlap=2.0, candidates=1000, objects=1000)
    all_labels, all_values, all_boxes = find_objects(boxes, scores, everything)
    chosen = DetectSettings(threshold=threshold, overlap=overlap, candidates=1000, objects=1000)
    labels, values, _ = find_objects(boxes, scores, chosen)
    kept = set(zip(labels.tolist(), values.tolist(), strict=True))
    matrix = intersection_over_union(all_boxes)
    for index, pair in enumerate(zip(all_labels.tolist(), all_values.tolist(), strict=True)):
        if pair not in kept:
            surer = (all_values >= all_values[index]) & (all_labels == all_labels[index])
            assert (matrix[index][surer] > overlap).any()


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_suppressing_twice_changes_nothing(case: tuple[int, int, float, float]) -> None:
    seed, anchors, threshold, overlap = case
    boxes, scores = _image(seed, anchors)
    chosen = DetectSettings(threshold=threshold, overlap=overlap, candidates=1000, objects=1000)
    labels, values, kept = find_objects(boxes, scores, chosen)
    again = np.zeros((len(kept), 3), np.float32)
    again[np.arange(len(kept)), labels] = values
    _, second, _ = find_objects(kept, again, chosen)
    assert second.tolist() == values.tolist()
