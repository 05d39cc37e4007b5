"""Several coordinators of one tenant: who leads, and how the others share the load."""
