"""What falls outside our tokenizer's class: to Java in one call, or to us with a note; and troubles with Java."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cineloop.errors import MissingDependencyError
from v2t_eval.core.sample import Sample
from v2t_eval.metrics import bleu, cider, rouge_l, spice
from v2t_eval.text import captions, java
from v2t_eval.text.captions import Tokens
from v2t_eval.text.java import java_tokenize
from v2t_eval.text.ptb import tokenize

OUTSIDE = "Call (415) 555-1234 <b>now</b>!"


def samples() -> list[Sample]:
    return [
        Sample(id="a", caption="a dog runs", references=("the dog runs.", "A dog is running!")),
        Sample(id="b", caption=OUTSIDE, references=("call 415 555-1234 now", "somebody calls")),
    ]


def test_without_java_our_rules_read_everything_and_say_so(monkeypatch):
    monkeypatch.setattr(captions, "java_missing", lambda: "a Java runtime")
    metric = rouge_l.Metric()
    metric.update(samples())
    result = metric.compute()
    assert result.counts == {"texts": 6, "texts_outside_our_class": 2}
    assert "2 outside that class also by ours, since a Java runtime is missing" in result.notes[-1]
    assert "2 texts by rules that are not exact" in result.fingerprint["tokenizer"]

    inside = rouge_l.Metric()
    inside.update(samples()[:1])
    assert inside.compute().fingerprint["tokenizer"] == captions.EXACT
    assert inside.compute().notes == ("tokens: 3 of 3 texts by our PTB tokenizer, exact for their class.",)


def test_texts_outside_go_to_java_in_one_call_for_all_metrics(monkeypatch):
    asked = []

    def program(texts):
        asked.append(list(texts))
        return [f"java {tokenize(text)}" for text in texts]

    monkeypatch.setattr(captions, "java_missing", lambda: "")
    monkeypatch.setattr(captions, "java_tokenize", program)
    monkeypatch.setattr(captions, "need_java", lambda jar: Path(__file__))
    monkeypatch.setattr(captions, "_by_java", {})
    shared = samples()
    for module in (bleu, rouge_l, cider):
        metric = module.Metric()
        metric.prepare()
        metric.update(shared)
        result = metric.compute()
        assert result.fingerprint["tokenizer"] == captions.EXACT
        assert "2 by the Java tokenizer (stanford-corenlp-3.4.1.jar" in result.notes[-1]
    assert asked == [sorted([OUTSIDE, "call 415 555-1234 now"])]
    assert rouge_l.Metric().measure(samples()[1])["unread"][0] == OUTSIDE  # evidence is the same with and without Java


@pytest.mark.java
def test_the_program_reads_what_we_do_not():
    assert java_tokenize([]) == []
    texts = ["a <b", "c> d", "a dog", "", "vitamin C.", "The end", "no.", "5 dogs", "a\u2028b\x85c\vd\fe", "狗在跑"]
    assert java_tokenize(texts) == [
        "a < b", "c > d", "a dog", "", "vitamin c.", "the end", "no", "5 dogs", "a b c d e", "狗在跑",
    ]  # fmt: skip
    metric = bleu.Metric()
    metric.update([Sample(id="1", caption=OUTSIDE, references=(OUTSIDE,))])
    result = metric.compute()
    assert result.value == pytest.approx(1)
    assert result.counts["texts_outside_our_class"] == 2


@pytest.mark.java
def test_a_text_that_swallows_its_neighbours_line_is_read_alone():
    texts = ['a <a href="x', 'y"> z', "two words"]
    assert java_tokenize(texts)[2] == "two words"
    assert len(java_tokenize(texts)) == 3


def test_an_answer_with_too_few_lines_is_asked_again_in_halves(monkeypatch):
    asked = []

    def program(arguments, folder, **_):
        lines = (folder / "texts").read_text(encoding="utf-8").split("\n")[:-1]
        asked.append(len(lines) // 2)
        return "\n".join(lines if len(lines) == 2 else lines[1:]) + "\n"

    monkeypatch.setattr(java, "need_java", lambda jar: Path("x.jar"))
    monkeypatch.setattr(java, "run_java", program)
    assert java.java_tokenize(["one", "two", "three"]) == ["one", "two", "three"]
    assert asked == [3, 1, 2, 1, 1]


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(java, "package_folder", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="needs a Java runtime.*apt-get"):
        java.need_java("spice/spice-1.0.jar")
    fake_java(tmp_path, "")
    with pytest.raises(MissingDependencyError, match="needs the package pycocoevalcap.*pip install"):
        java.need_java("spice/spice-1.0.jar")


def test_a_program_that_fails_says_what_it_said(monkeypatch, tmp_path):
    fake_java(tmp_path, "sys.exit('no room left')")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MissingDependencyError, match="ended with 1: no room left"):
        java.run_java(["-version"], tmp_path)


def fake_java(folder: Path, body: str) -> None:
    """A program `java` that does `body`, in Python."""
    program = folder / "java"
    program.write_text(f"#!/usr/bin/env python3\nimport json, os, sys\n{body}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


SPICE_ANSWERS = """
asked = json.load(open(sys.argv[sys.argv.index("-jar") + 2]))
for package in ("java.lang", "java.math"):
    assert f"--add-opens=java.base/{package}=ALL-UNNAMED" in os.environ["JDK_JAVA_OPTIONS"]
assert "-Duser.language=en" in sys.argv
told = [{"image_id": one["image_id"], "scores": {"All": {"f": None if one["test"] == "" else 0.25 * one["image_id"]},
         "Object": {"f": 0.5}}} for one in reversed(asked)]
json.dump(told, open(sys.argv[sys.argv.index("-out") + 1], "w"))
"""


def test_spice_is_asked_and_read_as_its_program_wants(monkeypatch, tmp_path):
    library = tmp_path / "the package" / "spice" / "lib"
    library.mkdir(parents=True)
    (library.parent / "spice-1.0.jar").write_bytes(b"jar")
    fake_java(tmp_path, SPICE_ANSWERS)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(java, "package_folder", lambda: tmp_path / "the package")
    with pytest.raises(MissingDependencyError, match="SPICE needs stanford-corenlp-3.6.0.jar.*get_stanford_models"):
        spice.Metric().prepare()
    for name in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (library / name).write_bytes(b"models")
    metric = spice.Metric()
    metric.prepare()
    metric.update([Sample(id=str(n), caption=text, references=("x",)) for n, text in enumerate(["a", "b", "", "c"])])
    result = metric.compute()
    assert result.value == pytest.approx((0 + 0.25 + 0.75) / 3)
    assert result.items == [
        {"id": id, "value": value, "object": 0.5} for id, value in (("0", 0), ("1", 0.25), ("3", 0.75))
    ]
    assert result.coverage == 0.75
    assert "1 clips have no SPICE" in result.notes[0]
    assert list(tmp_path.glob("cineloop*")) == []


def test_a_short_answer_of_spice_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(spice, "_program", lambda: tmp_path / "x.jar")
    fake_java(tmp_path, "json.dump([], open(sys.argv[sys.argv.index('-out') + 1], 'w'))")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MissingDependencyError, match="SPICE answered for 0 of 1"):
        spice.scores([Tokens("a", ("b",))])
