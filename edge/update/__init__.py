"""Update: from signed desired state to a verified slot that serves."""
