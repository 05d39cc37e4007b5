"""The journal keeps every model line's step, whoever writes at the same time."""

from concurrent.futures import ThreadPoolExecutor

from edge.update.journal import Entry, Journal
from shared.messages import Stage

LINES = [f"line-{number}" for number in range(8)]


def test_model_lines_that_write_side_by_side_lose_nothing(tmp_path):
    journal = Journal(tmp_path / "journal.json")
    with ThreadPoolExecutor(len(LINES)) as pool:
        for round_ in range(1, 16):
            entry = Entry(release=f"r-{round_}", stage=Stage.OFFERED)
            list(pool.map(lambda line, entry=entry: journal.write(line, entry), LINES))
            kept = Journal(tmp_path / "journal.json")
            assert {line: kept.entry(line) for line in LINES} == dict.fromkeys(LINES, entry)
