"""Hostile inputs from honest ones: what bit rot, a careless sender and a patient attacker make of them.

The same seed gives the same inputs, so that a finding can be had again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

MOST = 96 << 10
"""Bytes of an input; longer ones only make the run longer."""

NUMBERS = (
    0, 1, -1, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 1e308,
    -1e308, 5e-324, 0.1, -0.0,
)  # fmt: skip
TEXTS = (
    "", "\0", "a" * 4_000, "../../etc/passwd", "%s%n", "\u202e", "\ud7ff", "é", "-", "A", "NaN", "null", "𝕏" * 40,
    "1e999", "0" * 64, "f" * 64,
)  # fmt: skip
TOKENS = (
    b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"null", b"true", b"1e999", b"-1", b"9" * 400,
    b"NaN", b'"' * 9, b"\\u0000", b"\\ud800", b"\xc0\x80", b"\xed\xa0\x80", b"{}", b"[]", b"\r\n", b"..", b"-----BEGIN",
    b"=", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xd9\xff", b"\x80" * 12,
)  # fmt: skip
NESTS = ((b"[", b"]"), (b'{"a":', b"}"), (b"\x91", b""), (b"\x81\xa1a", b""), (b"\x30\x80", b""), (b"\x0a\x7f", b""))


class Mutator:
    """Endless variations of a few honest inputs."""

    def __init__(self, seeds: Sequence[bytes], random: Random) -> None:
        self._seeds = list(seeds)
        self._trees = [(seed, tree) for seed in seeds for tree in _trees(seed)]
        self._random = random
        self._bytewise: tuple[Callable[[bytes], bytes], ...] = (
            self._flip, self._flip, self._cut, self._lie, self._number, self._token, self._repeat, self._splice,
            self._nest, self._noise,
        )  # fmt: skip

    def __call__(self) -> bytes:
        """The next input."""
        if self._trees and self._random.random() < 0.5:
            data = self._grown()
        else:
            data = self._random.choice(self._seeds)
            for _ in range(self._random.choice((1, 1, 1, 2, 3, 8))):
                data = self._random.choice(self._bytewise)(data)
        if self._random.random() < 0.1:
            data = self._random.choice(self._bytewise)(data)
        return data[:MOST]

    def _at(self, data: bytes) -> int:
        return self._random.randrange(len(data) + 1)

    def _flip(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._random.choice((1, 1, 2, 8)) if changed else 0):
            changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        return data[: self._at(data)] if self._random.random() < 0.7 else data[self._at(data) :]

    def _lie(self, data: bytes) -> bytes:
        """Overwrite what may be a length."""
        size, place = self._random.choice((1, 2, 4, 8)), self._at(data)
        value = self._random.choice((0, 1, len(data), 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1)) % 256**size
        return data[:place] + value.to_bytes(size, self._random.choice(("big", "little"))) + data[place + size :]

    def _number(self, data: bytes) -> bytes:
        """Make a number in a text another one."""
        digits = [place for place, byte in enumerate(data[:4_096]) if 48 <= byte <= 57]
        if not digits:
            return self._lie(data)
        place = self._random.choice(digits)
        return data[:place] + str(self._random.choice(NUMBERS)).encode() + data[place + 1 :]

    def _token(self, data: bytes) -> bytes:
        place = self._at(data)
        return data[:place] + self._random.choice(TOKENS) + data[place + self._random.choice((0, 1, 4)) :]

    def _repeat(self, data: bytes) -> bytes:
        start, end = sorted((self._at(data), self._at(data)))
        piece = data[start : min(end, start + 512)]
        return data[:start] + piece * self._random.choice((2, 2, 3, 40)) + data[end:]

    def _splice(self, data: bytes) -> bytes:
        other = self._random.choice(self._seeds)
        return data[: self._at(data)] + other[self._at(other) :]

    def _nest(self, data: bytes) -> bytes:
        opening, closing = self._random.choice(NESTS)
        depth, place = self._random.choice((3, 64, 600, 3_000, 12_000)), self._at(data)
        return data[:place] + opening * depth + (closing * depth if self._random.random() < 0.5 else b"") + data[place:]

    def _noise(self, data: bytes) -> bytes:
        place = self._at(data)
        return data[:place] + self._random.randbytes(self._random.choice((1, 4, 16, 256))) + data[place:]

    def _grown(self) -> bytes:
        """An honest document with a few of its values replaced, removed or doubled, written down correctly."""
        _, (tree, write) = self._random.choice(self._trees)
        for _ in range(self._random.choice((1, 1, 2, 4))):
            tree = self._changed(tree, 0)
        try:
            return write(tree)
        except (ValueError, OverflowError, msgspec.MsgspecError):
            return self._noise(self._random.choice(self._seeds))

    def _changed(self, tree: Any, depth: int) -> Any:
        if isinstance(tree, dict) and tree and self._random.random() < 0.9:
            key = self._random.choice(list(tree))
            match self._random.randrange(8):
                case 0:
                    return {name: value for name, value in tree.items() if name != key}
                case 1:
                    return {**tree, self._random.choice(TEXTS): self._hostile()}
                case _:
                    return {**tree, key: self._changed(tree[key], depth + 1)}
        if isinstance(tree, list) and tree and self._random.random() < 0.9:
            place = self._random.randrange(len(tree))
            match self._random.randrange(8):
                case 0:
                    return tree[:place] + tree[place + 1 :]
                case 1:
                    return tree[:place] + [tree[place]] * self._random.choice((2, 50)) + tree[place + 1 :]
                case _:
                    return [*tree[:place], self._changed(tree[place], depth + 1), *tree[place + 1 :]]
        if isinstance(tree, bytes) and self._random.random() < 0.7:
            return self._random.choice(self._bytewise)(tree)[: MOST // 4]
        return self._hostile()

    def _hostile(self) -> Any:
        pool: tuple[Sequence[Any], ...] = (
            NUMBERS,
            TEXTS,
            (None, True, False, [], {}, [[]], {"": {}}, b"", b"\xff" * 20),
        )
        value = self._random.choice(self._random.choice(pool))
        for _ in range(self._random.choice((0, 0, 0, 0, 1, 200))):
            value = [value]
        return value


def _trees(seed: bytes) -> list[tuple[Any, Callable[[Any], bytes]]]:
    """The seed as a document, where it is one in JSON or MessagePack."""
    for read, write in (
        (json.loads, lambda tree: json.dumps(tree, default=lambda raw: raw.decode("latin-1")).encode()),
        (msgspec.msgpack.decode, msgspec.msgpack.encode),
    ):
        try:
            tree = read(seed)
        except (ValueError, msgspec.MsgspecError):
            continue
        if isinstance(tree, dict | list):
            return [(tree, write)]
    return []
