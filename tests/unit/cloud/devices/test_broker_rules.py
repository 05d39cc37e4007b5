from pathlib import Path

import pytest

from cloud.devices.broker import AccessList, BrokerFiles, Grant, render_access, render_config
from shared.errors import ContractError
from shared.ids import DeviceId, FleetId, TenantId

A = Grant(DeviceId("device-a"), FleetId("north"), TenantId("acme"))
B = Grant(DeviceId("device-b"), FleetId("south"), TenantId("rival"))
FILES = BrokerFiles(ca=Path("/ca"), certificate=Path("/cert"), key=Path("/key"), access=Path("/access"))


def test_the_access_list_in_full():
    assert render_access([A], observers=["tap"]).splitlines() == [
        "user coordinator",
        "topic readwrite hl/1/#",
        "",
        "user tap",
        "topic read hl/1/#",
        "",
        "user device-a",
        "topic write hl/1/d/device-a/up/#",
        "topic read hl/1/d/device-a/down/#",
        "topic read hl/1/f/north/desired",
        "topic read hl/1/tuf/acme/#",
        "topic read hl/1/blob/#",
    ]


def test_the_order_of_enrolment_does_not_show():
    assert render_access([A, B]) == render_access([B, A])


@pytest.mark.parametrize("evil", ["a\ntopic readwrite #", "#", "+", "a/b", "", "a b"])
def test_a_name_cannot_break_out_of_its_line(evil):
    for grant in (
        Grant(DeviceId(evil), A.fleet, A.tenant),
        Grant(A.device, FleetId(evil), A.tenant),
        Grant(A.device, A.fleet, TenantId(evil)),
    ):
        with pytest.raises(ContractError):
            render_access([grant])


def test_the_configuration_takes_only_our_certificates():
    lines = render_config(FILES, port=8883).splitlines()
    for line in (
        "listener 8883 127.0.0.1",
        "per_listener_settings false",
        "allow_anonymous false",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "acl_file /access",
        "cafile /ca",
        "certfile /cert",
        "keyfile /key",
        "persistence false",
    ):
        assert line in lines
    assert not [line for line in lines if line.startswith("crlfile")]


def test_optional_files():
    files = BrokerFiles(
        ca=Path("/ca"),
        certificate=Path("/cert"),
        key=Path("/key"),
        access=Path("/access"),
        revoked=Path("/crl"),
        data=Path("/data"),
    )
    lines = render_config(files, port=1, address="10.0.0.1", user="hinterland").splitlines()
    assert {"crlfile /crl", "persistence true", "persistence_location /data/", "listener 1 10.0.0.1"} <= set(lines)
    assert "user hinterland" in lines


@pytest.mark.parametrize(
    ("identity", "access", "topic", "may"),
    [
        ("device-a", "write", "hl/1/d/device-a/up/telemetry", True),
        ("device-a", "read", "hl/1/d/device-a/up/telemetry", False),
        ("device-a", "write", "hl/1/d/device-b/up/telemetry", False),
        ("device-a", "read", "hl/1/d/device-a/down/ack", True),
        ("device-a", "read", "hl/1/d/device-b/down/ack", False),
        ("device-a", "write", "hl/1/d/device-a/down/ack", False),
        ("device-a", "read", "hl/1/f/north/desired", True),
        ("device-a", "read", "hl/1/f/south/desired", False),
        ("device-a", "read", "hl/1/tuf/acme/metadata/1.root.json", True),
        ("device-a", "read", "hl/1/tuf/rival/metadata/1.root.json", False),
        ("device-a", "write", "hl/1/tuf/acme/metadata/1.root.json", False),
        ("coordinator", "write", "hl/1/tuf/acme/metadata/1.root.json", True),
        ("stranger", "read", "hl/1/blob/00/1", False),
    ],
)
def test_the_same_rules_as_a_question(identity, access, topic, may):
    assert AccessList([A, B])(identity, access, topic) is may
