"""What is taken off a sum of masked updates once the devices have opened their shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from flwr.common.secure_aggregation.crypto.shamir import combine_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from shared.errors import ContractError, TransportError
from shared.masking import Residues, mask
from shared.secagg import Opened, PublicKeys, read_key


def unmask(
    total: Residues,
    *,
    round_: int,
    bits: int,
    keys: Mapping[str, PublicKeys],
    graph: Mapping[str, Sequence[str]],
    sharing: Iterable[str],
    delivered: Iterable[str],
    opened: Iterable[Opened],
    threshold: int,
) -> Residues:
    """The sum of the updates that were `delivered`, out of the sum of what arrived.

    Args:
        total: sum of the masked vectors.
        round_: part of what each mask is made of.
        bits: of the modulus.
        keys: device → public keys, of this round.
        graph: device → neighbours.
        sharing: devices whose shares were handed on; they masked against each other.
        delivered: those whose vectors are in the total.
        opened: what devices answered, in any order.
        threshold: shares that rebuild a secret.

    Raises:
        TransportError: too few shares of somebody.
        ContractError: shares do not rebuild what they are said to.
    """
    answers = list(opened)
    present = set(delivered)
    lost = sorted(set(sharing) - present)
    for device in sorted(present):  # (1) everybody's own mask
        seed = _rebuild(device, [answer.seeds[device] for answer in answers if device in answer.seeds], threshold)
        total = total - mask(seed, f"own {round_}", len(total), bits)
    for device in lost:  # (2) masks whose other half never came
        peers = [peer for peer in graph[device] if peer in present]
        if not peers:
            continue
        secret = _rebuild(device, [answer.keys[device] for answer in answers if device in answer.keys], threshold)
        private = _private_key(device, secret, keys[device].masking)
        for peer in peers:
            pair = mask(generate_shared_key(private, read_key(keys[peer].masking)), f"pair {round_}", len(total), bits)
            total = total - pair if peer < device else total + pair
    return total


def _rebuild(device: str, shares: list[bytes], threshold: int) -> bytes:
    if len(shares) < threshold:
        raise TransportError(
            f"{len(shares)} shares of {device} were opened, {threshold} are needed",
            hint="Too many devices dropped out; the round is begun again.",
        )
    try:
        return bytes(combine_shares(sorted(shares)[:threshold]))
    except (ValueError, IndexError) as error:
        raise ContractError(f"the shares of {device} rebuild nothing") from error


def _private_key(device: str, secret: bytes, public: bytes) -> EllipticCurvePrivateKey:
    try:
        key = derive_private_key(int.from_bytes(secret, "big"), SECP256R1())
    except ValueError as error:
        raise ContractError(f"the shares of {device} rebuild no key") from error
    if public_key_to_bytes(key.public_key()) != public:
        raise ContractError(f"the shares of {device} rebuild another key than its own")
    return key
