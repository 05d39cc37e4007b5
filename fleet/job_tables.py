"""Tables of central jobs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from fleet.tables import moment, table
from shared.jobs import CentralJob


def jobs(found: Sequence[CentralJob]) -> Table:
    """One line a job."""
    rows = [
        (job.id, job.kind, job.subject, job.order.get("data", ""), job.state, moment(job.created_at), said(job))
        for job in found
    ]
    return table("Central jobs", ("job", "kind", "about", "data", "state", "ordered", "says"), rows)


def one_job(job: CentralJob) -> Table:
    """An evaluation file by file; anything else line by line."""
    if job.kind != "evaluation" or not job.result:
        facts = {"state": job.state, "reason": job.reason, **job.order, **job.result}
        return table(job.id, ("what", "is"), [(name, str(value)) for name, value in facts.items()])
    files, refused = job.result["files"], job.result["refused"]
    rows = [
        (
            name,
            _share(tally, "correct"),
            _share(tally, "agreed"),
            str(tally["examples"]),
            refused[name]["detail"] if name in refused else "clears the bar",
        )
        for name, tally in sorted(files.items())
    ]
    rows += [(name, "", "", "", why) for name, why in sorted(job.result["left_out"].items())]
    title = f"{job.subject} on {job.order['data']}: {job.result['summary']}"
    return table(title, ("file", "accuracy", "agreement", "examples", "verdict"), rows)


def said(job: CentralJob) -> str:
    """The result in a line."""
    if job.kind == "warm-start" and job.result:
        return f"{job.result['digest'][:12]} from {job.result['examples']} examples, {job.result['device']}"
    return str(job.result.get("summary", job.reason))


def _share(tally: dict[str, int], what: str) -> str:
    return f"{tally[what] / tally['examples']:.4f}" if tally["examples"] else ""
