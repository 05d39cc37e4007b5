"""`python -m tests.fuzz 200000 [seed] [target …]`: more inputs, other seeds, fewer parsers; 1 on a finding."""

from __future__ import annotations

import logging
import math
import sys
import tempfile
from pathlib import Path

from tests.fuzz.runner import fuzz
from tests.fuzz.targets import targets


def main(count: int, seed: int, names: list[str]) -> int:
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as place:
        chosen = [target for target in targets(Path(place)) if not names or target.name in names]
        shares, findings, total = sum(target.share for target in chosen), 0, 0
        for target in chosen:
            tally = fuzz(target, math.ceil(count * target.share / shares), seed=seed)
            total, findings = total + tally.executed, findings + len(tally.findings)
            print(
                f"{target.name:24} {tally.executed:8} run {tally.accepted:8} accepted {tally.refused:8} refused"
                f" {tally.seconds:7.1f} s, slowest {tally.slowest_s * 1000:6.1f} ms",
                flush=True,
            )
            for finding in tally.findings:
                print(f"  FINDING {finding}", flush=True)
        print(f"{total} inputs, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3]]
    sys.exit(main(*[*numbers, *(200_000, 1)[len(numbers) :]], sys.argv[3:]))
