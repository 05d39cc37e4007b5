import asyncio
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from edge import settings as conf
from edge.facts import MemoryFacts, Power
from edge.relay.address import Address
from edge.wiring import build
from shared.bus.memory import MemoryBroker
from shared.errors import RefusedError
from simulations.world.ports import free_ports
from tests.site import Place, asked
from tests.update_world import DEVICE, UpdateWorld


def read(tmp_path, text=""):
    path = tmp_path / "agent.toml"
    path.write_text(f'[agent]\nstate = "{tmp_path / "state"}"\n{text}')
    return conf.read(path)


def test_a_device_is_alone_and_unmetered_unless_it_is_told_otherwise(tmp_path):
    settings = read(tmp_path)
    assert (settings.relay.listen, settings.relay.sources) == ("", [])
    assert (settings.link.metered, settings.update.over_metered, settings.update.hours) == (False, False, [])
    assert settings.update.least_charge == 20


@pytest.mark.parametrize(("said", "sources"), [('"a:1"', ["a:1"]), ('["a:1", "[::1]:2"]', ["a:1", "[::1]:2"])])
def test_one_relay_or_a_list(tmp_path, said, sources):
    assert read(tmp_path, f"[relay]\nfrom = {said}\n").relay.sources == sources


@pytest.mark.parametrize(
    "wrong",
    [
        '[relay]\nlisten = "192.168.1.5"',
        '[relay]\nfrom = ["a:1", "b"]',
        '[update]\nhours = ["22-05"]',
        '[update]\nhours = ["24:00-05:00"]',
        "[update]\nleast_charge = 101",
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_read(tmp_path, wrong):
    with pytest.raises(RefusedError, match=r"agent\.toml"):
        read(tmp_path, wrong)


@pytest.fixture
def device(tmp_path):
    return Place(tmp_path / "place")


def agent(tmp_path, place, until, text, facts=None):
    world = UpdateWorld(tmp_path / "cloud", until)
    identity = replace(place.identity(DEVICE), root=world.repository.root_bytes)
    settings = read(tmp_path, text)
    bus = MemoryBroker().bus(DEVICE)
    return build(settings, identity, config=tmp_path / "agent.toml", bus=bus, random=Random(1), facts=facts)


async def test_an_agent_that_listens_serves_devices_and_stops_with_the_agent(tmp_path, device, until):
    port = free_ports(1)[0]
    relaying = agent(tmp_path, device, until, f'[relay]\nlisten = "127.0.0.1:{port}"\n')
    stop = asyncio.Event()
    running = asyncio.create_task(relaying.run(stop))
    await until(lambda: relaying.relay.port == port)
    visitor = device.passport("device-z").visiting()
    assert await asked(Address("127.0.0.1", port), visitor, "ab" * 32) == b"\0\0\0\x01\0"
    stop.set()
    await running
    assert relaying.relay.port == 0
    assert await asked(Address("127.0.0.1", port), visitor, "ab" * 32) == b""


async def test_an_agent_that_is_not_told_to_listen_does_not(tmp_path, device, until):
    assert agent(tmp_path, device, until, "").relay is None


async def test_settings_reach_the_preflight(tmp_path, device, until):
    facts = MemoryFacts(supply=Power(on_battery=True, charge=30.0))
    text = '[link]\nmetered = true\n[update]\nover_metered = true\nleast_charge = 35\nhours = ["01:00-02:00"]\n'
    built = agent(tmp_path, device, until, text, facts)
    policy = built.updates._parts.preflight._policy
    assert (policy.metered, policy.over_metered, policy.least_charge) == (True, True, 35)
    assert policy.hours == ("01:00-02:00",)
    assert built.updates._parts.preflight._facts is facts


async def test_reports_of_shadows_say_how_hot_the_device_is(tmp_path, device, until):
    np.savez(tmp_path / "stream.npz", x=np.zeros((4, 6, 100), np.float32))
    text = '[[pipelines]]\nname = "wrist"\nmodel = "toy"\n'
    text += f'source = {{ kind = "replay", path = "{tmp_path / "stream.npz"}" }}\n'
    built = agent(tmp_path, device, until, text, MemoryFacts(heat=61.5))
    assert built.pipelines[0]._hooks.temperature() == 61.5
