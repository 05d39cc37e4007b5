"""Which coordinator an operator talks to: options, then environment, then a profile on disk."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from shared.errors import RefusedError


class BrokerAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How `hinterland tap` reaches the broker."""

    host: str
    port: int
    certificate: str
    """Client certificate (PEM) with read access."""

    key: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A coordinator and the right to use it; `hinterland-coordinator init` writes one as `cli.toml`."""

    url: str = ""
    ca: str = ""
    """Certificate authority, PEM file."""

    key: str = ""
    """API key."""

    broker: BrokerAccess | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was said on the command line; empty where nothing was."""

    profile: Path | None = None
    url: str = ""
    ca: str = ""
    key: str = ""


def default_path(home: Path) -> Path:
    """Where the profile lies that nobody has to name."""
    return home / ".config" / "hinterland" / "cli.toml"


def choose(choice: Choice, *, environ: Mapping[str, str], home: Path) -> Profile:
    """The profile to use.

    Raises:
        RefusedError: it cannot be read, or does not say where the coordinator is.
    """
    named = choice.profile or (Path(environ["HINTERLAND_PROFILE"]) if environ.get("HINTERLAND_PROFILE") else None)
    held = _read(named or default_path(home), required=named is not None)
    merged = msgspec.structs.replace(
        held,
        url=choice.url or environ.get("HINTERLAND_URL", "") or held.url,
        ca=choice.ca or environ.get("HINTERLAND_CA", "") or held.ca,
        key=choice.key or environ.get("HINTERLAND_KEY", "") or held.key,
    )
    if not merged.url or not merged.key:
        raise RefusedError(
            f"nobody said {'where the coordinator is' if not merged.url else 'which API key to use'}",
            hint="Name the coordinator's cli.toml with --profile, or copy it to ~/.config/hinterland/cli.toml.",
        )
    return merged


def _read(path: Path, *, required: bool) -> Profile:
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text())
        return msgspec.convert(document, Profile)
    except FileNotFoundError:
        if required:
            raise RefusedError(
                f"there is no profile {path}", hint="`hinterland-coordinator init` writes one."
            ) from None
        return Profile()
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise RefusedError(
            f"the profile {path} cannot be read: {error}", hint="Correct it, or make a new one."
        ) from error
