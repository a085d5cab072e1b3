"""BLEU, ROUGE-L, CIDEr and METEOR against the numbers of pycocoevalcap, and against pycocoevalcap itself."""

from __future__ import annotations

import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from parity import A3, A6, CAPTIONED

from cineloop.errors import UsageError
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample
from v2t_eval.metrics import meteor
from v2t_eval.metrics.cider import cider
from v2t_eval.text import java
from v2t_eval.text.captions import Tokens
from v2t_eval.text.ptb import read


def scored(name: str, rows, order=None, **settings):
    metric = load_metric(name)(**settings)
    metric.prepare()
    made = [Sample(id=f"{n:05}", caption=row[0], references=tuple(row[1:])) for n, row in enumerate(rows)]
    metric.update(made if order is None else [made[n] for n in order])
    return metric.compute()


@pytest.mark.long
@pytest.mark.java
def test_published_meteor_under_a_german_locale_from_a_folder_with_a_space(monkeypatch, tmp_path):
    """One start of the program for all sets. A space before the jar hides its tables from it; its second half, which
    reads numbers in the locale's way, is not asked at all."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE")
    installed = tmp_path / "site packages" / "pycocoevalcap"
    shutil.copytree(_package() / "meteor", installed / "meteor", copy_function=_large_as_link)
    monkeypatch.setattr(java, "package_folder", lambda: installed)
    monkeypatch.setattr(meteor, "_known", {})
    metric = load_metric("meteor")()
    metric.prepare()
    rows = [(case, row) for case, (texts, *_) in CAPTIONED.items() for row in texts] + [
        ("empty", ("", "a cat")),
        ("e2", ("a", "")),
    ]
    metric.update([Sample(id=f"{n:02}", caption=r[0], references=tuple(r[1:])) for n, (_, r) in enumerate(rows)])
    summed = []
    monkeypatch.setattr(
        meteor, "statistics", lambda samples, own=meteor.statistics: summed.append(own(samples)) or summed[0]
    )
    result = metric.compute()
    monkeypatch.setattr(meteor, "_ask", lambda samples: pytest.fail("what was asked before is asked again"))
    assert metric.compute() == result
    values = [item["value"] for item in result.items]
    for case, (_, figures, clips) in CAPTIONED.items():
        own = [n for n, (which, _) in enumerate(rows) if which == case]
        pooled = float(meteor.meteor(summed[0][own].sum(axis=0))[0])
        assert pooled == pytest.approx(figures["meteor"], abs=1e-6), case
        if "meteor" in clips:
            assert [values[n] for n in own] == pytest.approx(clips["meteor"], abs=1e-6)
    assert values[-2:] == [0.0, 0.0]
    figure = result.figures["meteor"]
    assert 0 <= figure.low < figure.value < figure.high <= 1


def _large_as_link(source: str, target: str) -> None:
    if source.endswith(".gz"):
        Path(target).symlink_to(source)
    else:
        shutil.copy(source, target)  # a link would be followed to where there is no space


def _package() -> Path:
    found = java.package_folder()
    if found is None:
        pytest.skip("needs pycocoevalcap: pip install 'cineloop[eval]'")
    return found


WORDS = """a dog the man woman's red it he they're is are running don't can't isn't cannot gonna Gimme o'clock O'Brien
rock'n'roll ma'am '80s café well-known T-shirt and/or 20-year-old 5 12 1,000 3.5 1/2 12:30 7th 50% $5 £20 U.S. a.m. e.g.
etc. Mr. Dr. J. Ph.D. AT&T in on ball park -- & ( ) [ ] ... 3 ½""".split()


def random_rows(num: int, seed: int) -> list[tuple[str, ...]]:
    """Captions with punctuation, contractions, numbers, empty and repeated ones; they end in a plain word, since
    pycocoevalcap lets the next caption decide about a last "J." or "no."."""
    draw = random.Random(seed)

    def text() -> str:
        if draw.random() < 0.02:
            return ""
        words = [
            draw.choice(WORDS) + draw.choice(["", "", "", "", ",", ".", ";", "!", "'s", ")"])
            for _ in range(draw.randint(0, 9))
        ]
        made = " ".join([*words, draw.choice(["dog", "grass.", "street!"])])
        return made.capitalize() if draw.random() < 0.5 else made

    rows = []
    for _ in range(num):
        references = [text() for _ in range(draw.choice([1, 2, 3]))]
        kind = draw.random()
        caption = draw.choice(references) if kind < 0.1 else text()
        if kind > 0.6:  # share words with a reference
            words = draw.choice(references).split()
            caption = " ".join(words[: draw.randint(0, len(words))] + text().split()[:4] + ["dog"])
        rows.append((caption, *references, *references[: draw.random() < 0.1]))
    return rows


def assert_scorers_agree(rows: list[tuple[str, ...]], made: dict[int, list[str]], given: dict[int, list[str]]) -> None:
    """BLEU, ROUGE-L and CIDEr of ours and of pycocoevalcap on its tokens, whole and by caption, within 1e-9."""
    peers = pytest.importorskip("pycocoevalcap.bleu.bleu"), pytest.importorskip("pycocoevalcap.rouge.rouge")
    values, by_clip = peers[0].Bleu(4).compute_score(given, made, verbose=0)
    ours = scored("bleu", rows)
    assert [ours.figures[f"bleu_{n}"].value for n in range(1, 5)] == pytest.approx(values, abs=1e-9)
    np.testing.assert_allclose([item["value"] for item in ours.items], by_clip[3], atol=1e-9, rtol=0)
    np.testing.assert_allclose([item["bleu_1"] for item in ours.items], by_clip[0], atol=1e-9, rtol=0)
    peer = pytest.importorskip("pycocoevalcap.cider.cider")
    for name, scorer in (("rouge_l", peers[1].Rouge()), ("cider", peer.Cider())):
        value, by_clip = scorer.compute_score(given, made)
        ours = scored(name, rows)
        assert ours.value == pytest.approx(value, abs=1e-9)
        np.testing.assert_allclose([item["value"] for item in ours.items], by_clip, atol=1e-9, rtol=0)


@pytest.mark.slow
def test_scorers_agree_with_pycocoevalcap_on_our_tokens():
    rows = random_rows(300, seed=3)
    made = {n: [read(row[0])[0]] for n, row in enumerate(rows)}
    given = {n: [read(text)[0] for text in row[1:]] for n, row in enumerate(rows)}
    assert_scorers_agree(rows, made, given)


@pytest.mark.java
def test_tokens_and_scores_of_5000_random_sets_are_those_of_pycocoevalcap():
    tokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer()
    rows = random_rows(5000, seed=4)
    made = tokenizer.tokenize({n: [{"caption": row[0]}] for n, row in enumerate(rows)})
    given = tokenizer.tokenize({n: [{"caption": text} for text in row[1:]] for n, row in enumerate(rows)})
    ours = [[read(text) for text in row] for row in rows]
    outside = 0  # three numbers in a row may be a telephone number: such go to the program
    for n, row in enumerate(ours):
        for (tokens, exact), said in zip(row, [*made[n], *given[n]], strict=True):
            outside += not exact
            assert tokens == said or not exact, rows[n]
    assert outside < 0.001 * sum(map(len, rows))
    assert_scorers_agree(rows, made, given)


@pytest.mark.parametrize("name", ["bleu", "rouge_l", "cider"])
def test_an_empty_caption_scores_zero_and_shifts_no_row(name):
    rows = [*A6[:2], ("", "a cat", "the cat"), ("a\u2028dog\x85runs", "a dog runs"), *A6[2:]]
    found = [item["value"] for item in scored(name, rows).items]
    assert found[2] == 0
    if name != "cider":  # whose weights depend on the set
        alone = [item["value"] for item in scored(name, A6).items]
        assert found[:2] + found[4:] == alone
        assert found[3] == pytest.approx(0.0316228 if name == "bleu" else 1, abs=1e-6)  # three words have no 4-gram


@pytest.mark.parametrize("name", ["bleu", "rouge_l", "cider"])
def test_neither_order_nor_batches_matter(name):
    rows = random_rows(60, seed=5)
    first, second = scored(name, rows), scored(name, rows, order=random.Random(0).sample(range(60), 60))
    assert first == second


def test_cider_of_one_clip_is_zero_and_says_why():
    result = scored("cider", A3)
    assert result.value == 0
    assert "one clip alone always scores 0" in " ".join(result.notes)


def test_frozen_frequencies_make_sets_comparable(tmp_path):
    corpus = tmp_path / "references.txt"
    corpus.write_text("\n".join("\t".join(row[1:]) for row in A6), encoding="utf-8")
    whole, part = scored("cider", A6, corpus=str(corpus)), scored("cider", A6[:2], corpus=str(corpus))
    assert whole.value == pytest.approx(2.006981, abs=1e-6)
    assert [item["value"] for item in part.items] == [item["value"] for item in whole.items][:2]
    assert part.value != pytest.approx(scored("cider", A6[:2]).value, abs=1e-2)
    assert whole.name == "cider[corpus=references.txt]"
    assert "document frequencies of 4 clips" in whole.notes[0]
    moved = tmp_path / "elsewhere.txt"
    moved.write_bytes(corpus.read_bytes())
    assert scored("cider", A6, corpus=str(moved)).fingerprint == whole.fingerprint
    moved.write_text("another corpus\n", encoding="utf-8")
    assert scored("cider", A6, corpus=str(moved)).fingerprint != whole.fingerprint
    assert scored("cider", A6).fingerprint["corpus"] == "the scored set"
    with pytest.raises(UsageError, match="cannot read the corpus"):
        scored("cider", A6, corpus=str(tmp_path / "none.txt"))


def test_cider_of_equal_captions_is_ten():
    rows = [Tokens(text, (text, text)) for text in ("a dog runs in the park", "two cats sleep on a bed")]
    assert cider(rows) == pytest.approx([10, 10])


def test_intervals_are_those_of_sets_and_not_of_single_scores():
    result = scored("bleu", random_rows(200, seed=6))
    figure = result.figures["bleu_4"]
    assert figure.low < figure.value < figure.high
    single = [item["value"] for item in result.items]
    assert not math.isclose(figure.value, sum(single) / len(single), rel_tol=0.05)  # a set's BLEU is no mean
