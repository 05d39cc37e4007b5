"""Row 3: the power goes at every moment of an update, on ext4 and on XFS."""

import pytest

from tests.fault import broken
from tests.fault.conftest import needs
from tests.fault.images import KINDS
from tests.fault.power import Outage, cut_power
from tests.fault.stories import STORIES
from tests.fault.test_kills import SECOND, THIRD

pytestmark = pytest.mark.slow

EAGER = (SECOND, THIRD, "a release that does not load")


@pytest.fixture(autouse=True)
def disks():
    needs("mount", "losetup", "mkfs.ext4", "mkfs.xfs", root=True)


@pytest.mark.parametrize("kind", KINDS)
def test_row_03_power_cut_at_each_fsync_and_rename(crew, cases, kind):
    found = crew.each(cut_power, [Outage(story, kind) for story in STORIES])
    assert [wrong for story in found for wrong in story if wrong] == []
    cuts = sum(map(len, found))
    assert cuts > 300
    cases(cuts)


@pytest.mark.parametrize("kind", KINDS)
def test_row_03_power_cut_at_each_request_when_names_reach_the_disk_before_contents(crew, cases, kind):
    found = crew.each(cut_power, [Outage(story, kind, eager=True) for story in EAGER])
    assert [wrong for story in found for wrong in story if wrong] == []
    cuts = sum(map(len, found))
    assert cuts > 300
    cases(cuts)


@pytest.mark.parametrize(
    ("precaution", "eager"), [(broken.no_fsync, False), (broken.only_the_directory, False), (broken.rename_first, True)]
)
def test_the_judge_sees_a_missing_sync(crew, precaution, eager):
    found = crew.each(cut_power, [Outage(SECOND, kind, eager, precaution) for kind in KINDS])
    assert [any(wrong) for wrong in found] == [True] * len(KINDS)
