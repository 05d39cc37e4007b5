"""Our bills of materials are CycloneDX: held against the schema that its own library carries."""

import json
from importlib.resources import files

import jsonschema_rs
import msgspec
import pytest

from cloud.release.attest.bom import bill_of_materials, installed
from tests.publishing import make_release

SCHEMAS = files("cyclonedx.schema") / "_res"
PARTS = ("spdx", "jsf-0.82", "cryptography-defs")


def schema(name):
    return json.loads((SCHEMAS / f"{name}.SNAPSHOT.schema.json").read_text())


@pytest.fixture(scope="module")
def flaws():
    """What the schema of the version that a document names says against it."""
    parts = [(f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", schema(name)) for name in PARTS]
    registry = jsonschema_rs.Registry(parts)

    def check(document):
        validator = jsonschema_rs.Draft7Validator(schema(f"bom-{document['specVersion']}"), registry=registry)
        return [error.message for error in validator.iter_errors(document)]

    return check


@pytest.mark.parametrize("evaluation", [{}, {"accuracy.cpu-int8.onnx": 0.8, "agreement.cpu-int8.onnx": 1}])
@pytest.mark.parametrize("run", ["", "activity-run-1"])
def test_a_bill_of_materials_is_cyclonedx(flaws, evaluation, run):
    release = msgspec.structs.replace(make_release(3), evaluation=evaluation)
    document = bill_of_materials(release, data="examples of 3 devices", by="somebody", versions=installed(), run=run)
    assert flaws(document) == []
    assert flaws(document | {"specVersion": "1.7"}) == []  # the version after it reads it too
    document["components"][0]["hashes"][0]["alg"] = "CRC32"
    assert flaws(document) != []


def test_equal_releases_have_equal_bills():
    said = {"data": "x", "by": "y", "versions": installed()}
    assert bill_of_materials(make_release(3), **said) == bill_of_materials(make_release(3), **said)
