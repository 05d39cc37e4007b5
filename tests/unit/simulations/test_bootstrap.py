"""Setting a checkout up: what is installed, when again, and what a person reads when it cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import FaultError, RefusedError
from simulations.bootstrap import debian, environment, machine

ROOT = Path(__file__).parents[3]

SIMULATED = """Reading package lists...
Inst libwebsockets17 (4.1.6 Debian:12 [amd64])
Inst mosquitto (2.0.11-1.2 Debian:12 [amd64])
Conf libwebsockets17 (4.1.6 Debian:12 [amd64])
Conf mosquitto (2.0.11-1.2 Debian:12 [amd64])
"""


def name_of(**changes: object) -> str:
    parts: dict[str, object] = {"lock": b"a==1", "project": b"[project]", "python": "3.11", "root": Path("/clone")}
    return environment.fingerprint(**(parts | changes))


def test_an_installation_is_named_by_all_that_it_depends_on() -> None:
    others = [name_of(lock=b"a==2"), name_of(project=b""), name_of(python="3.12"), name_of(root=Path("/moved"))]
    assert len({name_of(), *others}) == 5
    assert name_of() == name_of()


def test_bytes_that_move_from_one_file_to_the_next_change_the_name() -> None:
    assert name_of(lock=b"ab", project=b"c") != name_of(lock=b"a", project=b"bc")


def test_the_lock_file_pins_torch_without_saying_which_build() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert environment.torch_pin(lock) == "torch==2.13.0"
    assert "+cpu" not in environment.torch_pin("torch==2.13.0+cpu\n")
    assert environment.torch_pin("torchvision==1.0\n") == ""


def test_the_lock_file_pins_every_package_and_brings_no_cuda() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line[:1] not in {"#", " "}]
    assert len(lines) > 80
    assert all("==" in line for line in lines)
    assert not [line for line in lines if line.startswith(("nvidia", "cuda", "triton"))]


def test_an_environment_that_is_up_to_date_is_left_alone(tmp_path: Path) -> None:
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    stamp = environment.fingerprint(lock=b"", project=b"", python=sys.version, root=tmp_path)
    (tmp_path / ".venv" / environment.STAMP).write_text(stamp)
    assert environment.ensure(tmp_path) is False


def test_peers_that_are_there_are_left_alone_and_others_are_asked_for_within_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    asked: list[list[str]] = []
    monkeypatch.setattr(environment, "run", lambda argv, **_: asked.append(argv))
    monkeypatch.setattr(environment, "PEERS", (f"pytest=={pytest.__version__}",))
    monkeypatch.setattr(environment, "_has", lambda _python, package, version: version == pytest.__version__)
    assert environment.ensure_peers(tmp_path) is False
    monkeypatch.setattr(environment, "PEERS", (f"pytest=={pytest.__version__}", "pytest==0.1"))
    assert environment.ensure_peers(tmp_path) is True
    assert asked[0][-3:] == ["pytest==0.1", "--constraint", str(tmp_path / "requirements.lock")]


def test_a_package_of_another_version_is_not_there() -> None:
    assert environment._has(sys.executable, "pytest", pytest.__version__)
    assert not environment._has(sys.executable, "pytest", "0.1")
    assert not environment._has(sys.executable, "no-such-package-of-ours", "1.0")


def test_a_full_disk_is_one_line_and_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"0\.5 GiB are free") as caught:
        machine.require_disk(tmp_path, free_gib=0.5)
    assert caught.value.hint
    machine.require_disk(tmp_path, free_gib=100.0)


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match=r"no broker .*status 3") as caught:
        machine.run([sys.executable, "-c", "raise SystemExit(3)"], failure="no broker", hint="plug it in")
    assert caught.value.hint == "plug it in"
    with pytest.raises(FaultError, match="no broker"):
        machine.run([str(tmp_path / "missing")], failure="no broker", hint="plug it in")


def test_only_what_is_missing_is_fetched() -> None:
    assert debian.missing(SIMULATED) == ["libwebsockets17", "mosquitto"]
    assert debian.missing("mosquitto is already the newest version\n") == []


def test_an_unpacked_command_runs_with_the_libraries_beside_it(tmp_path: Path) -> None:
    tree = tmp_path / "unpacked"
    program, library = tree / "usr" / "sbin" / "broker", tree / "usr" / "lib" / "x" / "lib1.so.2"
    for path, text in ((program, '#!/bin/sh\necho "$LD_LIBRARY_PATH $1"\n'), (library, "")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    program.chmod(0o755)
    debian.write_script("broker", tree=tree, into=tmp_path / "bin")
    found = debian.find("broker", home=tmp_path)
    assert found == tmp_path / "bin" / "broker"
    said = subprocess.run([str(found), "hello"], capture_output=True, text=True, check=True).stdout
    assert said == f"{library.parent} hello\n"
    with pytest.raises(FaultError, match="no other"):
        debian.write_script("other", tree=tree, into=tmp_path / "bin")


def test_a_system_without_apt_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RefusedError, match="no apt-get here") as caught:
        debian.provide(["a-broker"], commands=["a-broker-command"], home=tmp_path)
    assert "a-broker" in caught.value.hint


def test_it_runs_on_a_bare_interpreter() -> None:
    bare = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import simulations.bootstrap.__main__",
    ]
    subprocess.run(bare, check=True, env={"PATH": os.environ["PATH"]})
