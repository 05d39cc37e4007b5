"""What must be there before the rest can be imported: a virtual environment, its locked packages, a broker.

`python3 -m simulations.bootstrap` runs with nothing but the standard library; `make setup` calls it.
"""
