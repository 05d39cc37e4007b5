import pytest

from shared.errors import ContractError, TransportError, TrustError
from shared.trust import DirectorySource, TrustClient
from shared.trust.errors import Altered
from tests.publishing import CPU, FLEET, Publisher, accept


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "repository")


def test_follows_one_release_after_another(publisher, tmp_path):
    files = {}
    client = publisher.device(tmp_path / "device", files)
    for counter in (1, 2, 5):
        release = publisher.ship(counter)
        files.clear()
        files.update(publisher.files())
        assert accept(client) == release
    assert client.marks.releases["activity"].counter == 5


def test_a_new_fleet_wants_nothing(publisher, tmp_path):
    client = publisher.device(tmp_path / "device", publisher.files())
    client.refresh()
    assert client.desired(FLEET).for_device("wrist-1") == {}


def test_reads_a_directory(publisher, tmp_path):
    publisher.ship(1)
    client = TrustClient(
        tmp_path / "auditor",
        root=publisher.repository.root_bytes,
        source=DirectorySource(publisher.directory),
        clock=publisher.clock,
    )
    assert accept(client).id == "activity-1"


@pytest.mark.parametrize("name", ["../secret", "metadata/../../secret", "/etc/hostname", "metadata/none.json"])
def test_a_directory_source_stays_inside(tmp_path, name):
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "in" / "metadata").mkdir(parents=True)
    assert DirectorySource(tmp_path / "in").read(name) is None


def test_roots_are_followed(publisher, tmp_path):
    publisher.ship(1)
    files = publisher.files()
    client = publisher.device(tmp_path / "device", files)
    accept(client)
    for _ in range(3):
        publisher.clock.advance(190 * 86_400)
        publisher.repository.renew()
    files.update(publisher.files())
    accept(client)
    assert client.marks.versions["root@any"] == 4


def test_marks_are_kept_before_anything_is_handed_out(publisher, tmp_path):
    publisher.ship(1)
    accept(publisher.device(tmp_path / "device", publisher.files()))
    again = publisher.device(tmp_path / "device", publisher.files())
    assert set(again.marks.releases) == {"activity"}
    assert {role.partition("@")[0] for role in again.marks.versions} == {
        "root",
        "timestamp",
        "snapshot",
        "targets",
        "fleet-lab",
        "releases",
    }


def test_nothing_is_known_before_a_refresh(publisher, tmp_path):
    client = publisher.device(tmp_path / "device", publisher.files())
    with pytest.raises(TrustError, match="no fresh signed metadata"):
        client.release("activity-1")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "UPPER", "activity-1/manifest.json"])
def test_odd_names_are_not_looked_up(publisher, tmp_path, name):
    client = publisher.device(tmp_path / "device", publisher.files())
    client.refresh()
    with pytest.raises(ContractError):
        client.release(name)
    with pytest.raises(ContractError):
        client.desired(name)


def test_an_unknown_release(publisher, tmp_path):
    client = publisher.device(tmp_path / "device", publisher.files())
    client.refresh()
    with pytest.raises(TrustError, match="not signed"):
        client.release("activity-1")


def test_a_manifest_that_has_not_come_yet(publisher, tmp_path):
    publisher.ship(1)
    files = publisher.files()
    missing = next(name for name in files if name.endswith("manifest.json"))
    held = files.pop(missing)
    client = publisher.device(tmp_path / "device", files)
    client.refresh()
    with pytest.raises(TransportError):
        client.release("activity-1")
    files[missing] = held
    assert client.admit(client.release("activity-1"), **CPU).name == "cpu-int8.onnx"


def test_a_source_that_cannot_be_asked(publisher, tmp_path):
    class Silent:
        def read(self, name):
            raise TransportError("the broker is away", hint="Wait.")

    client = TrustClient(
        tmp_path / "device", root=publisher.repository.root_bytes, source=Silent(), clock=publisher.clock
    )
    with pytest.raises(TransportError, match="the broker is away") as raised:
        client.refresh()
    assert raised.value.hint == "Wait."


@pytest.mark.parametrize("ending", ["timestamp.json", ".snapshot.json", ".releases.json", ".desired.json"])
@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: data + b" " * (5 << 20), lambda _: b"["])
def test_the_file_that_is_not_the_signers_is_named_and_its_good_copy_taken(publisher, tmp_path, ending, change):
    publisher.ship(1)
    files = publisher.files()
    good = {name: data for name, data in files.items() if name.endswith(ending)}
    files.update((name, change(data)) for name, data in good.items())
    client = publisher.device(tmp_path / "device", files)
    with pytest.raises(Altered) as raised:
        accept(client)
    assert (raised.value.file in good, raised.value.code) == (True, "trust")
    files[raised.value.file] = good[raised.value.file]
    assert accept(client).id == "activity-1", "that one file was all that it needed"


def test_what_is_signed_and_contradicts_itself_is_nobody_elses_fault(publisher, tmp_path):
    publisher.ship(1)
    client = publisher.device(tmp_path / "device", publisher.files())
    client.refresh()
    with pytest.raises(TrustError) as raised:
        client.release("activity-2")
    assert not isinstance(raised.value, Altered)
