"""Blobs are whole, named by content, and never reached by a path."""

import pytest

from cloud.store.blobs import FileBlobs
from shared.errors import ContractError, FaultError
from shared.ids import sha256


def test_what_goes_in_comes_out_in_parts(tmp_path):
    blobs = FileBlobs(tmp_path / "blobs")
    digest = blobs.put(b"abcdef")
    assert digest == sha256(b"abcdef")
    assert blobs.has(digest)
    assert blobs.size(digest) == 6
    assert blobs.read(digest, 2, 3) == b"cde"
    assert blobs.read(digest, 6, 3) == b""
    assert blobs.put(b"abcdef") == digest


def test_a_stream_of_the_wrong_content_is_not_kept(tmp_path):
    blobs = FileBlobs(tmp_path)
    with pytest.raises(ContractError, match="digest"):
        blobs.put_stream([b"a", b"b"], expected=sha256(b"other"))
    assert list(tmp_path.iterdir()) == []


def test_no_blob_is_a_fault_and_no_digest_a_broken_contract(tmp_path):
    blobs = FileBlobs(tmp_path)
    assert not blobs.has(sha256(b"absent"))
    with pytest.raises(FaultError):
        blobs.read(sha256(b"absent"))
    with pytest.raises(ContractError):
        blobs.read("../../etc/passwd")
