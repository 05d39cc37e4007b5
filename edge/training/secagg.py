"""This device's part in secure aggregation: its update leaves it only under masks that cancel in the sum.

Secrets of a round live in memory, one round per run at a time, and are gone after they were opened once. A trainer
that was restarted in between cannot go on with the round: it counts as lost, and the next round has it again.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from cryptography.exceptions import InvalidKey
from cryptography.fernet import InvalidToken
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from flwr.common.secure_aggregation.crypto.shamir import create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import decrypt, encrypt, generate_shared_key
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from numpy.typing import NDArray

from shared.codec import pack, unpack
from shared.errors import ContractError, RefusedError
from shared.masking import WIDTHS, Grid, Residues, gaussian, mask
from shared.secagg import (
    LEAST_NEIGHBOURS,
    LOSS_REACH,
    Masked,
    Opened,
    PublicKeys,
    SealedShares,
    Setup,
    ShareKeys,
    Shares,
    Unmask,
    check_threshold,
    read_key,
)
from shared.task import Trained, Weights

MOST_SESSIONS = 4
"""Runs whose secrets are kept at once; the oldest is forgotten, as if the device had dropped out of it."""

SECRET = 32
"""Bytes of a mask's seed, and of a secret key on P-256."""


@dataclass(slots=True)
class Session:
    """One device's secrets of one round."""

    round: int
    threshold: int
    neighbours: int
    sealing: EllipticCurvePrivateKey
    masking: EllipticCurvePrivateKey
    seed: bytes
    device: str = ""
    keys: dict[str, PublicKeys] = field(default_factory=dict)
    held: dict[str, Shares] = field(default_factory=dict)
    """Neighbour → the shares that this device keeps for it."""

    delivered: bool = False


class Sessions:
    """The rounds of secure aggregation that this process is in."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, Session] = OrderedDict()

    def setup(self, run: int, round_: int, wanted: Setup) -> PublicKeys:
        """Make this round's secrets; those of a round before are forgotten.

        Raises:
            RefusedError: the threshold would not protect this device.
        """
        check_threshold(wanted.threshold, wanted.neighbours)
        session = Session(
            round_,
            wanted.threshold,
            wanted.neighbours,
            sealing=generate_private_key(SECP256R1()),
            masking=generate_private_key(SECP256R1()),
            seed=secrets.token_bytes(SECRET),
        )
        self._open.pop(run, None)
        self._open[run] = session
        while len(self._open) > MOST_SESSIONS:
            self._open.popitem(last=False)
        return _public(session)

    def share(self, run: int, round_: int, wanted: ShareKeys) -> SealedShares:
        """Cut both secrets into shares, one a neighbour, each sealed for its holder.

        Raises:
            RefusedError: too few neighbours, this device among them, a key named twice, or shares given already.
        """
        session = self._session(run, round_)
        keys, device = wanted.keys, wanted.device
        everyone = [*keys.values(), _public(session)]
        if session.keys or device in keys or not session.threshold <= len(keys) <= session.neighbours:
            raise RefusedError(f"{len(keys)} neighbours at a threshold of {session.threshold}, or shares asked twice")
        if len({key for pair in everyone for key in (pair.sealing, pair.masking)}) != 2 * len(everyone):
            raise RefusedError("a public key is named twice")
        secret = session.masking.private_numbers().private_value.to_bytes(SECRET, "big")
        names = sorted(keys)
        seeds = create_shares(session.seed, session.threshold, len(names))
        parts = create_shares(secret, session.threshold, len(names))
        sealed = {
            name: encrypt(
                generate_shared_key(session.sealing, read_key(keys[name].sealing)),
                pack(Shares(owner=device, holder=name, seed=seed, key=part)),
            )
            for name, seed, part in zip(names, seeds, parts, strict=True)
        }
        session.device, session.keys = device, dict(keys)
        return SealedShares(sealed=sealed)

    def receive(self, run: int, round_: int, wanted: Masked) -> None:
        """Open and keep the neighbours' shares; to be called before training, which may be for nothing otherwise.

        Raises:
            RefusedError: fewer neighbours than the threshold are left, or shares came already.
            ContractError: a share is not what its sender sealed for this device.
        """
        session = self._session(run, round_)
        least = max(session.threshold, LEAST_NEIGHBOURS)
        if session.held or len(wanted.sealed) < least or not set(wanted.sealed) <= set(session.keys):
            raise RefusedError(f"{len(wanted.sealed)} neighbours are left, at least {least} must be")
        for name, data in sorted(wanted.sealed.items()):
            try:
                opened = decrypt(generate_shared_key(session.sealing, read_key(session.keys[name].sealing)), data)
            except (InvalidToken, InvalidKey) as error:
                raise ContractError(f"the share of {name} cannot be opened") from error
            shares = unpack(opened, Shares)
            if (shares.owner, shares.holder) != (name, session.device):
                raise ContractError(f"a share of {shares.owner[:80]} came as one of {name}")
            session.held[name] = shares

    def deliver(self, run: int, round_: int, vector: Residues, bits: int) -> Residues:
        """Put every mask on a vector, once.

        Raises:
            RefusedError: no shares were received, or an update was delivered already: two vectors under the same
                masks would show their difference.
        """
        session = self._session(run, round_)
        if session.delivered or not session.held:
            raise RefusedError("this round's masks are used up")
        session.delivered = True
        masked = vector + mask(session.seed, f"own {round_}", len(vector), bits)
        for name in session.held:
            agreed = generate_shared_key(session.masking, read_key(session.keys[name].masking))
            pair = mask(agreed, f"pair {round_}", len(vector), bits)
            masked = masked + pair if session.device < name else masked - pair
        return masked

    def open(self, run: int, round_: int, wanted: Unmask) -> Opened:
        """Give one share of each neighbour away and forget the round.

        Raises:
            RefusedError: a neighbour is named twice or is none, or fewer than the threshold delivered: the
                coordinator would learn less than a sum.
        """
        session = self._session(run, round_)
        named = [*wanted.delivered, *wanted.lost]
        if len(set(named)) != len(named) or not set(named) <= set(session.held):
            raise RefusedError("a neighbour is named twice, or is none")
        least = max(session.threshold, LEAST_NEIGHBOURS)
        if not session.delivered or len(wanted.delivered) < least:
            raise RefusedError(f"{len(wanted.delivered)} neighbours delivered, at least {least} must have")
        del self._open[run]  # whatever is asked next: no second share of anybody
        return Opened(
            seeds={name: session.held[name].seed for name in wanted.delivered},
            keys={name: session.held[name].key for name in wanted.lost},
        )

    def _session(self, run: int, round_: int) -> Session:
        session = self._open.get(run)
        if session is None or session.round != round_:
            raise RefusedError("this process knows no secrets of that round", hint="It was restarted; the next round.")
        return session


def prepare(model: Weights, trained: Trained, wanted: Masked) -> Residues:
    """The vector to be masked: weighted update, weight, weighted loss.

    With a clip bound, the update is scaled down to it (L2 over all tensors) and weighs 1, and the loss is left out:
    the bound is what the noise is measured by, and a loss would be a second disclosure.

    Raises:
        RefusedError: training left the range of numbers.
        ContractError: the coordinator's terms make no sense.
    """
    if wanted.bits not in WIDTHS or not wanted.reach > 0 or wanted.most < 1 or min(wanted.clip, wanted.noise) < 0:
        raise ContractError("the terms of this round make no sense")
    grid = Grid(reach=wanted.reach, bits=wanted.bits)
    delta = np.concatenate([(trained.weights[n].astype(np.float64) - v).ravel() for n, v in model.items()])
    if not np.isfinite(delta).all():
        raise RefusedError("training diverged")
    weight = 1 if wanted.clip else max(1, min(trained.examples, wanted.most))
    delta = disguised(delta, wanted)
    loss = 0.0 if wanted.clip else min(max(trained.loss, 0.0), LOSS_REACH) / LOSS_REACH
    counted = grid.quantise(np.array([loss * wanted.reach]), weight)
    own = np.array([weight]).astype(counted.dtype)
    return np.concatenate([grid.quantise(delta, weight), own, counted])


def disguised(delta: NDArray[np.float64], wanted: Masked) -> NDArray[np.float64]:
    """The update within the clip bound, and with this device's own noise if it is to add some."""
    if wanted.clip:
        delta = delta * min(1.0, wanted.clip / max(float(np.linalg.norm(delta)), 1e-30))
    if wanted.noise:
        delta = delta + wanted.noise * gaussian(secrets.token_bytes(SECRET), "local", len(delta))
    return delta


def _public(session: Session) -> PublicKeys:
    return PublicKeys(
        sealing=public_key_to_bytes(session.sealing.public_key()),
        masking=public_key_to_bytes(session.masking.public_key()),
    )
