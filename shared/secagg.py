"""What a coordinator and its devices say to each other to add updates up without showing them.

Four stages, each a Flower message of type `query.secagg` and its reply (Bonawitz et al., "Practical Secure
Aggregation for Privacy-Preserving Machine Learning", CCS 2017, figure 4, in the semi-honest setting; neighbours on
a sparse graph after Bell et al., "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead", CCS 2020):

    setup       a device makes two key pairs              → its public keys
    share keys  it gets its neighbours' public keys       → shares of its secrets, sealed for each neighbour
    masked      it gets the shares meant for it, trains   → its update under all masks (an array record)
    unmask      it gets who delivered and who did not     → of each neighbour one share: never both kinds
"""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from shared.errors import ContractError, RefusedError

SECAGG = "query.secagg"
"""Message type, as `flwr.clientapp.ClientApp` routes it."""

HOLDINGS = "query.holdings"
"""Message type: how many examples a device holds, and nothing of what is in them."""

STAGE = "stage"
"""Field of the config record that holds a packed stage."""

LEAST_NEIGHBOURS = 2
"""A device takes part with no fewer: with one, the neighbour and the coordinator would know its update."""

TAIL = 2
"""Integers behind the update's own: the weight, and the training loss times the weight."""

LOSS_REACH = 16.0
"""Training losses are clipped to this, for they share the update's fixed-point numbers."""


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag="setup"):
    """Begin a round."""

    threshold: int
    """Shares that rebuild a secret: more than half of the neighbours."""

    neighbours: int


class PublicKeys(msgspec.Struct, frozen=True, kw_only=True):
    """A device's public keys of this round, PEM."""

    sealing: bytes
    """Seals the shares that others send to it."""

    masking: bytes
    """Agrees on a pairwise mask with each neighbour."""


class ShareKeys(msgspec.Struct, frozen=True, kw_only=True, tag="share-keys"):
    """The neighbours on the graph, and their keys."""

    device: str
    """How the neighbours call the one who reads this."""

    keys: dict[str, PublicKeys]


class SealedShares(msgspec.Struct, frozen=True, kw_only=True):
    """Device → a sealed `Shares` that only it can open."""

    sealed: dict[str, bytes]


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """What one neighbour keeps for another one."""

    owner: str
    holder: str
    seed: bytes
    """Share of the seed of the owner's own mask."""

    key: bytes
    """Share of the secret key of the owner's pairwise masks."""


class Masked(msgspec.Struct, frozen=True, kw_only=True, tag="masked"):
    """Train and deliver; the sealed shares name the neighbours who are still there."""

    sealed: dict[str, bytes]
    reach: float
    """Of the fixed-point numbers (`shared.masking.Grid`)."""

    bits: int
    most: int
    """Examples that this device registered; it weighs no more."""

    clip: float = 0.0
    """L2 bound on the update; above 0 every device weighs 1 and tells no loss (differential privacy)."""

    noise: float = 0.0
    """Standard deviation of the noise that the device itself adds to each value (local differential privacy)."""


class Unmask(msgspec.Struct, frozen=True, kw_only=True, tag="unmask"):
    """Which neighbours delivered a masked update, and which shared their keys and did not."""

    delivered: list[str]
    lost: list[str]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A device's shares: of those who delivered the mask's seed, of those who were lost the key."""

    seeds: dict[str, bytes]
    keys: dict[str, bytes]


Stage = Setup | ShareKeys | Masked | Unmask


def check_threshold(threshold: int, neighbours: int) -> None:
    """Check that no coordinator can have both secrets of a device rebuilt, whatever it tells whom.

    Each neighbour opens one of the two shares it holds, so two rebuilt secrets take twice `threshold` neighbours.

    Raises:
        RefusedError: it could, or there are too few neighbours.
    """
    if neighbours < LEAST_NEIGHBOURS or not neighbours < 2 * threshold <= 2 * neighbours:
        raise RefusedError(
            f"{threshold} of {neighbours} neighbours do not protect an update",
            hint=f"At least {LEAST_NEIGHBOURS} neighbours, and a threshold above half of them.",
        )


def read_key(data: bytes) -> EllipticCurvePublicKey:
    """A device's public key.

    Raises:
        ContractError: it is none on P-256.
    """
    try:
        key = load_pem_public_key(data)
    except ValueError as error:
        raise ContractError("a public key cannot be read") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ContractError("a public key is not on P-256")
    return key
