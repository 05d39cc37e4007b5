"""Make this checkout runnable; every failure is one line and its remedy."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from shared.errors import HinterlandError
from simulations.bootstrap import cluster, debian, environment
from simulations.bootstrap.machine import is_root

ROOT = Path(__file__).resolve().parents[2]

BROKER = {"mosquitto": ["mosquitto"]}
"""Package → the commands wanted from it."""

TOKEN = {"softhsm2": ["softhsm2-util"]}
"""A PKCS#11 token without hardware, for the tests of keys that live on one."""

FAULTS = {"strace": ["strace"], "xfsprogs": ["mkfs.xfs"], "e2fsprogs": ["mkfs.ext4", "e2fsck"]}
"""What the fault suite breaks processes and disks with; without root it could not mount a disk anyway."""

CLIENTS = {"mosquitto-clients": ["mosquitto_pub", "mosquitto_sub"]}
"""What benchmarks compare with; `--bench` asks for them."""


def main(arguments: list[str]) -> int:
    """Set up what is missing; return the exit status."""
    started = time.monotonic()
    system = BROKER | TOKEN | (FAULTS if is_root() else {}) | (CLIENTS if "--bench" in arguments else {})
    try:
        changed = environment.ensure(ROOT)
        if "--bench" in arguments:
            changed |= environment.ensure_peers(ROOT)
        if "--engines" in arguments:
            environment.add_engines(ROOT)
        if "--cluster" in arguments:
            changed |= cluster.ensure_cluster(ROOT)
            changed |= debian.keep(["prometheus"], commands=["promtool"], home=ROOT / ".venv")
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
