"""Recorded histories with holes, text, wild clocks and damage: counted and told, never a traceback."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from ullage_agent.errors import HistoryError
from ullage_agent.offline.history import HistoryFile, Row


def read(path: Path) -> tuple[HistoryFile, list[Row]]:
    source = HistoryFile(path)
    try:
        return source, list(source.rows())
    finally:
        source.close()


def write(folder: Path, text: str) -> Path:
    path = folder / "history.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_rows_and_label(tmp_path: Path) -> None:
    source, rows = read(write(tmp_path, "time,a,label,b\n2026-01-01 00:00:00,1,0,2\n2026-01-01T00:00:01Z,3,1,4\n"))
    assert source.tags == ("a", "b")
    assert [r.values.tolist() for r in rows] == [[1.0, 2.0], [3.0, 4.0]]
    assert [r.label for r in rows] == [False, True]
    assert source.summary.sentences() == []


def test_holes_text_and_odd_rows_are_unknown_and_counted(tmp_path: Path) -> None:
    odd = (
        "2026-01-01,,2",
        "2026-01-02,fault,inf",
        "2026-01-03,1",
        "2026-01-04,1,2,3",
        "soon,1,2",
        "",
        "2026-01-05,true,NaN",
    )
    text = "\n".join(("time,a,b", *odd, ""))
    source, rows = read(write(tmp_path, text))
    assert len(rows) == 6
    assert math.isnan(rows[0].values[0])
    assert rows[1].values[0] != rows[1].values[0]
    assert math.isnan(rows[1].values[1])
    assert rows[3].values.tolist() == [1.0, 2.0]
    assert (rows[4].time, rows[4].time_text) == (None, "soon")
    assert rows[5].values[0] == 1.0
    told = " | ".join(source.summary.sentences())
    for part in (
        "1 cells with text",
        "2 rows with another number of cells",
        "1 rows without a readable time",
        "1 infinite",
    ):
        assert part in told


def test_gzip_is_recognised_by_content(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(gzip.compress(b"time,a\n2026-01-01,5\n"))
    assert read(path)[1][0].values.tolist() == [5.0]


def test_a_file_that_breaks_off_yields_what_came_before(tmp_path: Path) -> None:
    lines = "".join(f"2026-01-01T00:{n // 60:02}:{n % 60:02},{n * 7919 % 104729}\n" for n in range(3000))
    whole = gzip.compress(("time,a\n" + lines).encode())
    path = tmp_path / "history.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    source, rows = read(path)
    assert 100 < len(rows) < 3000
    assert any("breaks off" in s for s in source.summary.sentences())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "not 'time'"),
        ("time\n2026-01-01\n", "no column of readings"),
        ("time,label\n1,0\n", "no column"),
    ],
)
def test_what_is_no_history_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(HistoryError, match=why):
        HistoryFile(write(tmp_path, text))


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(HistoryError, match="cannot be opened"):
            HistoryFile(path)


def test_a_line_without_end_is_left_out(tmp_path: Path) -> None:
    text = "time,a\n2026-01-01,1\n2026-01-02," + "9" * 1_500_000 + "\n2026-01-03,3\n"
    source, rows = read(write(tmp_path, text))
    assert [r.values.tolist() for r in rows] == [[1.0], [3.0]]
    assert any("longer than" in s for s in source.summary.sentences())


def test_binary_rubbish_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(b"time,a\n" + bytes(range(256)) * 20 + b"\n2026-01-01,1\n")
    assert len(read(path)[1]) >= 1
    path.write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(HistoryError, match="cannot be read"):
        HistoryFile(path)


def test_a_column_named_twice_is_left_out(tmp_path: Path) -> None:
    source, rows = read(write(tmp_path, "time,a,a,b\n2026-01-01,1,2,3\n"))
    assert source.tags == ("a", "b")
    assert rows[0].values.tolist() == [1.0, 3.0]
