import sys
from pathlib import Path

import pytest

from edge.facts import LinuxFacts, Power
from shared.bundle import Runtime


class Machine:
    """A made tree under which `LinuxFacts` reads."""

    def __init__(self, root):
        self.proc, self.sys = root / "proc", root / "sys"
        self.facts = LinuxFacts(proc=self.proc, sys=self.sys)

    def memory(self, text):
        self.proc.mkdir(exist_ok=True)
        (self.proc / "meminfo").write_text(text)

    def supply(self, name, **facts):
        self._tree("class/power_supply", name, facts)

    def zone(self, number, temp):
        self._tree("class/thermal", f"thermal_zone{number}", {"temp": temp})

    def _tree(self, kind, name, facts):
        place = self.sys / kind / name
        place.mkdir(parents=True, exist_ok=True)
        for fact, value in facts.items():
            (place / fact).write_text(f"{value}\n")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_available_memory_is_what_the_kernel_estimates(machine):
    machine.memory("MemTotal:       16315328 kB\nMemFree:          204800 kB\nMemAvailable:    1048576 kB\n")
    assert machine.facts.memory_mib() == 1024


@pytest.mark.parametrize("text", ["", "MemTotal: 5 kB\n", "MemAvailable: many kB\n", "MemAvailable: ٣ kB\n", "\0" * 9])
def test_memory_that_is_not_said_is_not_invented(machine, text):
    machine.memory(text)
    assert machine.facts.memory_mib() is None


def test_free_disk_is_that_of_the_nearest_directory(machine, tmp_path):
    there = machine.facts.disk_bytes(tmp_path)
    deeper = machine.facts.disk_bytes(tmp_path / "not" / "made" / "yet")
    assert there is not None and deeper is not None
    assert there > 0 and abs(there - deeper) < 64 << 20  # others write to this disk too


def test_a_machine_without_a_battery_is_on_mains(machine):
    assert machine.facts.power() == Power()
    machine.supply("AC", type="Mains", online=1)
    assert machine.facts.power() == Power()


def test_a_laptop_is_on_battery_when_nothing_is_plugged_in(machine):
    machine.supply("BAT0", type="Battery", capacity=41, status="Discharging")
    machine.supply("BAT1", type="Battery", capacity=59, status="Unknown")
    machine.supply("AC", type="Mains", online=0)
    assert machine.facts.power() == Power(on_battery=True, charge=50.0)
    machine.supply("usb", type="USB", online=1)
    assert machine.facts.power() == Power(on_battery=False, charge=50.0)


@pytest.mark.parametrize(("status", "drained"), [("Discharging", True), ("Full", False), ("Charging", False)])
def test_a_board_that_names_no_outlet_is_judged_by_its_battery(machine, status, drained):
    machine.supply("bq27441", type="Battery", capacity="", status=status)
    assert machine.facts.power() == Power(on_battery=drained, charge=None)


def test_the_battery_of_a_mouse_is_no_battery_of_the_machine(machine):
    machine.supply("hidpp_battery_0", type="Battery", scope="Device", capacity=5, status="Discharging")
    assert machine.facts.power() == Power()


def test_the_hottest_sensor_counts_and_broken_ones_do_not(machine):
    assert machine.facts.hottest_c() is None
    for number, temp in enumerate(["41500", "255000", "-274000", "", "63250", "hot"]):
        machine.zone(number, temp)
    assert machine.facts.hottest_c() == 63.25


def test_a_sensor_below_zero_is_believed(machine):
    machine.zone(0, "-12000")
    assert machine.facts.hottest_c() == -12.0


def test_a_version_is_told_without_importing_the_runtime(machine):
    before = set(sys.modules)
    said = machine.facts.version(Runtime.ONNXRUNTIME)
    assert said is not None and said[0].isdigit()
    assert "onnxruntime" not in set(sys.modules) - before
    assert machine.facts.version(Runtime.TENSORRT) is None


def test_this_machine_answers(tmp_path):
    facts = LinuxFacts()
    memory = facts.memory_mib()
    assert memory is not None and memory > 0
    assert isinstance(facts.power(), Power)
    assert facts.disk_bytes(Path("/")) is not None
