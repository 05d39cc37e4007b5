"""Private runs: updates that are only ever seen as a sum, noise on it, and a budget for what it discloses."""
