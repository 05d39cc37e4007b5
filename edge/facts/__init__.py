"""What this machine has at the moment: memory, disk, power, heat, runtimes."""

from edge.facts.linux import LinuxFacts
from edge.facts.port import Facts, MemoryFacts, Power

__all__ = ["Facts", "LinuxFacts", "MemoryFacts", "Power"]
