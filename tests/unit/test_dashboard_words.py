"""The catalogue of strings and the way numbers, spans and times are written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from ullage_scorer.dashboard import form, pages
from ullage_scorer.dashboard.words import CATALOGUE, TEXTS, choose

TEMPLATES = Path(pages.__file__).parent / "templates"


def test_every_text_stands_in_both_languages_with_the_same_gaps() -> None:
    for key, (english, chinese) in TEXTS.items():
        assert english.strip(), key
        assert chinese.strip(), key
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", chinese)), key


def test_templates_use_known_texts_and_no_text_of_their_own() -> None:
    for path in TEMPLATES.glob("*.html"):
        source = path.read_text("utf-8")
        for key in re.findall(r"words\('([^']+)'", source):
            assert key in TEXTS, f"{path.name}: {key}"
        bare = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|<!?[^>]*>", " ", re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", source), flags=re.S)
        assert set(re.findall(r"[A-Za-z一-鿿]{2,}", bare)) <= {"Ullage", "English", "中文"}, path.name


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "expected"),
    [
        ("zh", "en", "en", "zh"),
        ("", "zh", "en", "zh"),
        ("", "", "zh-TW,zh;q=0.9,en;q=0.8", "zh"),
        ("", "", "en;q=0.4, zh;q=0.9", "zh"),
        ("xx", "yy", "fr", "en"),
        ("", "", "zh;q=abc," * 200, "en"),
        ("", "", "", "en"),
    ],
)
def test_the_language_is_chosen(query: str, cookie: str, accept: str, expected: str) -> None:
    assert choose(query, cookie, accept).language == expected


@pytest.mark.parametrize(
    ("value", "places", "expected"),
    [
        (None, 0, "–"),
        (Decimal("1234567.5"), 0, "1,234,568"),
        (0.25, 3, "0.25"),
        (-0.0, 0, "0"),
        (Decimal("-1200"), 0, "-1,200"),
    ],
)
def test_numbers(value: Decimal | float | None, places: int, expected: str) -> None:
    assert form.number(value, places) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1234567.80", "1,234,567.80"),
        ("-5000", "-5,000"),
        ("excess", "excess"),
        ("1,234.50 CNY", "1,234.50 CNY"),
        ("12.", "12."),
    ],
)
def test_worksheet_figures(text: str, expected: str) -> None:
    assert form.grouped(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (0.0, "0"),
        (65536.0, "65,536"),
        (412.26, "412.3"),
        (18.424, "18.42"),
        (0.00042, "0.0004"),
        (3e-9, "3e-09"),
    ],
)
def test_measured_values(value: float | None, expected: str) -> None:
    assert form.figure(value) == expected


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "0 s", "0 秒"),
        (40, "40 s", "40 秒"),
        (7510, "2 h 5 min", "2 小时 5 分"),
        (90000, "1 d 1 h", "1 天 1 小时"),
        (-5, "0 s", "0 秒"),
    ],
)
def test_spans(seconds: int, english: str, chinese: str) -> None:
    assert form.span(timedelta(seconds=seconds), CATALOGUE["en"]) == english
    assert form.span(timedelta(seconds=seconds), CATALOGUE["zh"]) == chinese


def test_times_carry_utc_in_their_title() -> None:
    written = str(form.moment(datetime(2026, 11, 23, 8, 0, 1, 500, tzinfo=UTC)))
    assert 'datetime="2026-11-23T08:00:01.000500Z"' in written
    assert 'title="2026-11-23 08:00:01 UTC"' in written


def test_money_keeps_its_amount_and_names_its_currency() -> None:
    assert str(form.money("16545.4 CNY")) == '16,545.4&nbsp;<span class="unit">CNY</span>'
    assert str(form.money("<b>")) == "&lt;b&gt;"


def test_the_basis_of_a_standard_is_told_in_the_page_s_language() -> None:
    measured = "measured: 15909 units in 1580 s of normal running before 2026-11-23T11:55:22+00:00"
    english, chinese = (str(form.basis(measured, CATALOGUE[language])) for language in ("en", "zh"))
    assert re.sub("<.*?>", "", english) == "measured: 15,909 units in 26 min 20 s of normal running before 11:55:22 UTC"
    assert re.sub("<.*?>", "", chinese) == "实测：11:55:22 UTC 之前正常运行 26 分 20 秒，产出 15,909 件"
    assert str(form.basis("declared <b>", CATALOGUE["zh"])) == "declared &lt;b&gt;"
