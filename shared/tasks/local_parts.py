"""Which tensors of a model stay on the device: personalisation by a shared backbone with local heads.

Source: Arivazhagan et al., Federated Learning with Personalization Layers, arXiv:1912.00818; Collins et al.,
arXiv:2102.07078, trains the two parts in turn, this trains them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError


def local_names(names: Iterable[str], prefixes: Sequence[str]) -> list[str]:
    """The tensors that begin with one of the prefixes, in the model's order."""
    return [name for name in names if name.startswith(tuple(prefixes))]


def shared_values(form: Mapping[str, tuple[int, ...]], prefixes: Sequence[str]) -> NDArray[np.bool_]:
    """Which values of the flat vector leave the device.

    Raises:
        ContractError: a prefix names no tensor, or nothing is left to share.
    """
    for prefix in prefixes:
        if not prefix or not local_names(form, [prefix]):
            raise ContractError(f"no tensor's name begins with {prefix[:80]!r}", hint=f"It has {', '.join(form)}.")
    kept = set(local_names(form, prefixes))
    parts = [np.full(int(np.prod(shape)), name not in kept) for name, shape in form.items()]
    shared = np.concatenate([np.zeros(0, dtype=np.bool_), *parts])
    if kept and not shared.any():
        raise ContractError("every tensor would stay on the devices: there is nothing to train together")
    return shared
