"""Votes bind to bytes and to people."""

import pytest

from cloud.access.approvals import Standing, Vote, standing
from shared.ids import sha256

SEEN, OTHER = sha256(b"seen"), sha256(b"other")


def vote(who, *, approved=True, digest=SEEN):
    return Vote(subject="m-1", principal=who, digest=digest, approved=approved, at=1.0)


@pytest.mark.parametrize(
    ("needed", "votes", "expected"),
    [
        (0, [], Standing.APPROVED),
        (1, [], Standing.WAITING),
        (1, [vote("ann")], Standing.APPROVED),
        (1, [vote("author")], Standing.APPROVED),
        (1, [vote("ann", digest=OTHER)], Standing.WAITING),
        (1, [vote("ann"), vote("bob", approved=False)], Standing.REJECTED),
        (1, [vote("ann"), vote("bob", approved=False, digest=OTHER)], Standing.APPROVED),
        (2, [vote("ann")], Standing.WAITING),
        (2, [vote("ann"), vote("ann")], Standing.WAITING),
        (2, [vote("ann"), vote("author")], Standing.WAITING),
        (2, [vote("ann"), vote("bob")], Standing.APPROVED),
        (2, [vote("ann"), vote("bob", digest=OTHER)], Standing.WAITING),
        (2, [vote("ann"), vote("bob"), vote("author", approved=False)], Standing.REJECTED),
    ],
)
def test_counting(needed, votes, expected):
    assert standing(votes, digest=SEEN, needed=needed, authors={"author"}) is expected
