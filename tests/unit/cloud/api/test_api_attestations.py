"""What is attested of a release, over the API and in an operator's hands."""

import json

from securesystemslib.dsse import Envelope
from typer.testing import CliRunner

from cloud.loop.attesting import Admission
from cloud.release.attest.envelope import ATTESTOR
from cloud.release.keys import MemoryKeys
from cloud.store.releases import Releases
from fleet import tables
from fleet.commands.models import _export
from shared.attested import Attested, statement
from shared.bundle import Release, Runtime, Schema, Variant, split
from shared.ids import sha256

DATA = b"model" * 100


def release():
    variant = Variant(
        name="cpu-fp32.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=sha256(DATA),
        size=len(DATA),
        chunks=split(DATA),
    )
    schema = Schema(kind="detection", labels=["car"], input_shape=[3, 8, 8])
    return Release(
        id="street-1",
        model="street",
        counter=1,
        schema=schema,
        variants=[variant],
        created=1_800_000_000.0,
        evaluation={"accuracy.cpu-fp32.onnx": 0.5},
    )


async def test_attestations_are_shown_whole_and_a_release_names_their_kinds(world, tmp_path):
    keys = MemoryKeys()
    with world.database.write() as connection:
        row = Releases(connection).add(release())
    judge = Admission(
        database=world.database, keys=keys, clock=world.clock, tenant="acme", policy=tmp_path / "admission.toml"
    )
    async with world.client() as client:
        assert (await client.get("/releases/street-1")).json()["attestations"] == []
        assert judge.judge(row) == []
        assert (await client.get("/releases/street-1")).json()["attestations"] == ["bom", "evaluation", "provenance"]
        answer = await client.get("/releases/street-1/attestations")
        assert (await client.get("/releases/street-2/attestations")).status_code == 404
    shown = [Attested(**one) for one in answer.json()]
    assert [one.kind for one in shown] == ["bom", "evaluation", "provenance"]
    for one in shown:
        envelope = Envelope.from_dict(json.loads(one.envelope))
        assert envelope.verify([keys.ensure(ATTESTOR)], 1)
        assert {s["name"] for s in statement(one).subject} == {"street-1", "cpu-fp32.onnx"}
    _export(shown, tmp_path / "papers")
    written = sorted(path.name.split("-")[0] for path in (tmp_path / "papers").glob("*.intoto.jsonl"))
    assert written == ["bom", "evaluation", "provenance"]
    said = list(tables.attestations("street-1", shown).columns[1].cells)
    assert said[0].startswith("CycloneDX 1.6")
    assert said[1] == "cpu-fp32.onnx 0.500 word of unknown, who imported it"
    assert said[2] == "imported by unknown: no reason given"


def test_the_command_says_what_it_is_for():
    from fleet.main import app

    result = CliRunner().invoke(app, ["releases", "attestations", "--help"])
    assert result.exit_code == 0
    assert "--export" in result.stdout
