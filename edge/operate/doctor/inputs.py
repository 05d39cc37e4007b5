"""Whether what pipelines read from is there, and who listens for callers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from edge import settings as conf
from edge.operate.doctor.finding import Finding, fail, ok, warn
from edge.operate.doctor.patient import Patient
from edge.relay.address import Address
from edge.serving.tokens import Tokens
from shared.errors import HinterlandError

REACH_S = 3.0

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "mqtt": 1883, "mqtts": 8883, "opc.tcp": 4840, "tcp": 502}
"""Of addresses that name none."""


def check_sources(patient: Patient) -> Iterator[Finding]:
    """Files can be read, and whoever is at the other end of an address answers."""
    for pipeline in patient.settings.pipelines:
        name = f"source {pipeline.name}"
        places = list(_places(pipeline.source))
        problems = [problem for each in places if (problem := _problem(each)) is not None]
        for text, remedy in problems:
            yield fail(name, text, remedy)
        if not problems:
            yield ok(name, ", ".join(map(str, places)) or "nothing to look at")
    yield from _states(patient)


def _states(patient: Patient) -> Iterator[Finding]:
    for each in patient.status.pipelines if patient.status else []:
        if each.state == "failed":
            yield fail(f"pipeline {each.name}", each.reason, "Mend its source, then restart the agent.")
        elif each.state == "waiting":
            yield warn(
                f"pipeline {each.name}", f"no release of {each.model} serves", "See `hinterland device why NAME`."
            )


def _places(source: conf.Source) -> Iterator[Path | tuple[str, int]]:
    """Files and addresses that a source's settings name, of whatever kind it is."""
    said: dict[str, Any] = msgspec.to_builtins(source)
    for field in ("path", "device", "port"):
        if isinstance(text := said.get(field), str) and text.startswith("/"):
            yield Path(text)
    for field in ("url", "endpoint", "broker", "address"):
        if isinstance(text := said.get(field), str) and (address := address_of(text)) is not None:
            yield address
    if isinstance(host := said.get("host"), str) and isinstance(port := said.get("port"), int):
        yield host, port


def address_of(text: str) -> tuple[str, int] | None:
    """Host and port of a URL or of `host:port`; None where it is neither."""
    try:
        parts = urlsplit(text if "://" in text else f"tcp://{text}")
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def _problem(place: Path | tuple[str, int]) -> tuple[str, str] | None:
    if isinstance(place, Path):
        if not place.exists():
            return f"{place} is not there", "Check the path, or plug it in."
        if not os.access(place, os.R_OK):
            return f"{place} cannot be read by uid {os.geteuid()}", "Give the agent's user the right, or the group."
        return None
    host, port = place
    try:
        with socket.create_connection((host, port), timeout=REACH_S):
            return None
    except OSError as error:
        return (
            f"{host}:{port} does not answer: {error.strerror or error}",
            "Check its power, its cable and its address.",
        )


def check_serving(patient: Patient) -> Iterator[Finding]:
    """Somebody can ask, where somebody should."""
    serving = patient.settings.serving
    if not serving.listen and not serving.grpc:
        return
    try:
        tokens = Tokens(Tokens.place(patient.state)).entries()
    except HinterlandError as error:
        yield fail("serving", str(error), error.hint)
        return
    if serving.tokens and not tokens:
        yield warn("serving", "there is no token: nobody can ask", "hinterland-agent token create NAME")
    for text in filter(None, (serving.listen, serving.grpc)):
        address = Address.parse(text)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - to look at our own
        answers = _problem((host, address.port)) is None
        if patient.status is not None and not answers:
            yield fail("serving", f"the agent does not listen at {text}", "Its log says why.")
        elif patient.status is None and answers:
            yield fail("serving", f"somebody else listens at {text}", "Choose another port, or end the other program.")
        else:
            yield ok("serving", f"{text}, {len(tokens)} tokens")
