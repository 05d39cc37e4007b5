"""Key, certificate and enrolment of a device."""

from edge.identity.enrol import enrol
from edge.identity.floor import KnownTime
from edge.identity.identity import Identity
from edge.identity.renewal import due, refresh, renew, rescue
from edge.identity.rotation import Rotation

__all__ = ["Identity", "KnownTime", "Rotation", "due", "enrol", "refresh", "renew", "rescue"]
