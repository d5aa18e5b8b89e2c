"""Last of all: what the referee saw our side send during this run, and that it does see a write when there is one."""

from __future__ import annotations

import pytest
from peers.referee import Referee

READS = {"1", "2", "3", "4", "43/14"}


@pytest.fixture(scope="module")
def stopped(referee: Referee) -> Referee:
    if referee.refused:
        pytest.skip(referee.refused)
    referee.stop()
    return referee


@pytest.mark.parametrize("protocol", ["mbtcp", "mbrtu"])
def test_our_side_sent_nothing_but_reads(stopped: Referee, protocol: str) -> None:
    heard = stopped.heard(protocol)
    print(heard)
