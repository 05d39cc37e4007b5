import pytest

from shared.errors import TrustError
from shared.trust import seal_slot, verify_slot
from tests.publishing import MODEL_BYTES, make_release


def test_a_sealed_slot_tells_all_that_serving_needs(tmp_path):
    release = make_release(3)
    (tmp_path / "cpu-int8.onnx").write_bytes(MODEL_BYTES)
    assert seal_slot(tmp_path, release=release, variant=release.variants[0]) == verify_slot(tmp_path)
    fact = verify_slot(tmp_path)
    assert fact.release == release
    assert fact.variant == release.variants[0]
    assert fact.path == tmp_path / "cpu-int8.onnx"


def test_sealing_again_is_the_same(tmp_path):
    """A crash after sealing, before the journal says so."""
    release = make_release(3)
    (tmp_path / "cpu-int8.onnx").write_bytes(MODEL_BYTES)
    first = seal_slot(tmp_path, release=release, variant=release.variants[0])
    assert seal_slot(tmp_path, release=release, variant=release.variants[0]) == first


def test_an_unsealed_slot_is_none(tmp_path):
    (tmp_path / "cpu-int8.onnx").write_bytes(MODEL_BYTES)
    with pytest.raises(TrustError, match="not sealed"):
        verify_slot(tmp_path)
