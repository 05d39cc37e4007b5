import json

from edge.training.labels import Label, LabelInbox


def line(number, **changes):
    row = {"task": "activity", "id": f"wrist:{number}", "y": number % 7, "train": True} | changes
    return json.dumps(row) + "\n"


def ids(labels):
    return [label.id for label in labels]


def test_files_are_read_in_the_order_of_their_names(tmp_path):
    (tmp_path / "2.jsonl").write_text(line(2))
    (tmp_path / "1.jsonl").write_text(line(0) + line(1, train=False))
    labels = LabelInbox(tmp_path).read()
    assert ids(labels) == ["wrist:0", "wrist:1", "wrist:2"]
    assert labels[1] == Label(task="activity", id="wrist:1", y=1, train=False)


def test_a_file_goes_only_after_the_caller_had_time_to_store_its_labels(tmp_path):
    path = tmp_path / "1.jsonl"
    path.write_text(line(0))
    inbox = LabelInbox(tmp_path)
    assert len(inbox.read()) == 1
    assert path.exists()
    assert inbox.read() == []
    assert not path.exists()


def test_a_crash_before_storing_reads_the_labels_again(tmp_path):
    (tmp_path / "1.jsonl").write_text(line(0))
    assert len(LabelInbox(tmp_path).read()) == 1
    assert len(LabelInbox(tmp_path).read()) == 1


def test_a_torn_line_waits_for_its_end_and_nothing_comes_twice(tmp_path):
    path = tmp_path / "1.jsonl"
    path.write_text(line(0) + line(1)[:9])
    inbox = LabelInbox(tmp_path)
    assert ids(inbox.read()) == ["wrist:0"]
    assert inbox.read() == []
    assert path.exists()
    path.write_text(line(0) + line(1))
    assert ids(inbox.read()) == ["wrist:1"]
    inbox.read()
    assert not path.exists()


def test_lines_that_are_no_labels_are_counted_and_passed_over(tmp_path):
    (tmp_path / "1.jsonl").write_bytes(b"nonsense\n\xff\xfe\n" + b'{"id": 3}\n' + line(4).encode())
    inbox = LabelInbox(tmp_path)
    assert ids(inbox.read()) == ["wrist:4"]
    assert inbox.malformed == 3


def test_hidden_and_other_files_are_none_of_its_business(tmp_path):
    (tmp_path / ".part.jsonl").write_text(line(0))
    (tmp_path / "readme.txt").write_text("hello")
    inbox = LabelInbox(tmp_path)
    assert inbox.read() == inbox.read() == []
    assert (tmp_path / ".part.jsonl").exists()


def test_no_inbox_is_an_empty_one(tmp_path):
    assert LabelInbox(tmp_path / "none").read() == []
