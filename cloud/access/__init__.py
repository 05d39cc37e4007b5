"""Who may operate the coordinator."""
