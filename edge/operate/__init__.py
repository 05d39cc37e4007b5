"""For whoever looks after one device: its settings checked, its state seen, its place in systemd."""
