"""N-grams and subsequences against the plain definitions."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from cineloop.errors import UsageError
from v2t_eval.text.ngrams import clipped_matches, common_subsequence, count_ngrams, file_hash, frequencies, ngrams


def random_texts(seed: int, num: int, longest: int = 12, letters: str = "abcd") -> list[list[str]]:
    draw = random.Random(seed)
    return [[draw.choice(letters) for _ in range(draw.randint(0, longest))] for _ in range(num)]


def plain_subsequence(first: list[str], second: list[str]) -> int:
    row = [0] * (len(second) + 1)
    for one in first:
        above = row[:]
        for at, two in enumerate(second, 1):
            row[at] = above[at - 1] + 1 if one == two else max(above[at], row[at - 1])
    return row[-1]


def test_common_subsequence_is_that_of_the_table():
    texts = [*random_texts(0, 60), *random_texts(1, 6, longest=300, letters="abcdefghij")]
    for text in texts[::3]:
        assert common_subsequence(text, texts) == [plain_subsequence(text, other) for other in texts]


def test_clipped_matches_are_those_of_counters():
    for seed in range(200):
        candidate, *references = random_texts(seed, 4)
        expected = []
        for n in range(1, 5):
            own = Counter(ngrams(candidate, n))
            most = Counter()
            for reference in references:
                most |= Counter(ngrams(reference, n))
            expected.append(sum((own & most).values()))
        assert clipped_matches(candidate, references) == expected


def test_numbered_ngrams_are_those_of_counters():
    texts = random_texts(3, 50)
    counted = count_ngrams([" ".join(text) for text in texts])
    assert counted.num_words.tolist() == [len(text) for text in texts]
    for n, entries in enumerate(counted.entries, 1):
        found = [Counter() for _ in texts]
        for text, gram, times in zip(*(column.tolist() for column in entries), strict=True):
            found[text][counted.gram(n, gram)] = times
        assert found == [Counter(ngrams(text, n)) for text in texts]
    assert [len(entries.text) for entries in count_ngrams(["", ""]).entries] == [0, 0, 0, 0]


FORMS = {
    "manifest.jsonl": "\n".join(
        json.dumps(row) for row in [{"id": "1", "captions": ["A dog.", "The dog"]}, {"id": "2", "captions": ["a cat"]}]
    ),
    "rows.jsonl": "\n".join(
        json.dumps({"image_id": clip, "caption": text}) for clip, text in [(1, "A dog."), (2, "a cat"), (1, "The dog")]
    ),
    "coco.json": json.dumps(
        {"annotations": [{"image_id": i, "caption": c} for i, c in [(1, "A dog."), (1, "The dog"), (2, "a cat")]]}
    ),
    "by_clip.json": json.dumps({"1": ["A dog.", "The dog"], "2": [{"caption": "a cat"}]}),
    "lines.txt": "A dog.\tThe dog\na cat\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_document_frequencies_of_every_form_of_file(tmp_path, name):
    path = tmp_path / name
    path.write_text(FORMS[name], encoding="utf-8")
    found = frequencies(str(path))
    assert (found.num_clips, found.num_texts, found.num_outside) == (2, 3, 0)
    assert found.counts == {
        ("a",): 2, ("dog",): 1, ("the",): 1, ("cat",): 1, ("a", "dog"): 1, ("the", "dog"): 1, ("a", "cat"): 1,
    }  # fmt: skip
    assert len(file_hash(str(path))) == 64


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "{"), ("b.json", "[1, 2]"), ("c.txt", "\n"), ("d.jsonl", '{"id": 1}')]
)
def test_a_corpus_without_captions_is_a_clear_error(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="captions|cannot be read"):
        frequencies(str(tmp_path / name))
    with pytest.raises(UsageError, match="cannot read"):
        file_hash(str(tmp_path / "none.json"))
