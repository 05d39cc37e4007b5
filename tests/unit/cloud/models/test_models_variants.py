import os

from cloud.distribution.cut import cut
from cloud.models.variants import FLOAT, INT8, build_variants
from shared.bundle import CHUNK_SIZE, Release, Runtime, Schema, choose, decode_release, encode
from shared.ids import sha256

SCHEMA = Schema(kind="classification", labels=["a"], input_shape=[1])


def test_files_become_variants_of_a_release_that_devices_choose_from() -> None:
    fp32, int8 = os.urandom(2 * CHUNK_SIZE + 5), os.urandom(CHUNK_SIZE)
    variants, files = build_variants(fp32, int8)
    assert files == {sha256(fp32): fp32, sha256(int8): int8}
    release = Release(id="m-1", model="m", counter=1, schema=SCHEMA, variants=variants, created=0.0)
    assert decode_release(encode(release)) == release
    assert [variant.chunks for variant in variants] == [cut(fp32), cut(int8)]
    chosen = choose(release, hardware=["cpu"], runtimes=[Runtime.ONNXRUNTIME])
    assert chosen is not None
    assert (chosen.name, chosen.precision) == (INT8, "int8")


def test_without_an_int8_file_there_is_one_variant() -> None:
    variants, files = build_variants(b"model")
    assert [variant.name for variant in variants] == [FLOAT]
    assert list(files.values()) == [b"model"]
