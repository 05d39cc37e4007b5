"""`hinterland-agent doctor`: what is well with a device, what is not, and what to do about it. Nothing is written."""

from edge.operate.doctor.examination import examine
from edge.operate.doctor.finding import Finding, Level, worst

__all__ = ["Finding", "Level", "examine", "worst"]
