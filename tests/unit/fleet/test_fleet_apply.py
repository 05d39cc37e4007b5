"""Documents on the command line: what is read, and what is refused before anything is sent."""

import json

import pytest
from typer.testing import CliRunner

from fleet.commands.devices import read_labels
from fleet.documents import read_document, read_documents
from fleet.main import app
from shared.errors import RefusedError

OFF = ["--url", "https://127.0.0.1:1", "--key", "hlk_x"]
runner = CliRunner()


def file(tmp_path, text, name="f.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_several_documents_in_a_file(tmp_path):
    found = read_documents(file(tmp_path, "kind: rollout\nrelease: m-1\n---\n---\nkind: model\nname: m\n"))
    assert [document.body["kind"] for document in found] == ["rollout", "model"]
    assert found[1].place.endswith("f.yaml, document 2")


def test_json_and_toml(tmp_path):
    assert read_document(file(tmp_path, json.dumps({"name": "m"}), "f.json")) == {"name": "m"}
    assert read_document(file(tmp_path, 'name = "m"\n', "f.toml")) == {"name": "m"}


@pytest.mark.parametrize(
    "text",
    [
        "", "- a\n- b\n", "a: [", "1: x\n", "a: &x [1]\nb: *x\n", "a: !!python/object:os.system {}\n", "[" * 5000,
        "kind: \x00\n",
    ],
)  # fmt: skip
def test_what_is_no_document_is_refused(tmp_path, text):
    with pytest.raises(RefusedError) as refused:
        read_documents(file(tmp_path, text))
    assert refused.value.hint


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="cannot be read"):
        read_documents(tmp_path / "none.yaml")


def test_all_kinds_are_known_before_the_first_is_sent(tmp_path):
    path = file(tmp_path, "kind: rollout\nrelease: m-1\n---\nkind: rolout\n")
    said = runner.invoke(app, [*OFF, "apply", "-f", str(path)])
    assert said.exit_code == 1
    assert "document 2 has an unknown kind 'rolout'" in said.output
    assert "Remedy: Give `kind:` one of rollout, model, device, distribution, masks" in said.output


def test_from_standard_input(tmp_path):
    said = runner.invoke(app, [*OFF, "apply", "-f", "-"], input="kind: rollout\nrelease: m-1\n")
    assert said.exit_code == 1
    assert "does not answer" in said.output


def test_labels_are_read():
    assert read_labels(["site=kiel", "line=3"]) == {"site": "kiel", "line": "3"}
    for wrong in ("site", "=x", "site="):
        with pytest.raises(RefusedError):
            read_labels([wrong])
