"""Answers of the API as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.table import Table

from shared import api
from shared.access import Key
from shared.attested import Attested, Statement, statement
from shared.clock import utc


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table."""
    built = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        built.add_column(name, overflow="fold")
    for row in rows:
        built.add_row(*(str(value) for value in row))
    return built


def moment(at: float | None) -> str:
    """A time in this machine's zone; empty for none."""
    return "" if not at else _local(at).strftime("%Y-%m-%d %H:%M:%S")


def share(value: float | None) -> str:
    """A share as a number with three places; a dash for none."""
    return "–" if value is None else f"{value:.3f}"


def devices(found: Sequence[api.Device]) -> Table:
    """One line a device and model."""
    called = any(device.labels for device in found)
    rows = [
        (
            device.id,
            device.fleet,
            *([labels(device.labels)] if called else []),
            f"{device.state}, ALARM" if device.alarm else device.state,
            *_model(model),
            moment(device.last_seen),
            moment(device.expires_at),
        )
        for device in found
        for model in device.models or [api.DeviceModel(model="", desired="")]
    ]
    columns = ("state", "model", "serving", "variant", "last step", "last seen", "certificate until")
    return table("Devices", ("device", "fleet", *(["labels"] if called else []), *columns), rows)


def labels(found: Mapping[str, str]) -> str:
    """Labels as they are given to commands."""
    return ", ".join(f"{key}={value}" for key, value in sorted(found.items()))


def device(found: api.Device) -> list[Table]:
    """One device: who it is, and what it runs."""
    said = {
        "fleet": found.fleet,
        "state": found.state,
        "alarm": f"{found.alarm} ({moment(found.alarm_at)})" if found.alarm else "none",
        "certificate": f"{found.serial}, until {moment(found.expires_at)}",
        "enrolled": moment(found.enrolled_at),
        "revoked": moment(found.revoked_at),
        "last seen": moment(found.last_seen),
        "hardware": ", ".join(found.hardware),
        "labels": labels(found.labels),
        "Flower node": found.node,
    }
    rows = [(name, value) for name, value in said.items() if value]
    return [table(found.id, ("", ""), rows), devices([found])]


def _model(model: api.DeviceModel) -> tuple[str, str, str, str]:
    return model.model, model.serving, model.variant, f"{model.release}: {model.stage}" if model.stage else ""


def runs(found: Sequence[api.Run]) -> Table:
    """One line a run."""
    rows = [
        (run.id, run.state, run.cause, len(run.rounds), _accuracy(run), run.release, moment(run.created_at), run.reason)
        for run in found
    ]
    columns = ("run", "state", "cause", "rounds", "accuracy", "release", "ordered", "reason")
    return table("Federated runs", columns, rows)


def progress(found: api.RoundProgress) -> Table:
    """One line a client of a round."""
    rows = [
        (device, client.state, client.examples or "", moment(client.at), client.reason)
        for device, client in sorted(found.clients.items())
    ]
    rows += [(device, "excluded", "", "", why) for device, why in sorted(found.excluded.items())]
    done = "closed" if found.finished else "under way"
    return table(f"Round {found.round}, {done}", ("device", "state", "examples", "since", "reason"), rows)


def rounds(run: api.Run) -> Table:
    """One line a round."""
    rows = [
        (
            row.number,
            len(row.cohort),
            *(f"{row.metrics.get(name, 0.0):.4f}" for name in ("loss", "accuracy")),
            row.digest[:12],
        )
        for row in run.rounds
    ]
    return table(f"{run.id}: {run.state}", ("round", "cohort", "loss", "accuracy", "weights"), rows)


def releases(found: Sequence[api.Release]) -> Table:
    """One line a variant."""
    rows = [
        (
            release.id,
            variant.name,
            f"{variant.size:,}",
            variant.digest[:12],
            release.run or "imported",
            moment(release.published_at) or release.approval,
        )
        for release in found
        for variant in release.variants
    ]
    return table("Releases", ("release", "variant", "bytes", "digest", "from", "published"), rows)


def keys(found: Sequence[Key]) -> Table:
    """One line a key."""
    rows = [
        (
            key.name,
            ", ".join(key.roles),
            ", ".join(key.fleets),
            "revoked" if key.revoked_at else "",
            moment(key.created_at),
            moment(key.expires_at),
            moment(key.used_at),
        )
        for key in found
    ]
    return table("API keys", ("name", "roles", "fleets", "", "made", "expires", "last used"), rows)


def attestations(release: str, found: Sequence[Attested]) -> Table:
    """One line an attestation."""
    rows = [(one.kind, _gist(statement(one)), one.attestor[:12], moment(one.at)) for one in found]
    return table(f"What is attested of {release}", ("kind", "says", "by key", "signed"), rows)


def _gist(said: Statement) -> str:
    """The heart of a statement, for a person."""
    about = said.predicate
    if asked := about.get("buildDefinition", {}).get("externalParameters"):
        inner = about["buildDefinition"].get("internalParameters", {})
        if by := asked.get("importedBy"):
            return f"imported by {by}: {asked.get('reason') or 'no reason given'}"
        return f"{asked.get('run')}: {asked.get('rounds')} rounds on {inner.get('devices')} devices"
    if measured := about.get("accuracy"):
        shares = ", ".join(f"{name} {share(value)}" for name, value in sorted(measured.items()))
        judged = f"on {about.get('examples')} examples of {about.get('devices')} devices"
        return f"{shares} {judged if about.get('devices') else about.get('method')}"
    if compared := about.get("variants"):
        return ", ".join(f"{name} agrees in {share(figures.get('agreement'))}" for name, figures in compared.items())
    if parts := about.get("components"):
        return f"{about.get('bomFormat')} {about.get('specVersion')}, {len(parts)} components"
    return said.predicate_type


def drift(found: api.Drift) -> Table:
    """The newest score of each device."""
    newest = {(score.model, score.device): score for score in found.scores}
    rows = [
        (
            score.device,
            score.release,
            f"{score.score:.3f}",
            f"{found.thresholds.get(score.model, 0.0):.3f}",
            "ALARM" if score.device in found.alarms.get(score.model, []) else "",
            score.feature,
            moment(score.at),
        )
        for _, score in sorted(newest.items())
    ]
    return table("Drift", ("device", "release", "score", "threshold", "", "most moved", "at"), rows)


def telemetry(found: api.TelemetrySummary) -> list[Table]:
    """What was delivered, and what was computed."""
    delivered = [
        (name, d.sent, d.stored, d.lost, d.duplicated, d.resent)
        for name, d in [*sorted(found.devices.items()), ("all", found.total)]
    ]
    computed = [
        (
            view.device,
            view.release,
            view.processed,
            view.errors,
            ", ".join(f"{count} {reason}" for reason, count in sorted(view.dropped_by.items())) or view.dropped,
            share(view.correct / view.labelled if view.labelled else None),
            share(view.p50_ms),
            share(view.p99_ms),
        )
        for view in found.inference
    ]
    return [
        table("Records", ("device", "sent", "stored", "lost", "duplicated", "resent"), delivered),
        table(
            "Inference", ("device", "release", "inputs", "errors", "dropped", "accuracy", "p50 ms", "p99 ms"), computed
        ),
    ]


def event_line(event: api.Event) -> str:
    """One event on one line."""
    return f"{moment(event.at)}  {event.kind:<18} {event.text}"


def lineage(found: api.Lineage) -> list[Table]:
    """The line from data to live figures, a table for each model."""
    return [_lineage(found.device, model) for model in found.models]


def _lineage(device: str, found: api.ModelLineage) -> Table:
    status, release, run, live = found.status, found.release, found.run, found.live
    rows: list[tuple[str, str]] = [("asked to run", status.desired or "nothing"), ("runs", status.serving or "nothing")]
    if release is not None:
        rows += [
            ("release", f"{release.digest[:16]}…, published {moment(release.published_at)}"),
            ("signed by", ", ".join(key[:12] for key in release.signers)),
            ("trained by", f"{run.id}: {run.cause}, {run.reason or 'no reason given'}" if run else "imported"),
            ("rounds", str(len(run.rounds)) if run else "–"),
            ("on data held centrally", ", ".join(map(_central, found.jobs)) or "–"),
            ("on data of", ", ".join(found.cohort) or "–"),
            ("attested", ", ".join(release.attestations) or "nothing"),
            ("evaluation", ", ".join(f"{name} {value:.3f}" for name, value in sorted(release.evaluation.items()))),
            ("variant", f"{found.variant.name}, {found.variant.size:,} bytes" if found.variant else "–"),
            ("rollout", _rollout(found)),
            *((("proven", gate_words(gate))) for gate in found.gates),
            ("active since", moment(found.active_at) or "–"),
            (
                "live",
                f"{live.processed} inputs, {live.errors} errors, "
                f"accuracy {share(live.accuracy)}, p99 {share(live.p99_ms)} ms",
            ),
            ("drift", share(live.drift)),
        ]
    if status.reason:
        rows.append(("last refusal", f"{status.release}: {status.reason}"))
    built = table(f"{device}: {status.model}", ("", ""), rows)
    built.show_header = False
    return built


def measured(gate: api.Gate) -> str:
    """What a gate has measured: differences with their sign, ratios and degrees without."""
    if gate.measured is None:
        return "nothing"
    return f"{gate.measured:+.4f}" if gate.needed else f"{gate.measured:.4g}"


def gate_words(gate: api.Gate) -> str:
    """One gate in a few words."""
    return f"{gate.gate} {measured(gate)} against {gate.bound:g} over {gate.inputs} inputs: {gate.verdict}"


def _rollout(found: api.ModelLineage) -> str:
    if not found.rollout:
        return "–"
    wave = "" if found.wave is None else f", wave {found.wave + 1}"
    return f"{found.rollout}{wave}, {found.rollout_state}"


def _accuracy(run: api.Run) -> str:
    return share(run.rounds[-1].metrics.get("accuracy")) if run.rounds else ""


def _local(at: float) -> datetime:
    return utc(at).astimezone()


def _central(job: api.CentralJob) -> str:
    """What was done for a model with data of the company's own."""
    what = "first weights from" if job.kind == "warm-start" else "judged on"
    return f"{what} {job.order.get('data', '')} ({job.id}, {job.state})"
