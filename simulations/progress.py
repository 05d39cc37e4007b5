"""What a person sees while a scenario runs: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Bar:
    """One line of progress."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def update(self, done: float, total: float | None = None, *, text: str | None = None) -> None:
        """Show `done` of `total`; `text` replaces the label."""
        self._progress.update(self._task, completed=done, total=total)
        if text is not None:
            self._progress.update(self._task, description=text)


class Narrator:
    """Tells the story of a scenario."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextlib.contextmanager
    def stage(self, label: str, *, total: float | None = None) -> Iterator[Bar]:
        """Show a bar while the block runs, and leave a line with its outcome and time behind."""
        progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=False,
        )
        with progress:
            task = progress.add_task(label, total=total)
            yield Bar(progress, task)
            shown = progress.tasks[0]
            full = shown.total if shown.total is not None else max(shown.completed, 1)
            progress.update(task, completed=full, total=full)

    def say(self, text: str) -> None:
        """One line of prose."""
        self.console.print(text)
