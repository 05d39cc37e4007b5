"""The publication gate: what is attested of a release, and what keeps one from being published."""

import json

import msgspec
import pytest
from sqlalchemy import update

from cloud.audit.log import AuditLog
from cloud.loop.imports import import_release
from cloud.release.attest.envelope import ATTESTOR, open_attestation, subjects
from cloud.release.attest.kinds import Kind
from cloud.release.modelsig import MODEL_SIGNING
from cloud.store.attestations import Attestations
from cloud.store.events import Events
from cloud.store.releases import Releases
from cloud.store.tables import attestations
from shared.api import ReleaseRequest
from shared.bundle import Runtime, Schema, Variant, digest_of, split
from shared.errors import RefusedError
from shared.ids import sha256
from shared.messages import Stage
from shared.trust.modelsig import check_variant

DATA = b"detector" * 500


def papers(stations, release="activity-1"):
    key = stations.publication.keys.ensure(ATTESTOR)
    rows = stations.read(lambda connection: Attestations(connection).of(release))
    return {Kind(row.kind): open_attestation(row.envelope, keys={key.keyid: key}) for row in rows}


def row(stations, release="activity-1"):
    return stations.read(lambda connection: Releases(connection).get(release))


def train(stations):
    stations.order()
    stations.settle(2)
    stations.play_job("activity-run-1")


def policy(stations, text):
    (stations.directory / "admission.toml").write_text(text)


def told(stations, kind):
    return [event for event in stations.read(lambda c: Events(c).after(0)) if event.kind == kind]


def test_a_trained_release_is_published_with_its_papers(stations):
    stations.release_one()
    held = papers(stations)
    assert set(held) == set(Kind)
    about = subjects(row(stations).document())
    assert all(dict(paper.subjects) == about for paper in held.values())
    asked = held[Kind.PROVENANCE].predicate["buildDefinition"]
    assert asked["externalParameters"]["run"] == "activity-run-1"
    assert asked["externalParameters"]["seed"] == 0
    assert asked["internalParameters"]["cohorts"] == [3, 3]
    assert (asked["internalParameters"]["devices"], asked["internalParameters"]["examples"]) == (3, 300)
    assert held[Kind.EVALUATION].predicate["devices"] == 3
    assert held[Kind.EVALUATION].predicate["spread"]["cpu-int8.onnx"] == {"least": 0.79, "median": 0.79, "most": 0.79}
    assert held[Kind.PARITY].predicate["variants"]["cpu-int8.onnx"]["agreement"] == 0.98
    models = [c for c in held[Kind.BOM].predicate["components"] if c["type"] == "machine-learning-model"]
    assert {m["name"]: m["hashes"][0]["content"] for m in models} == {
        name: digest for name, digest in about.items() if name.endswith(".onnx")
    }


def test_no_attestation_names_a_device(stations):
    stations.order(reason="watch-1, watch-2 drifted and hold labels")
    stations.settle(2)
    stations.play_job("activity-run-1")
    stations.settle()
    rows = stations.read(lambda connection: Attestations(connection).of("activity-1"))
    assert len(rows) == 4
    assert not any("watch-" in json.dumps(dict(paper.predicate)) for paper in papers(stations).values())


def test_a_run_that_went_on_from_another_names_the_weights_it_began_with(stations):
    stations.release_one()
    stations.order(start="activity-run-1")
    stations.settle(2)
    stations.play_job("activity-run-2")
    stations.settle()
    (base, *_) = papers(stations, "activity-2")[Kind.PROVENANCE].predicate["buildDefinition"]["resolvedDependencies"]
    assert base == {"name": "weights of activity-run-1", "digest": {"sha256": sha256(b"weights")}}


def test_models_are_signed_at_the_gate_and_once(stations):
    stations.release_one()
    release, keys = row(stations).document(), stations.repository.model_keys()
    for variant in release.variants:
        assert check_variant(release, variant, keys=keys) == MODEL_SIGNING
    assert row(stations).digest == digest_of(release)
    stations.settle()
    assert row(stations).document() == release


def test_a_crash_between_signing_and_publishing_changes_no_byte(stations):
    train(stations)
    stations.runs.turn()
    stations.runs.turn()
    waiting = row(stations)
    stations.publication.admission.judge(waiting)
    signed = stations.publication._sign_models(waiting)
    stations.publication.turn()
    assert row(stations).manifest == signed.manifest
    assert stations.repository.releases() == ["activity-1"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[trained]\nleast_accuracy = 0.85", "trained.least_accuracy"),
        ("[trained]\nmost_accuracy_lost = 0.005", "trained.most_accuracy_lost"),
        ("[trained]\nleast_devices = 4", "trained.least_devices"),
    ],
)
def test_a_release_that_breaks_the_policy_is_not_published_until_the_policy_changes(stations, text, rule):
    policy(stations, text)
    train(stations)
    stations.settle()
    assert stations.repository.releases() == []
    assert row(stations).refusal.startswith(f"{rule}: ")
    (event,) = told(stations, "release.refused")  # once, however many turns
    assert event.data["rules"] == [rule]
    refused = [r for r in stations.read(lambda c: AuditLog(c).rows()) if r.action == "release.refuse"]
    assert [(r.subject, r.after["rules"]) for r in refused] == [("activity-1", [rule])]
    assert stations.repository.desired("wards").devices == {}
    policy(stations, "[trained]\nleast_accuracy = 0.5")
    stations.settle()
    assert stations.repository.releases() == ["activity-1"]
    assert row(stations).refusal == ""


def test_old_evidence_is_refused(stations):
    policy(stations, "[trained]\nmax_age_days = 1")
    train(stations)
    stations.runs.turn()
    stations.runs.turn()
    stations.clock.advance(2 * 86_400)
    stations.publication.turn()
    assert stations.repository.releases() == []
    assert "max_age_days" in row(stations).refusal


def altered(text):
    envelope = json.loads(text)
    envelope["payload"] = envelope["payload"][::-1]
    return json.dumps(envelope)


def of_another_key(text):
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

    envelope = Envelope.from_dict(json.loads(text))
    envelope.signatures.clear()
    envelope.sign(CryptoSigner.generate_ed25519())
    return json.dumps(envelope.to_dict())


@pytest.mark.parametrize("forge", [altered, of_another_key], ids=lambda f: f.__name__)
def test_an_attestation_that_somebody_altered_counts_for_nothing(stations, forge):
    train(stations)
    stations.runs.turn()
    stations.runs.turn()
    assert stations.publication.admission.judge(row(stations)) == []
    held = stations.read(lambda connection: Attestations(connection).of("activity-1"))
    honest = next(one for one in held if one.kind == Kind.EVALUATION)
    with stations.database.write() as connection:
        where = (attestations.c.kind == honest.kind, attestations.c.release == "activity-1")
        connection.execute(update(attestations).where(*where).values(envelope=forge(honest.envelope)))
    stations.publication.turn()
    assert stations.repository.releases() == []
    assert row(stations).refusal == "trained.require: there is no attestation of evaluation"


def bring(stations, **request):
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
    asked = ReleaseRequest(model="detector", schema=schema, files=[], reason="from its package", **request)
    with stations.database.write() as connection:
        import_release(connection, asked, [variant], at=stations.clock.now(), by="operator")


def test_an_import_is_attested_as_the_word_of_whoever_brought_it(stations):
    bring(stations, evaluation={"accuracy.cpu-fp32.onnx": 0.4})
    stations.settle(2)
    assert stations.repository.releases() == ["detector-1"]
    held = papers(stations, "detector-1")
    assert set(held) == {Kind.PROVENANCE, Kind.EVALUATION, Kind.BOM}
    asked = held[Kind.PROVENANCE].predicate["buildDefinition"]["externalParameters"]
    assert asked == {"model": "detector", "importedBy": "operator", "reason": "from its package"}
    assert "operator" in held[Kind.EVALUATION].predicate["method"]


def test_a_policy_may_ask_more_of_imports(stations):
    policy(stations, '[imported]\nrequire = ["provenance", "evaluation"]\nleast_accuracy = 0.5')
    bring(stations)
    stations.settle(2)
    assert row(stations, "detector-1").refusal == "imported.require: there is no attestation of evaluation"
    bring(stations, evaluation={"accuracy.cpu-fp32.onnx": 0.6})
    stations.settle(2)
    assert stations.repository.releases() == ["detector-2"]


def test_a_release_that_brings_old_bytes_back_is_signed_anew_and_never_waits(stations):
    stations.release_one()
    policy(stations, "[trained]\nleast_accuracy = 0.9\nmax_age_days = 0.0001")
    stations.order()
    stations.settle(2)
    stations.play_job("activity-run-2")
    stations.settle()
    assert "least_accuracy" in row(stations, "activity-2").refusal
    policy(stations, "")
    stations.settle()
    policy(stations, "[trained]\nleast_accuracy = 0.9\nmax_age_days = 0.0001")
    stations.report("watch-2", "activity-2", Stage.ROLLED_BACK, reason="crashed")
    stations.settle(3)
    assert stations.repository.desired("wards").for_device("watch-2") == {"activity": "activity-3"}
    again, first = row(stations, "activity-3").document(), row(stations, "activity-1").document()
    assert [v.digest for v in again.variants] == [v.digest for v in first.variants]
    for variant in again.variants:
        assert check_variant(again, variant, keys=stations.repository.model_keys()) == MODEL_SIGNING
    assert set(papers(stations, "activity-3")) == set(Kind)


def test_a_broken_policy_publishes_nothing(stations):
    policy(stations, "[trained")
    train(stations)
    stations.runs.turn()
    stations.runs.turn()
    with pytest.raises(RefusedError, match="no admission policy"):
        stations.publication.turn()
    assert stations.repository.releases() == []


def test_envelopes_are_what_other_tools_read(stations):
    stations.release_one()
    (one, *_) = stations.read(lambda connection: Attestations(connection).of("activity-1"))
    envelope = json.loads(one.envelope)
    assert set(envelope) == {"payload", "payloadType", "signatures"}
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert msgspec.convert(envelope["signatures"], list[dict[str, str]])[0].keys() == {"keyid", "sig"}
