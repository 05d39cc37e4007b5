"""The clock, the device's certificate, and whether what is signed is still fresh."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509

from edge.identity.floor import KnownTime
from edge.identity.schedule import renewal_at
from edge.operate.doctor.finding import Finding, fail, ok, warn
from edge.operate.doctor.patient import Patient
from shared.errors import HinterlandError
from shared.trust.store import MarkStore

DAY = 86_400.0

_TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""


def check_clock(patient: Patient) -> Iterator[Finding]:
    """It is not behind what the authority has signed, and somebody sets it."""
    now = patient.clock.now()
    if patient.identity is not None:
        floor = KnownTime(patient.clock, patient.identity.authority_file, patient.identity.certificate_file)()
        if now < floor - 60:
            yield fail(
                "clock",
                f"it reads {_date(now)}, before this device's certificate was made ({_date(floor)})",
                "Set the clock; until then updates wait, inference goes on.",
            )
            return
    if synchronised() is False:
        yield warn(
            "clock",
            f"it reads {_date(now)} UTC, and nothing keeps it right",
            "Run chrony or systemd-timesyncd, or set it by hand now and then.",
        )
    else:
        yield ok("clock", f"{_date(now)} UTC")


def synchronised() -> bool | None:
    """Whether the kernel's clock is kept right by somebody; None where it does not say."""
    try:
        buffer = ctypes.create_string_buffer(512)  # struct timex; `modes` 0 only asks
        said = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    return None if said < 0 else said != _TIME_ERROR


def check_identity(patient: Patient) -> Iterator[Finding]:
    """There is a certificate, it belongs to the key, and it will be renewed in time."""
    identity = patient.identity
    if identity is None:
        directory = patient.state / "identity"
        if directory.exists() and (directory / "enrolment.json").exists():
            yield fail("identity", f"{directory} is damaged", "Remove it and enrol this device with a new token.")
        else:
            yield fail("identity", "this device is not enrolled", "Put a token into agent.token_file; `run` enrols it.")
        return
    try:
        certificate = x509.load_pem_x509_certificate(identity.certificate_file.read_bytes())
        identity.tls()
    except (OSError, ValueError, HinterlandError) as error:
        yield fail("identity", f"the certificate cannot be used: {error}", "Enrol this device again.")
        return
    begins, ends = (each.timestamp() for each in (certificate.not_valid_before_utc, certificate.not_valid_after_utc))
    now = max(patient.clock.now(), begins)
    due = renewal_at(identity.device, begins=begins, ends=ends)
    text = f"{identity.device} of fleet {identity.fleet}, until {_date(ends)}"
    if ends <= now:
        yield fail(
            "identity", f"{text}: expired", "Let the agent reach its coordinator: it asks for another by itself."
        )
    elif now > due + (ends - due) / 2:
        yield warn("identity", f"{text}: its renewal is overdue", "See why the coordinator cannot be reached.")
    else:
        yield ok("identity", f"{text} ({(ends - now) / DAY:.0f} days)")


class _Signed(msgspec.Struct, frozen=True):
    expires: str


class _Document(msgspec.Struct, frozen=True):
    signed: _Signed


def check_trust(patient: Patient) -> Iterator[Finding]:
    """The signed metadata that this device has accepted is fresh, and its memory of them whole."""
    directory = patient.state / "trust"
    try:
        MarkStore(directory).load()
    except HinterlandError as error:
        yield fail("trust", str(error), error.hint or "Enrol this device again.")
    stamps = list(_expiries(directory))
    if not stamps:
        yield warn("trust", "no signed metadata have come yet", "They come with the first session with the broker.")
        return
    at, name = min(stamps)
    now = patient.clock.now()
    if at <= now:
        yield warn(
            "trust",
            f"{name} expired on {_date(at)}: updates wait, what serves goes on",
            "See why no newer ones come: the link, or the coordinator's signing.",
        )
    else:
        yield ok("trust", f"signed metadata are fresh; the first to expire is {name}, {_date(at)}")


def _expiries(directory: Path) -> Iterator[tuple[float, str]]:
    for path in (directory / "metadata").glob("*.json"):
        try:
            document = msgspec.json.decode(path.read_bytes(), type=_Document)
            yield datetime.fromisoformat(document.signed.expires).timestamp(), path.stem
        except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
            continue


def _date(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"
