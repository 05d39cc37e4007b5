"""Where the fetched data lies."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Fashion:
    """Fashion-MNIST: four gzipped IDX files."""

    train_images: Path
    train_labels: Path
    test_images: Path
    test_labels: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Files of all packages, each proven by its digest."""

    directory: Path
    watch: Path
    """seglearn's wrist recordings; a pickle inside `.npy`, so read it through `simulations.partitions.read_watch`."""

    fashion: Fashion
    vtest: Path
    """Street scene, 768 × 576, 795 frames at 10 a second."""

    clips: tuple[Path, ...]
    """Other film, on which the detector is calibrated."""

    detector_package: Path
    """The npm tarball."""

    detector_fp32: Path
    detector_int8: Path
    detector_evaluation: dict[str, float] = field(default_factory=dict)
    """Agreement of the int8 detector with the float one on frames of `vtest`, for the release's manifest."""


def layout(directory: Path, *, evaluation: dict[str, float]) -> Data:
    """Name every file under `directory`, whether it is there or not."""
    fashion = directory / "fashion"
    return Data(
        directory=directory,
        watch=directory / "watch_dataset.npy",
        fashion=Fashion(
            train_images=fashion / "train-images-idx3-ubyte.gz",
            train_labels=fashion / "train-labels-idx1-ubyte.gz",
            test_images=fashion / "t10k-images-idx3-ubyte.gz",
            test_labels=fashion / "t10k-labels-idx1-ubyte.gz",
        ),
        vtest=directory / "video" / "vtest.avi",
        clips=(directory / "video" / "Megamind.avi", directory / "video" / "tree.avi"),
        detector_package=directory / "detector" / "coco-ssd.tgz",
        detector_fp32=directory / "detector" / "fp32.onnx",
        detector_int8=directory / "detector" / "int8.onnx",
        detector_evaluation=evaluation,
    )
