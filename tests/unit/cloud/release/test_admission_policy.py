"""What an admission policy decides, rule by rule; each refusal beside the release that is admitted."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner

from cloud.release.attest.kinds import Attestation, Kind, Origin
from cloud.release.modelsig import public_pem
from cloud.release.policy import DAY_S, Demand, Policy, decide
from cloud.release.policy_file import TEMPLATE, read_policy, trusted_keys
from shared.errors import RefusedError

FLOAT, INT8 = "cpu-fp32.onnx", "cpu-int8.onnx"
ABOUT = {"activity-1": "m" * 64, FLOAT: "f" * 64, INT8: "i" * 64}
AT = 1_800_000_000.0
STRICT = Policy(
    trained=Demand(
        least_accuracy=0.7,
        least_examples=100,
        least_devices=3,
        most_accuracy_lost=0.02,
        least_agreement=0.95,
        max_age_days=2,
    ),
    imported=Demand(require=(Kind.PROVENANCE,)),
)
EVALUATION = {"accuracy": {FLOAT: 0.8, INT8: 0.79}, "examples": 300, "devices": 3}
PARITY = {"variants": {INT8: {"accuracyLost": 0.01, "agreement": 0.97}}}


def attested(kind, predicate=None, **changes):
    fields = {"attestor": "own", "subjects": ABOUT, "made_at": AT - DAY_S} | changes
    return Attestation(kind=kind, predicate=predicate or {}, **fields)


def papers(**changed):
    """All four attestations; keywords replace one, or leave it out with None."""
    said = {
        "provenance": attested(Kind.PROVENANCE),
        "evaluation": attested(Kind.EVALUATION, EVALUATION),
        "parity": attested(Kind.PARITY, PARITY),
        "bom": attested(Kind.BOM),
    } | changed
    return [one for one in said.values() if one is not None]


def rules(held, *, policy=STRICT, origin=Origin.TRAINED, trusted=("own",)):
    found = decide(policy, held, origin=origin, about=ABOUT, files=[FLOAT, INT8], trusted=trusted, at=AT)
    return [violation.rule.removeprefix("trained.") for violation in found]


def evaluation(**changes):
    return attested(Kind.EVALUATION, EVALUATION | changes)


def parity(**changes):
    return attested(Kind.PARITY, {"variants": {INT8: PARITY["variants"][INT8] | changes}})


def test_a_release_with_all_its_papers_is_admitted():
    assert rules(papers()) == []


@pytest.mark.parametrize("kind", [kind.value for kind in Kind])
def test_each_kind_is_asked_for(kind):
    assert rules(papers(**{kind: None})) == ["require"]


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"evaluation": evaluation(accuracy={FLOAT: 0.8, INT8: 0.69})}, "least_accuracy"),
        ({"evaluation": evaluation(accuracy={FLOAT: 0.8})}, "least_accuracy"),
        ({"evaluation": evaluation(accuracy={FLOAT: 0.8, INT8: "0.9"})}, "least_accuracy"),
        ({"evaluation": evaluation(accuracy={FLOAT: 0.8, INT8: float("nan")})}, "least_accuracy"),
        ({"evaluation": evaluation(examples=99)}, "least_examples"),
        ({"evaluation": evaluation(devices=2)}, "least_devices"),
        ({"parity": parity(accuracyLost=0.03)}, "most_accuracy_lost"),
        ({"parity": parity(agreement=0.9)}, "least_agreement"),
        ({"parity": parity(agreement=None)}, "least_agreement"),
        ({"provenance": attested(Kind.PROVENANCE, made_at=AT - 3 * DAY_S)}, "max_age_days"),
        ({"bom": attested(Kind.BOM, attestor="somebody")}, "require"),
        ({"bom": attested(Kind.BOM, subjects=ABOUT | {INT8: "x" * 64})}, "require"),
        ({"bom": attested(Kind.BOM, subjects={INT8: "i" * 64})}, "require"),
    ],
)
def test_a_broken_rule_is_named(changed, rule):
    assert rules(papers(**changed)) == [rule]


def test_every_broken_rule_is_named_at_once():
    assert rules(papers(bom=None, evaluation=evaluation(examples=1), parity=parity(agreement=0.5))) == [
        "require",
        "least_examples",
        "least_agreement",
    ]


def test_attestors_that_nobody_trusts_do_not_count_beside_one_that_is():
    forged = attested(Kind.EVALUATION, EVALUATION | {"accuracy": {FLOAT: 1.0, INT8: 1.0}}, attestor="somebody")
    weak = evaluation(accuracy={FLOAT: 0.1, INT8: 0.1})
    assert rules([*papers(evaluation=weak), forged]) == ["least_accuracy", "least_accuracy"]


def test_what_one_trusted_attestor_says_against_a_release_no_other_outweighs():
    second = attested(Kind.EVALUATION, EVALUATION | {"devices": 1}, attestor="lab")
    for held in ([*papers(), second], [second, *papers()]):
        assert rules(held, trusted=("own", "lab")) == ["least_devices"]
        assert rules(held) == []


def test_an_import_needs_what_the_policy_says_of_imports():
    only = papers(evaluation=None, parity=None, bom=None)
    assert rules(only, origin=Origin.IMPORTED) == []
    assert rules(only) == ["require"] * 3
    assert rules([], origin=Origin.IMPORTED) == ["imported.require"]


def test_a_restored_release_is_held_to_its_papers_and_to_no_figure():
    old = papers(provenance=attested(Kind.PROVENANCE, made_at=0.0), evaluation=evaluation(examples=1))
    assert rules(old, origin=Origin.RESTORED) == []
    assert rules(papers(bom=None), origin=Origin.RESTORED) == ["require"]


def test_an_import_that_is_brought_back_needs_no_paper_that_was_not_asked_of_it_before():
    only = papers(evaluation=None, parity=None, bom=None)
    assert rules(only, origin=Origin.REIMPORTED) == []
    assert rules([], origin=Origin.REIMPORTED) == ["imported.require"]


def test_the_file_that_set_up_writes_is_the_default(tmp_path):
    assert read_policy(tmp_path / "admission.toml") == Policy()
    (tmp_path / "admission.toml").write_text(TEMPLATE)
    assert read_policy(tmp_path / "admission.toml") == Policy()
    assert trusted_keys(Policy()) == {}


def test_the_policy_shown_to_operators_is_the_default():
    page = (Path(__file__).parents[4] / "docs" / "operators.md").read_text()
    (shown,) = [
        text for text in re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "[trained]" in text
    ]
    assert msgspec.convert(tomllib.loads(shown), Policy) == Policy()


def test_the_file_names_attestors_by_their_keys(tmp_path):
    signer = CryptoSigner.generate_ecdsa()
    pem = public_pem(signer.public_key)
    (tmp_path / "admission.toml").write_text(f'[attestors]\nlab = """{pem}"""\n')
    assert list(trusted_keys(read_policy(tmp_path / "admission.toml"))) == [signer.public_key.keyid]


@pytest.mark.parametrize(
    "text",
    [
        "[trained",
        "\x00",
        "[trained]\nleast_accuracy = 'a'",
        "[trained]\nleast_accuracy = 7.0",
        "[trained]\nleats_accuracy = 0.5",
        "[imported]\nrequire = ['everything']",
        '[attestors]\nx = "y"',
    ],
)
def test_a_policy_that_cannot_be_followed_publishes_nothing(tmp_path, text):
    (tmp_path / "admission.toml").write_text(text)
    with pytest.raises(RefusedError, match="no admission policy"):
        read_policy(tmp_path / "admission.toml")


def test_policies_survive_their_own_encoding():
    assert msgspec.convert(msgspec.to_builtins(STRICT), Policy) == STRICT
