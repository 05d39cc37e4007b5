"""The command line without a coordinator: help, failures in one line, commands of other packages."""

import importlib.metadata

import pytest
from typer.testing import CliRunner

import fleet.extensions
from fleet.main import app

OFF = ["--url", "https://127.0.0.1:1", "--key", "hlk_x"]
runner = CliRunner()


def entry(name, value):
    return importlib.metadata.EntryPoint(name=name, value=value, group=fleet.extensions.GROUP)


@pytest.fixture
def added(monkeypatch):
    """Commands that a package on this machine would add."""
    held = [
        entry("whole", "fleet.commands.runs:runs_app"),
        entry("missing", "no_such_package.main:app"),
        entry("broken", "fleet.main:no_such_thing"),
        entry("wrong", "fleet.main:EPILOG"),
    ]

    def found(*, group, name=None):
        return [each for each in held if each.group == group and name in (None, each.name)]

    monkeypatch.setattr(fleet.extensions, "entry_points", found)


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["devices"],
        ["device", "why", "x"],
        ["device", "show", "x"],
        ["runs"],
        ["runs", "watch"],
        ["releases"],
        ["rollouts"],
        ["rollouts", "show", "x"],
        ["rollouts", "pause", "x", "--reason", "r"],
        ["rollouts", "approve", "x", "--reason", "r"],
        ["device", "label", "x", "site=y"],
        ["drift"],
        ["telemetry"],
        ["events"],
        ["audit", "verify"],
        ["token", "create"],
        ["models"],
        ["whoami"],
        ["keys", "list"],
        ["keys", "create", "ann", "--role", "viewer"],
        ["keys", "revoke", "ann", "--reason", "left"],
        ["releases", "approve", "activity-1", "--reason", "good"],
        ["releases", "reject", "activity-1", "--reason", "bad"],
        ["releases", "evaluate", "activity-1", "--data", "clinic"],
        ["runs", "evaluate", "activity-run-1", "--data", "clinic"],
        ["jobs"],
        ["jobs", "show", "x"],
        ["jobs", "log", "x"],
        ["jobs", "cancel", "x"],
    ],
)
def test_without_a_coordinator_every_command_fails_in_one_line_with_a_remedy(command):
    result = runner.invoke(app, [*OFF, *command])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "Remedy:" in result.stderr
    assert result.stdout == ""


def test_help_shows_examples_and_other_packages_commands(added):
    result = runner.invoke(app, ["--help"])
    assert "Examples:" in result.stdout
    assert "whole" in result.stdout
    assert "missing" in result.stdout  # naming it imports nothing


def test_a_command_of_another_package_gets_its_arguments(added):
    result = runner.invoke(app, [*OFF, "whole", "watch", "--help"])
    assert result.exit_code == 0
    assert "Follow a run to its end" in result.stdout


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("missing", "needs the package no_such_package"),
        ("broken", "cannot be loaded"),
        ("wrong", "is no command"),
    ],
)
def test_a_broken_command_of_another_package_says_so(added, name, line):
    result = runner.invoke(app, [name])
    assert result.exit_code == 1
    assert line in result.stderr


@pytest.mark.parametrize("arguments", [["frob"], ["device", "why"], ["events", "--after", "x"]])
def test_wrong_usage_ends_with_status_2(arguments):
    assert runner.invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize("text", ["", "name = 3", "[1]", "name ="])
def test_a_model_line_that_cannot_be_read_is_one_line(tmp_path, text):
    path = tmp_path / "line.toml"
    path.write_text(text)
    result = runner.invoke(app, [*OFF, "models", "apply", "-f", str(path)])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.stderr
    assert "line.toml" in result.stderr
