"""A person's word on a release that waits for it."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet.session import connected
from shared.errors import RefusedError

Which = Annotated[str, typer.Argument(help="Which, for example activity-2.")]
Seen = Annotated[
    str, typer.Option(help="What you looked at: the beginning of its `content` digest; what is there now.")
]


def approve(
    context: typer.Context,
    release: Which,
    reason: Annotated[str, typer.Option(help="For the audit log.")],
    seen: Seen = "",
) -> None:
    """Say yes to a release, so that it may be signed."""
    _vote(context, release, reason=reason, seen=seen, approved=True)


def reject(
    context: typer.Context,
    release: Which,
    reason: Annotated[str, typer.Option(help="For the audit log.")],
    seen: Seen = "",
) -> None:
    """Say no to a release; it is not signed unless you approve it later."""
    _vote(context, release, reason=reason, seen=seen, approved=False)


def _vote(context: typer.Context, release: str, *, reason: str, seen: str, approved: bool) -> None:
    with connected(context) as client:
        there = client.release(release)
        if not there.content.startswith(seen):
            raise RefusedError(f"{release} is not what you looked at", hint="Look again: `hinterland releases --json`.")
        found = client.vote(release, digest=there.content, approved=approved, reason=reason)
        names = ", ".join(vote.by for vote in found.votes if vote.approved) or "nobody"
        typer.echo(f"{release} is {found.approval}: approved by {names}.")
