"""`hinterland apply`: what a document says shall be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from fleet.client import Client
from fleet.documents import Document, read_documents
from fleet.session import Json, connected, one_line, print_json
from shared.distribution import Distribution
from shared.errors import RefusedError
from shared.masks import FleetMasks

EPILOG = """
Examples:

  hinterland apply -f rollout.yaml --dry-run

  hinterland apply -f fleet.yaml --reason "autumn models"

  generate | hinterland apply -f -
"""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one document came to."""

    kind: str
    name: str
    change: str
    """`created`, `changed` or `unchanged`; what it would be, in a rehearsal."""

    details: dict[str, Any] = {}


def apply(
    context: typer.Context,
    file: Annotated[Path, typer.Option("-f", "--file", help="YAML, JSON or TOML; - for standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and let nothing happen.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="For the audit log.")] = "",
    as_json: Json = False,
) -> None:
    """Have rollouts, model lines, labels, distribution and masks be as documents say.

    The same document twice changes nothing.
    The coordinator looks at all documents before the first one counts, so a file with a mistake in it does nothing.
    """
    with one_line():
        documents = read_documents(file)
        for document in documents:
            _kind(document)
    with connected(context) as client:
        outcomes = [_send(client, document, dry_run=True, reason=reason) for document in documents]
        if not dry_run:
            outcomes = [_send(client, document, dry_run=False, reason=reason) for document in documents]
    if as_json:
        print_json(outcomes)
        return
    for outcome in outcomes:
        typer.echo(_words(outcome, dry_run=dry_run))


def _words(outcome: Outcome, *, dry_run: bool) -> str:
    would = "would be " if dry_run and outcome.change != "unchanged" else ""
    return f"{outcome.kind} {outcome.name}: {would}{outcome.change}{_plan(outcome.details)}"


def _plan(details: dict[str, Any]) -> str:
    """Of a rollout: how it goes, and whom it ends."""
    if "waves" not in details:
        return ""
    sizes = ", ".join(str(len(wave)) for wave in details["waves"])
    ends = ", ".join(details["supersedes"])
    return (f", waves of {sizes} devices" if sizes else ", for no device as yet") + (f"; ends {ends}" if ends else "")


def _rollout(client: Client, body: dict[str, Any], *, dry_run: bool, reason: str) -> Outcome:
    applied = client.apply_rollout(body, dry_run=dry_run, reason=reason)
    details = {"waves": applied.waves, "supersedes": applied.supersedes}
    return Outcome(kind="rollout", name=applied.rollout, change=applied.change, details=details)


def _model(client: Client, body: dict[str, Any], *, dry_run: bool, reason: str) -> Outcome:
    name = _name(body)
    document = {key: value for key, value in body.items() if key != "kind"}
    held = {line.name: line.document for line in client.models()}.get(name)
    after = client.apply_model(document, dry_run=dry_run, reason=reason).document
    return Outcome(kind="model", name=name, change="created" if held is None else _change(held, after))


def _device(client: Client, body: dict[str, Any], *, dry_run: bool, reason: str) -> Outcome:
    name, labels = _name(body), body.get("labels")
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise RefusedError(f"device {name} has no labels", hint='Give `labels: {site: "hamburg"}`; values are texts.')
    strange = sorted(body.keys() - {"kind", "name", "labels"})
    if strange:
        raise RefusedError(f"a device has no field {strange[0]!r}", hint="Give name and labels.")
    held = client.device(name).labels
    after = client.label(name, labels, dry_run=dry_run, reason=reason).labels
    return Outcome(kind="device", name=name, change=_change(held, after), details={"labels": after})


def _distribution(client: Client, body: dict[str, Any], *, dry_run: bool, reason: str) -> Outcome:
    name = _name(body)
    said = {key: value for key, value in body.items() if key not in ("kind", "name")}
    try:
        rule = msgspec.convert(said, Distribution)
    except msgspec.ValidationError as error:
        raise RefusedError(
            f"no distribution of {name}: {error}", hint="Give rate_mib_s, priority and windows."
        ) from error
    held = client.fleet(name).distribution
    after = client.distribute(name, rule, dry_run=dry_run, reason=reason).distribution
    return Outcome(kind="distribution", name=name, change=_change(held, after), details=msgspec.to_builtins(after))


def _masks(client: Client, body: dict[str, Any], *, dry_run: bool, reason: str) -> Outcome:
    name = _name(body)
    try:
        masks = msgspec.convert({key: value for key, value in body.items() if key not in ("kind", "name")}, FleetMasks)
    except msgspec.ValidationError as error:
        raise RefusedError(f"no masks of {name}: {error}", hint="docs/operators.md shows some.") from error
    held = client.masks(name)
    after = client.mask(name, masks, dry_run=dry_run, reason=reason)
    return Outcome(kind="masks", name=name, change=_change(held, after), details=msgspec.to_builtins(after))


def _change(before: object, after: object) -> str:
    return "unchanged" if before == after else "changed"


Send = Callable[..., Outcome]

KINDS: dict[str, Send] = {
    "rollout": _rollout,
    "model": _model,
    "device": _device,
    "distribution": _distribution,
    "masks": _masks,
}
"""What a document may be about."""


def _name(body: dict[str, Any]) -> str:
    name = body.get("name")
    if not isinstance(name, str) or not name:
        raise RefusedError("the document has no name", hint="Give `name: …`.")
    return name


def _kind(document: Document) -> str:
    kind = document.body.get("kind")
    if kind not in KINDS:
        raise RefusedError(
            f"{document.place} has {'no kind' if kind is None else f'an unknown kind {kind!r}'}",
            hint=f"Give `kind:` one of {', '.join(KINDS)}.",
        )
    return str(kind)


def _send(client: Client, document: Document, *, dry_run: bool, reason: str) -> Outcome:
    try:
        return KINDS[_kind(document)](client, document.body, dry_run=dry_run, reason=reason)
    except RefusedError as error:
        raise RefusedError(f"{document.place}: {error}", hint=error.hint) from error
