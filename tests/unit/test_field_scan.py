"""Columns of samples: what stands in a row is what comes out of it."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from ullage_protocols.field.scan import BAD, GOOD, UNCERTAIN, Columns, Scan, bad_scan, columns_of, scan_of
from ullage_protocols.sample import Quality, Sample

SEEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS = Columns((0, 1, 2, 3, 4), ("level", "count", "running", "recipe", "serial"))


def test_samples_survive_the_way_through_columns() -> None:
    samples = [
        Sample("level", 1.5, Quality.GOOD, SEEN, SEEN),
        Sample("count", 7, Quality.UNCERTAIN, SEEN, SEEN, "server says so"),
        Sample("running", True, Quality.GOOD, SEEN, SEEN),
        Sample("recipe", "B-12", Quality.GOOD, SEEN, SEEN),
        Sample("serial", 2**63 + 1, Quality.GOOD, SEEN, SEEN),
    ]
    scan = scan_of(COLUMNS, samples)
    assert scan.samples() == samples
    assert [type(sample.value) for sample in scan] == [float, int, bool, str, int]
    assert list(scan.quality) == [GOOD, UNCERTAIN, GOOD, GOOD, GOOD]


def test_a_bad_row_never_gives_its_value() -> None:
    scan = Scan(Columns((0,), ("level",)), np.array([3.0]), np.array([BAD], np.uint8), SEEN, reasons={0: "torn"})
    assert scan[0] == Sample("level", None, Quality.BAD, SEEN, SEEN, "torn")
    assert scan.bad == 1


def test_all_rows_of_a_lost_device_are_bad_with_the_reason() -> None:
    scan = bad_scan(COLUMNS, "cable cut", SEEN)
    assert {(s.value, s.quality, s.reason) for s in scan} == {(None, Quality.BAD, "cable cut")}
    assert len(scan) == scan.bad == 5


def test_source_time_is_the_devices_where_it_gives_one() -> None:
    scan = Scan(COLUMNS, np.zeros(5), np.zeros(5, np.uint8), SEEN, np.array([0.5] + [np.nan] * 4))
    assert scan[0].source_time == datetime(1970, 1, 1, 0, 0, 0, 500_000, UTC)
    assert scan[1].source_time == SEEN


@pytest.mark.parametrize("groups", [(1,), (0, 2), (-1, 0)])
def test_groups_are_numbered_without_a_hole(groups: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not numbered"):
        columns_of([(f"tag{n}", group) for n, group in enumerate(groups)])
