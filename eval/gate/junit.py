"""`junit.xml`: the verdict as the tests that a CI system counts.

In: a `Verdict`. Out: UTF-8 XML in the form that Jenkins, GitLab and the test reporters for GitHub read: `testsuites`,
one `testsuite` a group (`verdict`, `primary`, `guards`, `exploratory`), one `testcase` a metric or guard, times in
seconds (zero: a gate measures nothing that runs). The exit code is the verdict, and the file never looks greener than
it: the suite `verdict` holds one case with the outcome of the whole.

- fail: `failure`.
- inconclusive: `failure` of type `inconclusive`, since the exit code is not 0. A pipeline that lets exit code 8 pass
  must let these pass too; "skipped" would show green for a gate that has decided nothing.
- not comparable: `error`, nothing was tested.
- an exploratory metric that would not have passed: `skipped` with that message; it decides nothing.

Figures stand as `properties` and again, for readers that drop those, in `system-out`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from cineloop.log import printable
from v2t_eval.gate import wording
from v2t_eval.gate.verdict import Guard, MetricVerdict, Outcome, Verdict

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MAX_NAME = 300
_MAX_TEXT = 20_000
_MAX_CLIPS = 50  # named in one text
_KINDS: dict[Outcome, str] = {"fail": "failure", "inconclusive": "failure", "not_comparable": "error"}


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One test: what it is called, how it ended (None: passed), and what is told of it."""

    name: str
    kind: str | None = None
    type: str = ""
    message: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    told: tuple[str, ...] = ()


def render(verdict: Verdict) -> bytes:
    """The document."""
    primary, exploratory = wording.parted(verdict)
    groups = {
        "verdict": [_whole(verdict)],
        "primary": [_metric(one, verdict) for one in primary],
        "guards": [_guard(one) for one in verdict.guards],
        "exploratory": [_explored(_metric(one, verdict), one) for one in exploratory],
    }
    root = ElementTree.Element("testsuites", name="cineloop gate")
    for name, cases in groups.items():
        if cases:
            root.append(_suite(name, cases))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    root.set("time", "0.000")
    ElementTree.indent(root)
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _suite(name: str, cases: list[_Case]) -> ElementTree.Element:
    def counted(kind: str) -> str:
        return str(sum(case.kind == kind for case in cases))

    suite = ElementTree.Element(
        "testsuite", name=f"gate.{name}", tests=str(len(cases)), failures=counted("failure"), errors=counted("error"),
        skipped=counted("skipped"), time="0.000",
    )  # fmt: skip
    for case in cases:
        made = ElementTree.SubElement(
            suite, "testcase", classname=f"gate.{name}", name=_line(case.name, _MAX_NAME) or "unnamed", time="0.000"
        )
        if case.properties:
            held = ElementTree.SubElement(made, "properties")
            for key, value in case.properties:
                ElementTree.SubElement(held, "property", name=_line(key, _MAX_NAME), value=_line(value))
        told = _text("\n".join(case.told))
        if case.kind is not None:
            about = {"message": _line(case.message, 2_000)}
            if case.kind != "skipped":
                about["type"] = case.type
            ending = ElementTree.SubElement(made, case.kind, about)
            ending.text = None if case.kind == "skipped" else told
        if told:
            ElementTree.SubElement(made, "system-out").text = told
    return suite


def _whole(verdict: Verdict) -> _Case:
    sides = [("candidate", verdict.candidate), ("baseline", verdict.baseline), ("environment", verdict.environment)]
    pairs = [(f"{side}.{key}", str(value)) for side, held in sides for key, value in held.items()]
    told = [f"{wording.WORDS[verdict.outcome]}: {verdict.reason}"]
    told += [f"not comparable: {one}" for one in verdict.differences]
    clips = wording.by_clip(verdict)
    for first, changes in clips[:_MAX_CLIPS]:
        told.append(f"worse: {first.id}: {'; '.join(map(wording.clip, changes))}; prompt: {first.prompt or '–'}")
    if len(clips) > _MAX_CLIPS:
        told.append(f"and {len(clips) - _MAX_CLIPS} more clips that got worse, in verdict.json")
    told += [f"note: {one}" for one in verdict.notes]
    pairs.append(("exit_code", str(verdict.exit_code)))
    message = "; ".join([verdict.reason, *verdict.differences])
    return _ended(_Case(name="verdict", properties=tuple(pairs), told=tuple(told)), verdict.outcome, message)


def _metric(metric: MetricVerdict, verdict: Verdict) -> _Case:
    figures = {
        "outcome": metric.outcome,
        "candidate": wording.figure(metric.candidate),
        "baseline": wording.figure(metric.baseline),
        "change": wording.change(metric),
        "asked_for": wording.asked(metric),
        "direction": wording.better(metric),
        "p": wording.probability(metric.p),
        "p_adjusted": wording.probability(metric.p_adjusted),
        "minimum_detectable_effect": wording.amount(metric.mde),
        "rests_on": wording.behind(metric),
    }
    told = [f"{name.replace('_', ' ')}: {value}" for name, value in figures.items()]
    told += [*metric.reasons, *(f"blind: {line}" for line in metric.blind)]
    told += [f"worse: {one.id}: {wording.clip(one)}" for one in verdict.clips if one.metric == metric.metric][:10]
    exact = {
        "value": metric.candidate.value if metric.candidate else None,
        "interval_low": metric.candidate.low if metric.candidate else None,
        "interval_high": metric.candidate.high if metric.candidate else None,
        "change_value": metric.change, "change_low": metric.low, "change_high": metric.high, "margin": metric.margin,
        "at_least": metric.at_least, "at_most": metric.at_most, "p_value": metric.p,
        "p_adjusted_value": metric.p_adjusted, "mde": metric.mde,
    }  # fmt: skip
    pairs = [*figures.items(), *((name, repr(float(value))) for name, value in exact.items() if value is not None)]
    case = _Case(name=metric.metric, properties=tuple(pairs), told=tuple(told))
    return _ended(case, metric.outcome, metric.reasons[0] if metric.reasons else f"change {wording.change(metric)}")


def _guard(guard: Guard) -> _Case:
    told = [guard.message, *(f"clip: {one}" for one in guard.clips[:_MAX_CLIPS])]
    if len(guard.clips) > _MAX_CLIPS:
        told.append(f"and {len(guard.clips) - _MAX_CLIPS} more clips, in verdict.json")
    return _ended(_Case(name=guard.name, told=tuple(told)), guard.outcome, guard.message)


def _ended(case: _Case, outcome: Outcome, message: str) -> _Case:
    """The case with how it ended."""
    if outcome == "pass":
        return case
    said = message if outcome == "fail" else f"{outcome.replace('_', ' ')}: {message}"
    return _Case(
        name=case.name, kind=_KINDS[outcome], type=outcome, message=said, properties=case.properties, told=case.told
    )


def _explored(case: _Case, metric: MetricVerdict) -> _Case:
    """An exploratory metric fails nothing."""
    if case.kind is None:
        return case
    said = f"exploratory, decides nothing; by itself it would be: {metric.outcome.replace('_', ' ')}"
    return _Case(name=case.name, kind="skipped", message=said, properties=case.properties, told=case.told)


def _line(text: str, limit: int = 1_000) -> str:
    """Text for an attribute: on one line, control and direction characters spelled out."""
    return _NOT_XML.sub("\ufffd", printable(" ".join(text.split()), limit))


def _text(text: str) -> str:
    """Text for an element: lines are kept, what XML 1.0 forbids becomes U+FFFD."""
    kept = "\n".join(printable(line) for line in text.split("\n"))
    kept = kept if len(kept) <= _MAX_TEXT else kept[:_MAX_TEXT] + " … cut, the rest stands in verdict.json"
    return _NOT_XML.sub("\ufffd", kept)
