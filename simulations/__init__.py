"""The whole system on one machine: real processes, data partitions, scenarios, report."""
