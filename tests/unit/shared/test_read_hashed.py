import os
from random import Random

import pytest

from shared.hashing import LARGE, read_hashed
from shared.ids import sha256


@pytest.mark.parametrize("size", [0, 1, 1000, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 12_345])
def test_the_bytes_and_their_digest_are_those_of_the_file(tmp_path, size):
    content = Random(size).randbytes(size)
    (tmp_path / "model").write_bytes(content)
    with (tmp_path / "model").open("rb", buffering=0) as file:
        data, digest = read_hashed(file, size)
    assert type(data) is bytes
    assert (data, digest) == (content, sha256(content))
    assert hash(data) == hash(content)
    (tmp_path / "model").write_bytes(b"\0" * size)
    assert data == content  # memory of its own


@pytest.mark.parametrize("size", [1000, LARGE + 5])
def test_a_file_that_ends_early_gives_what_there_is(tmp_path, size):
    content = os.urandom(size - 3)
    (tmp_path / "model").write_bytes(content)
    with (tmp_path / "model").open("rb", buffering=0) as file:
        assert read_hashed(file, size) == (content, sha256(content))


@pytest.mark.parametrize("size", [1000, LARGE + 5])
def test_a_file_that_goes_on_is_not_read_further(tmp_path, size):
    (tmp_path / "model").write_bytes(bytes(size + 7))
    with (tmp_path / "model").open("rb", buffering=0) as file:
        assert read_hashed(file, size)[1] == sha256(bytes(size))
