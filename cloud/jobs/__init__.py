"""Work in processes of its own: one port, and behind it where the processes are."""
