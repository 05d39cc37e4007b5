"""What must be there before the rest can be imported: an environment, its locked packages, a broker, a token.

`python3 -m simulations.bootstrap` runs with nothing but the standard library; `make setup` calls it.
"""
