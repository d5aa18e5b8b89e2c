"""The demo as a command: stopped at any moment it leaves no process, port or lock, and can be run again."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from ullage_plant.demo.processes import command


def started(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command("ullage-plant"), "demo", "--dir", str(folder), "--exit"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder or work in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                continue
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            cwd = str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in line or cwd.startswith(str(folder)):
            found.append(line)
    return found


@pytest.mark.e2e
def test_ctrl_c_leaves_nothing_and_a_second_run_works(tmp_path: Path) -> None:
    for _ in range(2):
        demo = started(tmp_path)
        assert demo.stdout is not None
        page = None
        for line in demo.stdout:
            page = re.search(r"live page: http://127\.0\.0\.1:(\d+)/login", line)
            if page:
                break
        assert page is not None, "the address of the page is printed early"
        assert len(processes_of(tmp_path)) >= 5
        demo.send_signal(signal.SIGINT)
        time.sleep(0.05)
        demo.send_signal(signal.SIGINT)  # an impatient user must not cut the tidying short
        out, _ = demo.communicate(timeout=30)
        assert demo.returncode == 130
        assert "nothing is left running" in out
        assert processes_of(tmp_path) == []
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", int(page[1])))


@pytest.mark.e2e
def test_a_folder_that_is_not_a_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    demo = started(tmp_path)
    out, _ = demo.communicate(timeout=30)
    assert demo.returncode == 2
    assert "is not empty and not from an earlier demo" in out
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
