"""Rules of the whole suite: reproducible properties, and no silent skip in CI."""

from __future__ import annotations

import os

import hypothesis
import pytest

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")

hypothesis.settings.register_profile("ullage", deadline=None, derandomize=IN_CI, print_blob=True)
hypothesis.settings.load_profile("ullage")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    """With CI=true a skipped test is a failure: what CI did not run, nobody ran."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
