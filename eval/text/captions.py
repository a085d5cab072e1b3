"""Base of the caption metrics: tokens of a sample, and text that only the Java tokenizer reads exactly.

In: samples with a caption and references. Out: their tokens, as pycocoevalcap makes them, and sentences about who made
them. A text of the class of `v2t_eval.text.ptb` is tokenised at once; of any other the evidence keeps the words
themselves, and when the set is summed up all those go to the Java program in one call, or, where there is no Java, to
our rules with a note and another fingerprint. So evidence is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from v2t_eval.core import models
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric
from v2t_eval.core.sample import Sample
from v2t_eval.text.java import TOKENIZER, jar_hash, java_missing, java_tokenize, need_java
from v2t_eval.text.ptb import flatten, read

EXACT = "PTB tokens of Stanford CoreNLP 3.4.1, punctuation removed as in pycocoevalcap"
_by_java: dict[str, str] = {}  # tokens by Java in this process; the metrics of one pass ask for the same texts
models.on_release(_by_java.clear)
_MOST_KEPT = 100_000


class Tokens(NamedTuple):
    """Tokens of a caption and of its references, each joined by single spaces."""

    caption: str
    references: tuple[str, ...]


class TokenReport(NamedTuple):
    """How texts were tokenized: `notes`, `counts`, and the part of the fingerprint."""

    notes: tuple[str, ...]
    counts: dict[str, int]
    fingerprint: dict[str, str]

    def as_arguments(self, *notes: str) -> dict[str, Any]:
        """Arguments of a `Summary`; `notes` come first."""
        return {"notes": (*notes, *self.notes), "counts": self.counts, "fingerprint": self.fingerprint}


class CaptionMetric(BaseMetric):
    """A metric of tokens; a subclass works on what `complete_rows` returns."""

    level = "text"
    needs = ("caption", "references")
    detects = "words and their order, as a caption shares them with its references"

    def count(self, tokens: Tokens) -> Evidence:
        """The evidence of one sample from its tokens: by default the tokens themselves, see `tokens_of`."""
        return {"caption": tokens.caption, "references": list(tokens.references)}

    def measure(self, sample: Sample) -> Evidence:
        """`count` of the tokens; the bare texts where the tokens are not surely those of Java."""
        texts = (sample.require("caption"), *sample.require("references"))
        read_texts = sample.once(("ptb tokens", texts), lambda: [read(text) for text in texts])
        if all(exact for _, exact in read_texts):
            tokens = [made for made, _ in read_texts]
            return {"texts": len(texts)} | self.count(Tokens(tokens[0], tuple(tokens[1:])))
        return {"texts": len(texts), "unread": [flatten(text) for text in texts]}

    def complete_rows(self, rows: Sequence[Observation]) -> tuple[list[Evidence], TokenReport]:
        """The evidence of every row, with unread texts now tokenized, and how texts were tokenized."""
        outside = sorted({text for row in rows for text in row.evidence.get("unread", ()) if not read(text)[1]})
        by_java = bool(outside) and not java_missing()
        known = dict(zip(outside, _ask_java(outside), strict=True)) if by_java else {}
        complete, num_outside = [], 0
        for row in rows:
            evidence = row.evidence
            if "unread" in evidence:
                num_outside += sum(not read(text)[1] for text in evidence["unread"])
                caption, *references = (known[text] if text in known else read(text)[0] for text in evidence["unread"])
                evidence = {"texts": evidence["texts"]} | self.count(Tokens(caption, tuple(references)))
            complete.append(evidence)
        num_texts = sum(evidence["texts"] for evidence in complete)
        return complete, _token_report(num_texts, num_outside, by_java)


def tokens_of(evidence: Evidence) -> Tokens:
    """The tokens that `CaptionMetric.count` kept."""
    return Tokens(evidence["caption"], tuple(evidence["references"]))


def _ask_java(texts: list[str]) -> list[str]:
    missing = [text for text in texts if text not in _by_java]
    if missing:
        if len(_by_java) + len(missing) > _MOST_KEPT:
            _by_java.clear()
            missing = texts
        _by_java.update(zip(missing, java_tokenize(missing), strict=True))
    return [_by_java[text] for text in texts]


def _token_report(num_texts: int, num_outside: int, by_java: bool) -> TokenReport:
    counts = {"texts": num_texts, "texts_outside_our_class": num_outside}
    note = f"tokens: {num_texts - num_outside} of {num_texts} texts by our PTB tokenizer, exact for their class"
    if not num_outside:
        return TokenReport((f"{note}.",), counts, {"tokenizer": EXACT})
    if by_java:
        note += (
            f"; {num_outside} by the Java tokenizer ({TOKENIZER.rsplit('/')[-1]}, {jar_hash(need_java(TOKENIZER))})."
        )
        return TokenReport((note,), counts, {"tokenizer": EXACT})
    note += f"; {num_outside} outside that class also by ours, since {java_missing()} is missing: these may differ."
    return TokenReport(
        (note,), counts, {"tokenizer": f"{EXACT}; {num_outside} texts by rules that are not exact for them"}
    )
