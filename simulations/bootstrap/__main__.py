"""Make this checkout runnable; every failure is one line and its remedy."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from shared.errors import HinterlandError
from simulations.bootstrap import debian, environment

ROOT = Path(__file__).resolve().parents[2]

BROKER = {"mosquitto": ["mosquitto"]}
"""Package → the commands wanted from it."""

TOKEN = {"softhsm2": ["softhsm2-util"]}
"""A PKCS#11 token without hardware, for the tests of keys that live on one."""

CLIENTS = {"mosquitto-clients": ["mosquitto_pub", "mosquitto_sub"]}
"""What benchmarks compare with; `--bench` asks for them."""


def main(arguments: list[str]) -> int:
    """Set up what is missing; return the exit status."""
    started = time.monotonic()
    system = BROKER | TOKEN | CLIENTS if "--bench" in arguments else BROKER | TOKEN
    try:
        changed = environment.ensure(ROOT)
        for package, commands in system.items():
            changed |= debian.provide([package], commands=commands, home=ROOT / ".venv")
    except HinterlandError as error:
        print(f"{error}\nRemedy: {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. Run it again to go on; what is installed stays.", file=sys.stderr)
        return 130
    if changed:
        print(f"Set up in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
