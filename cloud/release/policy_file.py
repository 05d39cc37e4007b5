"""The admission policy as a file: `admission.toml` in the coordinator's directory."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from securesystemslib.signer import Key, SSlibKey

from cloud.release.policy import Policy
from shared.durable import read_if_present
from shared.errors import RefusedError

TEMPLATE = """\
# What a release must have before this coordinator publishes it. A release that breaks a rule stays unpublished, with an
# event and a row of the audit log that name the rule. Read again at each publication; no restart is needed.

# Whose attestations count: name = public key, PEM. With none here, those of the coordinator's own key `attestor` do.
# With some here, only theirs do.
[attestors]

# Releases from federated runs. Each model line has a bar of its own, which is judged before; this one holds for all.
[trained]
require = ["provenance", "evaluation", "parity", "bom"]  # kinds of attestations that must be there
least_accuracy = 0.3       # share of held-out examples that every file gets right; 0 asks nothing
least_examples = 50        # held-out examples behind that share
least_devices = 2          # devices that judged
most_accuracy_lost = 0.05  # accuracy that an optimised file may lose against the float one; 1 asks nothing
least_agreement = 0.85     # share of examples on which an optimised file says what the float one says
max_age_days = 30.0        # days since training and judging; 0 for any age

# Releases that an operator imports. What was measured elsewhere is attested as the operator's word, but not asked for.
[imported]
require = ["provenance", "bom"]
least_accuracy = 0.0
least_examples = 0
least_devices = 0
most_accuracy_lost = 1.0
least_agreement = 0.0
max_age_days = 0.0
"""


def read_policy(path: Path) -> Policy:
    """The policy in `path`; the one that set-up writes when there is no such file.

    Raises:
        RefusedError: the file is none.
    """
    data = read_if_present(path)
    try:
        text = TEMPLATE if data is None else data.decode()
        policy = msgspec.convert(tomllib.loads(text), Policy)
        trusted_keys(policy)
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError) as error:
        raise RefusedError(
            f"{path} is no admission policy: {error}", hint="Correct it; nothing is published."
        ) from error
    return policy


def trusted_keys(policy: Policy) -> dict[str, Key]:
    """Id → key of the attestors that a policy names.

    Raises:
        ValueError: one of them is no public key.
    """
    keys = [SSlibKey.from_crypto(serialization.load_pem_public_key(pem.encode())) for pem in policy.attestors.values()]
    return {key.keyid: key for key in keys}
