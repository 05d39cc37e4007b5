"""The unit file: whether systemd understands it, and whether models can still be fenced in under it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge import settings as conf
from edge.main import GONE_S, app
from edge.operate import unit
from shared.errors import RefusedError


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text('[agent]\nstate = "/var/lib/hinterland"\n')
    return path


def made(config, **changes):
    given = {"user": "nobody", "groups": ["video"], "command": Path("/bin/true")} | changes
    return unit.make_unit(conf.read(config), config=config, **given)


def values(text, name):
    return [value for each in re.findall(rf"^{name}=(.*)$", text, flags=re.MULTILINE) for value in each.split()]


def test_systemd_understands_it(config, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd on this machine")
    path = tmp_path / unit.NAME
    path.write_text(made(config, user="daemon"))
    said = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_every_call_with_which_a_model_is_fenced_in_is_let_through(config):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd on this machine")
    allowed = set(values(made(config), "SystemCallFilter"))
    listed = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True).stdout
    sets, name = {}, ""
    for line in re.sub(r"\x1b\[[0-9;]*m", "", listed).splitlines():
        if line.startswith("@"):
            name = line.split()[0]
        elif line.strip() and not line.strip().startswith("#"):
            sets.setdefault(name, set()).add(line.strip())
    while any(each in sets for each in allowed):
        allowed = {call for each in allowed for call in sets.get(each, {each})}
    assert {
        "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "prctl", "prlimit64",
        "setresuid", "setgroups", "memfd_create", "setpriority", "sched_setaffinity", "clone3", "execve", "socketpair",
    } <= allowed  # fmt: skip


def test_the_manager_waits_longer_than_the_agent_takes_to_end(config):
    (stop,) = values(made(config), "TimeoutStopSec")
    assert int(stop) > GONE_S


def test_a_state_below_var_lib_is_made_by_systemd_and_others_are_opened(config, tmp_path):
    assert values(made(config), "StateDirectory") == ["hinterland"]
    assert values(made(config), "ReadWritePaths") == []
    config.write_text(f'[agent]\nstate = "{tmp_path}/my state"\n')
    text = made(config)
    assert "StateDirectory" not in text
    assert f'ReadWritePaths="{tmp_path}/my state"' in text


def test_the_place_of_a_picture_and_of_data_are_opened(config, tmp_path):
    config.write_text(
        f"""
        [agent]
        state = "/var/lib/hinterland"
        [training]
        data = "{tmp_path}/data"
        [[pipelines]]
        name = "a"
        model = "m"
        snapshot = "{tmp_path}/pictures/now.jpg"
        source = {{ kind = "video", path = "x" }}
        """
    )
    assert values(made(config), "ReadWritePaths") == [f"{tmp_path}/data", f"{tmp_path}/pictures"]


def test_percent_signs_are_no_specifiers(config):
    assert 'ExecStart="/opt/a %%b/agent"' in made(config, command=Path("/opt/a %b/agent"))


def test_it_is_written_for_a_user_that_exists(tmp_path):
    assert unit.install("x", user="nobody", place=tmp_path).read_text() == "x"
    with pytest.raises(RefusedError) as refused:
        unit.install("x", user="nobody-at-all", place=tmp_path)
    assert "useradd" in refused.value.hint
    with pytest.raises(RefusedError, match="is not there"):
        unit.install("x", user="nobody", place=tmp_path / "none")


def test_the_command_shows_it(config):
    said = CliRunner().invoke(app, ["install", "--config", str(config), "--print"])
    assert said.exit_code == 0, said.output
    assert "Type=notify" in said.output
