"""Who did what and why, in a log that shows when a row was edited, removed or put elsewhere."""
