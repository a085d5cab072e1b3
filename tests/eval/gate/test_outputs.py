"""What the gate writes for people and CI: the verdict first, never greener than the exit code, text stays text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from unicodedata import east_asian_width
from xml.etree import ElementTree

import pytest

import planted_verdicts as planted
from v2t_eval.core.changes import ClipChange
from v2t_eval.gate.report import asked_text, change_text, clip_text, document, p_text
from v2t_eval.gate.verdict import OUTCOMES as ENDINGS
from v2t_eval.gate.verdict import Guard, MetricVerdict, ValueSentence, Verdict
from v2t_eval.report import github, junit, markdown, terminal

OUTCOMES = ("pass", "fail", "inconclusive", "not_comparable")
HOSTILE = planted.HOSTILE
EMPTY = Verdict(outcome="pass", reason="nothing was asked for")

# --- JUnit


def _consumed(data: bytes) -> dict[str, dict[str, str]]:
    """The cases as a CI system's reader takes them: strict on the common schema; name of the case to how it ended."""
    text = data.decode("utf-8")  # strict
    assert text.startswith("<?xml")
    assert not re.search("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    root = ElementTree.fromstring(data)
    assert root.tag == "testsuites" and set(root.keys()) <= {"name", "tests", "failures", "errors", "skipped", "time"}
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    found = {}
    for suite in root:
        assert suite.tag == "testsuite" and suite.get("name")
        cases = [child for child in suite if child.tag == "testcase"]
        assert [child.tag for child in suite] == ["testcase"] * len(cases)
        kinds = [_case(case, found) for case in cases]
        counts = {"tests": len(cases), "failures": kinds.count("failure"), "errors": kinds.count("error"),
                  "skipped": kinds.count("skipped")}  # fmt: skip
        for name, count in counts.items():
            assert int(suite.get(name)) == count
            totals[name] += count
        assert float(suite.get("time")) >= 0
    assert {name: int(root.get(name)) for name in totals} == totals
    return found


def _case(case: ElementTree.Element, found: dict) -> str:
    assert case.get("name") and case.get("classname") and float(case.get("time")) >= 0
    tags = [child.tag for child in case]
    endings = [tag for tag in tags if tag in ("failure", "error", "skipped")]
    assert len(endings) <= 1 and len(set(tags)) == len(tags)
    assert set(tags) <= {"properties", "failure", "error", "skipped", "system-out"}
    assert all(child.get("name") and child.get("value") is not None for child in case.iterfind("properties/property"))
    ending = case.find(endings[0]) if endings else None
    if ending is not None:
        assert ending.get("message") and (ending.tag == "skipped" or ending.get("type"))
    key = (case.get("classname"), case.get("name"))
    assert key not in found
    found[key] = {
        "ended": endings[0] if endings else "passed",
        "message": "" if ending is None else ending.get("message"),
        "out": case.findtext("system-out") or "",
        **{child.get("name"): child.get("value") for child in case.iterfind("properties/property")},
    }
    return endings[0] if endings else "passed"


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("texts", [(), HOSTILE])
def test_junit_is_red_exactly_where_the_exit_code_is_not_0(outcome, texts):
    verdict = planted.verdict(outcome, texts=texts)
    cases = _consumed(junit.render(document(verdict)))
    red = [case for case in cases.values() if case["ended"] in ("failure", "error")]
    assert bool(red) == (verdict.exit_code != 0)
    whole = cases["gate.verdict", "verdict"]
    ends = {"pass": "passed", "fail": "failure", "inconclusive": "failure", "not_comparable": "error"}
    assert whole["ended"] == ends[outcome] and whole["exit_code"] == str(verdict.exit_code)
    assert cases["gate.exploratory", "frechet[feature=clip]"]["ended"] == "skipped"  # it fails nothing
    assert cases["gate.exploratory", "dynamic_degree"]["ended"] == "passed"


def test_junit_is_red_where_nothing_but_the_whole_says_so():
    verdict = replace(EMPTY, outcome="not_comparable", reason="the judge changed", differences=("judge: a against b",))
    cases = _consumed(junit.render(document(verdict)))
    assert [case["ended"] for case in cases.values()] == ["error"]
    assert "judge: a against b" in cases["gate.verdict", "verdict"]["message"]
    assert [case["ended"] for case in _consumed(junit.render(document(EMPTY))).values()] == ["passed"]


def test_junit_holds_the_figures_as_properties_and_as_output():
    case = _consumed(junit.render(document(planted.verdict())))["gate.primary", "question_score"]
    assert case["change"] == "-0.110 [-0.140, -0.080]" and case["p_adjusted"] == "< 0.001 (< 0.001)"
    assert (
        case["detectable"] == "0.032" and float(case["change_low"]) == -0.14 and float(case["candidate_value"]) == 0.71
    )
    for said in ("-0.110 [-0.140, -0.080]", "less than 0.05 worse, at least 0.6", "likes freeze"):
        assert said in case["out"]
    assert case["message"] == "worse by more than the margin"
    inconclusive = _consumed(junit.render(document(planted.verdict("inconclusive"))))["gate.primary", "question_score"]
    assert inconclusive["message"].startswith("inconclusive: ")


# --- GitHub


def _github(tmp_path: Path) -> dict[str, str]:
    return {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}


def test_outside_of_github_nothing_is_written_or_printed(tmp_path, capsys):
    for environ in ({}, {"GITHUB_ACTIONS": "true"}, {**_github(tmp_path), "GITHUB_ACTIONS": "false"}):
        assert github.write_summary(document(planted.verdict()), environ) is False
    assert github.announce(document(planted.verdict()), {"GITHUB_STEP_SUMMARY": "x"}) is False
    assert capsys.readouterr().out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_summary_is_appended_and_the_whole_file_stays_within_the_limit(tmp_path):
    environ, path = _github(tmp_path), tmp_path / "summary.md"
    assert github.write_summary(document(planted.verdict()), environ) is True
    first = path.read_bytes()
    assert first.startswith(b"# Gate: FAIL") and b"left out" not in first
    long = planted.verdict(num=1_200, texts=("\U0001f600" * 400,))
    assert (
        len(markdown.render(document(long), max_bytes=100_000_000).encode()) > github.SUMMARY_BYTES
    )  # else it proves nothing
    assert github.write_summary(document(long), environ) is True
    data = path.read_bytes()
    assert data.startswith(first) and 1_000_000 < len(data) <= github.SUMMARY_BYTES
    second = data[len(first) :].decode("utf-8")  # whole characters
    shown = len(re.findall(r"^\| clip-\d", second, re.MULTILINE))
    assert (
        100 < shown < 1_000
        and f"{1_200 - shown:,} clips more" in second
        and "| clip-000" in second
        and "| clip-1199" not in second
    )
    path.write_bytes(b"x" * (github.SUMMARY_BYTES - 1_000))
    assert github.write_summary(document(planted.verdict()), environ) is False
    assert path.stat().st_size == github.SUMMARY_BYTES - 1_000


def test_a_summary_that_cannot_be_written_changes_nothing(tmp_path, caplog):
    environ = {**_github(tmp_path), "GITHUB_STEP_SUMMARY": str(tmp_path)}
    with caplog.at_level("WARNING", logger="cineloop"):
        assert github.write_summary(document(planted.verdict()), environ) is False
    assert "cannot be written" in caplog.text


_COMMAND = re.compile(r"::(error|warning|notice) title=([^:,\r\n]*)::([^\r\n]*)")


def _unescaped(text: str) -> str:
    for mark, char in (("%2C", ","), ("%3A", ":"), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(mark, char)
    return text


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_annotations_are_workflow_commands_of_one_line_each(outcome, capsys):
    verdict = planted.verdict(outcome, texts=HOSTILE)
    lines = github.workflow_commands(document(verdict))
    read = [_COMMAND.fullmatch(line) for line in lines]
    assert all(read)
    kinds = {"pass": "notice", "fail": "error", "inconclusive": "warning", "not_comparable": "error"}
    first = next(one for one in read if one[1] == kinds[outcome])
    assert _unescaped(first[2]) == f"Gate: {ENDINGS[outcome].word}"
    assert f"exit code {verdict.exit_code}" in _unescaped(first[3])
    assert not re.search("%(?!25|0A|0D|3A|2C)", "".join(lines))
    assert github.announce(document(verdict), {"GITHUB_ACTIONS": "true"}) is True
    assert capsys.readouterr().out.splitlines() == lines


def test_of_each_kind_there_are_at_most_ten_and_the_rest_is_named():
    metric = planted.metrics()[1]
    many = tuple(replace(metric, metric=f"metric_{i}") for i in range(13))
    unsure = tuple(replace(metric, metric=f"unsure_{i}", outcome="inconclusive") for i in range(12))
    told = tuple(replace(metric, metric=f"told_{i}", role="exploratory") for i in range(11))
    guards = tuple(Guard(name=f"guard {i}", outcome="fail", message="5 %") for i in range(3))
    verdict = Verdict(outcome="fail", reason="much", metrics=many + unsure + told, guards=guards)
    lines = github.workflow_commands(document(verdict))
    by_kind = {
        kind: [line for line in lines if line.startswith(f"::{kind} ")] for kind in ("error", "warning", "notice")
    }
    assert {kind: len(found) for kind, found in by_kind.items()} == {"error": 10, "warning": 10, "notice": 10}
    assert "title=Gate%3A fail::" in by_kind["error"][0]
    rest = _unescaped(by_kind["error"][-1])
    assert "title=8 more" in rest and all(f"metric_{i}: fail" in rest for i in range(8, 13)) and "guard 2" in rest
    some = github.workflow_commands(document(replace(verdict, metrics=many[:9], guards=())))
    assert sum(line.startswith("::error") for line in some) == 10 and " more::" not in some[-1]


# --- Markdown


def _shown(page: str) -> str:
    """The text a reader of Markdown sees: escapes and entities undone."""
    page = re.sub(r"\\([\\`*_\[\]|~$])", r"\1", page.replace("&#8203;", ""))
    return page.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("&nbsp;", " ")


def test_markdown_tells_all_in_order():
    page = markdown.render(document(planted.verdict("not_comparable")))
    parts = ("# Gate: NOT COMPARABLE", "exit code: 9", "## Why they are not", "## Primary metrics", "likes freeze",
             "## Guards", "## Clips that got worse", "## Notes", "## Exploratory", "v2t-eval gate made")  # fmt: skip
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    assert "-0.110 [-0.140, -0.080]" in _shown(page) and "| **not comparable** |" in page
    assert markdown.render(document(EMPTY)).startswith("# Gate: PASS\n\n**nothing was asked for**\n\n- exit code: 0")


def test_markdown_pings_nobody_and_holds_no_live_markup():
    page = markdown.render(document(planted.verdict(texts=HOSTILE)))
    page.encode("utf-8")  # strict
    bare = page.replace("&#8203;", "\0")
    assert not re.search(r"[@#]\w|(?i:\bgh-\d)|://\w|(?i:www\.)\w", bare)
    code = re.compile(r"^```\n[^`]*\n```$", re.MULTILINE)  # the command to copy, which no text can leave
    assert len(code.findall(page)) == 1
    assert not re.search(r"<[a-zA-Z/!]", page) and not re.search(r"(?<!\\)[`\[]", code.sub("", page))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]", page)
    tables: list[list[int]] = []
    for line in page.splitlines():
        if line.startswith("|"):
            tables[-1].append(len(re.findall(r"(?<!\\)\|", line)))
        elif not tables or tables[-1]:
            tables.append([])
    assert all(len(set(table)) <= 1 for table in tables) and sum(map(len, tables)) > 40  # no text made a cell
    assert "@someone #12 GH-12" in _shown(page) and "<img src=x onerror='window.hacked=1'>" in _shown(page)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [60_000, 20_000, 5_000, 1_000, 100])
def test_markdown_keeps_to_its_limit_and_says_what_is_left_out(limit):
    page = markdown.render(document(planted.verdict(num=500, texts=HOSTILE)), max_bytes=limit)
    assert len(page.encode("utf-8")) <= limit
    assert page.startswith("# Gate: FAIL")
    if limit >= 1_000:
        assert "left out here" in page or "Cut here" in page
    shown = [int(found) for found in re.findall(r"^\| clip-(\d+)", page, re.MULTILINE)]
    assert shown == list(range(len(shown)))  # the worst stay
    if limit == 60_000:
        assert len(shown) >= 25 and f"{500 - len(shown)} clips more" in page


# --- the terminal


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("texts", [(), HOSTILE])
def test_text_says_the_verdict_first_in_a_hundred_columns(outcome, texts):
    lines = terminal.render(document(planted.verdict(outcome, texts=texts))).split("\n")
    assert lines[0].startswith(f"{ENDINGS[outcome].word.upper()}: question_score fell by 0.11")
    assert f"  exit code: {planted.verdict(outcome).exit_code}" in lines
    wide = [sum(2 if east_asian_width(char) in "WF" else 1 for char in line) for line in lines]
    assert max(wide) <= 100
    assert not any(re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", line) for line in lines)
    assert not any(re.match(r"\s*::|.*##\w*\[", line) for line in lines)  # CI systems read logs for commands
    assert len(lines) < 130


def test_text_tells_what_decided_and_the_five_worst_clips():
    said = terminal.render(document(planted.verdict()))
    first, second = said.index("\n  question_score\n"), said.index("\n  temporal_flickering\n")
    assert first < second  # what fails comes first
    parts = ("-0.110 [-0.140, -0.080]", "likes freeze", "Detectable 0.032", "100 pairs in 20 clusters",
             "fail 9 of 100 stand still", "40 clips got worse", "clip-004", "frechet[feature=clip] (fail)")  # fmt: skip
    assert [part for part in parts if part not in " ".join(said.split())] == []
    assert "clip-005" not in said
    assert terminal.render(document(EMPTY)) == "PASS: nothing was asked for\n  exit code: 0"


# --- the words


def test_numbers_have_the_digits_that_their_interval_supports():
    metric = MetricVerdict(metric="m", role="primary", outcome="pass", change=0.00042, low=-0.0011, high=0.0019)
    assert change_text(metric) == "+0.0004 [-0.0011, +0.0019]"
    assert change_text(replace(metric, change=None)) == "–"
    assert change_text(replace(metric, change=0.0, low=0.0, high=0.0)) == "0.000 [0.000, 0.000]"
    assert [p_text(p) for p in (None, 0.0, 0.00099, 0.05, 1.0)] == [
        "–",
        "< 0.001",
        "< 0.001",
        "0.050",
        "1.000",
    ]
    assert asked_text(replace(metric, margin=0.05, at_most=3.0)) == "less than 0.05 worse, at most 3"


def test_a_clip_is_one_card_with_all_its_metrics():
    cards = next(one for one in document(planted.verdict(num=10)).sections if one.cards).cards
    assert [card.title for card in cards] == [f"clip-{i:03}" for i in range(10)]
    assert [len(card.lines) - 1 for card in cards] == [2, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    assert cards[0].lines[:2] == ("question_score: 1.00 to 0.20, 0.80 worse", "temporal_flickering: 0.90")
    better = ClipChange(id="x", metric="m", baseline=0.5, candidate=0.75, worse=-0.25)
    assert clip_text(better) == "m: 0.50 to 0.75, 0.25 better"


# --- what the page says once, and first


BOUND = "the bound allows for them at the value "
WORST = (("question_score", 0.0, "0"), ("sharpness", 0.04, "-1.5"), ("clipsim", -0.02, "0.2"))


def _three() -> tuple[MetricVerdict, ...]:
    blind = ("does not change under reverse (AUROC 0.50)",)
    common = {"role": "primary", "outcome": "pass", "margin": 0.1, "low": -0.05, "high": 0.05, "blind": blind,
              "num_pairs": 60, "num_clusters": 60}  # fmt: skip
    return tuple(
        MetricVerdict(
            metric=name, change=change, **common,
            reasons=(f"{name} passes", ValueSentence(f"{BOUND}{worst}", BOUND), "one clip a prompt"),
        )
        for name, change, worst in WORST
    )  # fmt: skip


def test_what_all_metrics_share_is_said_once() -> None:
    made = document(replace(planted.verdict("pass"), metrics=_three()))
    page = markdown.render(made).replace("\\", "")
    for once in ("one clip a prompt", "The change rests on 60 pairs in 60 clusters", "does not change under reverse"):
        assert page.count(once) == 1, once
    assert page.count("the bound allows for them at the value") == 1
    for name, _, worst in WORST:
        assert f"{worst} ({name})" in page
    assert all(page.count(f"{name} passes") == 1 for name, *_ in WORST), "each has its own reason"


def test_metrics_that_got_worse_and_their_clips_come_first() -> None:
    changed = [
        ClipChange(id=id, metric=metric, baseline=1.0, candidate=0.9, worse=0.1)
        for id, metric in (("a", "sharpness"), ("b", "question_score"), ("c", "clipsim"))
    ]
    made = document(replace(planted.verdict("pass"), metrics=_three(), clips=tuple(changed)))
    (primary,) = [section for section in made.sections if section.title == "Primary metrics"]
    assert [row[0] for row in primary.tables[0].rows] == ["clipsim", "question_score", "sharpness"]
    (cards,) = [section.cards for section in made.sections if section.cards]
    assert [card.title for card in cards] == ["c", "b", "a"]
