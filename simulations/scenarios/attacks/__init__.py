"""Every threat as a live attack on real processes, each beside an honest control.

A family is a generator of attacks over one `Ground`: a world with a broker, a coordinator, a SuperLink and agents.
An attack is an act with real bytes and what was seen of it; whether it was refused is read from what the victim did
and said, never assumed. `play` runs them all; `row` says what is kept of each.
"""
