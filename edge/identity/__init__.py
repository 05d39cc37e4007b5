"""Key, certificate and enrolment of a device."""

from edge.identity.enrol import enrol
from edge.identity.identity import Identity
from edge.identity.renewal import needs_renewal, renew

__all__ = ["Identity", "enrol", "needs_renewal", "renew"]
