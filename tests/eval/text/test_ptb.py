"""Tokens against those of Stanford's program: a table of what it gave, and, where Java is, the program itself."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from v2t_eval.text import ptb
from v2t_eval.text.java import java_tokenize
from v2t_eval.text.ptb import flatten, read, tokenize

# What PTBTokenizer 3.4.1 gives for each, lower-case, punctuation removed as in pycocoevalcap.
SAID = {
    "": "",
    "A man's hat isn't here, don't you think?": "a man 's hat is n't here do n't you think",
    "I can't, won't; we're they've he'll I'm": "i ca n't wo n't we 're they 've he 'll i 'm",
    "cannot gonna gotta wanna gimme lemme dunno": "can not gon na got ta wan na gim me lem me dunno",
    "wanna's cannot's": "wanna 's cannot 's",
    "'tis o'clock y'all ma'am ne'er": "'t is o'clock y' all ma'am ne'er",
    "rock'n'roll, '80s and 1990's": "rock 'n' roll '80s and 1990 's",
    "the colour of the grey theatre": "the colour of the grey theatre",
    '"Hello," she said': "hello she said",
    "“curly” it’s don’t dogs’ ‘single’": "curly it 's do n't dogs single",
    "(parens) [square] {curly}": "-lrb- parens -rrb- -lsb- square -rsb- -lcb- curly -rcb-",
    "$5.00 £5 €5 5¢ US$5 5%": "$ 5.00 # 5 $ 5 5 cents us$ 5 5 %",
    "1,000 1.5 1/2 12:30 12:30pm 10am 5th": "1,000 1.5 1/2 12:30 12:30 pm 10am 5th",
    "3 1/2 cups, ½ cup, 1½ cups": "3\xa01/2 cups 1/2 cup 1 1/2 cups",
    "01/02/2003, 2003-01-02, -5 +3 .5": "01/02/2003 2003-01-02 -5 +3 .5",
    "Mr. Smith, Dr. No. etc. vs. U.S.A. at 5 p.m.": "mr. smith dr. no etc. vs. u.s.a. at 5 p.m.",
    "No. 5 is no. The end": "no. 5 is no the end",
    "J. Doe and vitamin C. The end": "j. doe and vitamin c the end",
    "Ph.D. and e.g. i.e. word., word.; word.": "ph.d. and e.g. i.e. word. word. word",
    "well-known T-shirt semi- -pre U.S.-based": "well-known t-shirt semi pre u.s.-based",
    "his/her/their and/or w/o w/ 24/7": "his/her/their and/or w/o w / 24/7",
    "AT&T R&B rock&roll a & b": "at&t r&b rock & roll a & b",
    "hello...there . . . wow!!! what?! a--b a - b—c": "hello there wow !!! what ?! a b a b c",
    "-----": "-----",
    "hello.world Hello!World end.": "hello.world hello!world end",
    "#tag #5 C++ C# a*b ** :) :-( x=5": "#tag # 5 c++ c# a * b ** :-rrb- :--lrb- x = 5",
    "café naïve jalapeño Zoë's": "café naïve jalapeño zoë 's",
}


@pytest.mark.parametrize("text", SAID)
def test_tokens_are_those_of_the_program(text):
    assert tokenize(text) == SAID[text]
    assert read(text)[1]


@pytest.mark.java
def test_the_table_is_what_the_program_says():
    assert java_tokenize(list(SAID)) == list(SAID.values())


@pytest.mark.parametrize(
    "text",
    ["call (415) 555-1234", "555 1234 5678", "<b>bold</b>", "a@b.com", "see example.com/abc", "http://a.b", "AT&amp;T",
     "a\\b", "狗在跑", "собака", "a 😀 dog", "’dog’", "Co.uk", "5a.b", "ſo", "5 \u212a", "a\u200bb", "İ"],
)  # fmt: skip
def test_what_lies_outside_the_class_is_recognised(text):
    assert not read(text)[1]
    assert read(text) == (tokenize(text), False)


@pytest.mark.parametrize(
    "mark", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x85", "\u2028", "\u2029", "\0", "\t"]
)
def test_a_separator_of_lines_is_a_space(mark):
    text = f"a dog{mark}runs (415){mark}555-1234"
    assert " ".join(flatten(text).split()) == "a dog runs (415) 555-1234"
    assert len(flatten(text).splitlines()) == 1
    assert tokenize(text) == tokenize("a dog runs (415) 555-1234")
    assert tokenize(f"two{mark}words") == "two words"


def test_tokens_do_not_depend_on_what_was_read_before():
    texts = [*SAID, "I saw vitamin C. The end", "vitamin C. the end"]
    first = [read(text) for text in texts]
    ptb._plain.cache_clear()
    ptb._alone.cache_clear()
    assert [read(text) for text in reversed(texts)] == first[::-1]


@pytest.mark.slow
def test_strange_text_takes_no_long_time():
    started = time.process_time()
    for text in (
        "a" * 20000,
        "a." * 5000,
        "a-" * 5000,
        "1" * 20000,
        "1," * 5000,
        "'" * 5000,
        "a'b" * 3000,
        "((((" * 2000,
    ):
        read(text)
    assert time.process_time() - started < 5


WORDS = """
a dog the man woman's red it he she they're i'm is are running don't can't won't isn't could've cannot gonna wanna Gimme
o'clock O'Brien rock'n'roll y'all ma'am 'tis 'em '80s 1980's café naïve jalapeño Zoë well-known T-shirt x-ray and/or
his/her w/o semi- 20-year-old 5 12 1,000 3.5 .5 1/2 24/7 12:30 10:45pm 7th 50% $5 $1,000.50 £20 €15 5¢ -5 6'2" 98.6 °F
½ 1½ #1 No.1 U.S. U.K. a.m. p.m. e.g. i.e. etc. vs. Mr. Mrs. Dr. St. J. D.C. Ph.D. Inc. Jr. AT&T R&B the Sept. Fig. No.
ave. approx. Col. in On THE it’s don’t dogs’ 100km/h mid-air
""".split()
ROUND = """
{}, {}. {}; {}: {}! {}? {}... ({}) "{}" '{}' “{}” ‘{}’ [{}] {}'s {}’s ({} {}) "{} {}- -{} {}/ {{{}}} ({}). "{}," {}--the
{}—a
""".split()


def captions(num: int, seed: int) -> list[str]:
    """Captions of everything that is found in captions; the last word is a plain one."""
    draw = random.Random(seed)

    def word() -> str:
        found = draw.choice(WORDS)
        if draw.random() < 0.15:
            found = draw.choice([str.upper, str.capitalize])(found)
        return draw.choice(ROUND).format(found) if draw.random() < 0.3 else found

    ends = ["dog", "dog.", "grass!", "street?", "dogs'", "park...", '"here"']
    return [" ".join([*(word() for _ in range(draw.randint(0, 10))), draw.choice(ends)]) for _ in range(num)]


@pytest.mark.java
def test_tokens_of_random_captions_are_those_of_the_program():
    made = captions(8000, seed=1)
    assert_equal_to_program(made, least_covered=0.8)


def assert_equal_to_program(made: list[str], least_covered: float) -> None:
    ours = [read(text) for text in made]
    assert sum(exact for _, exact in ours) > least_covered * len(made)
    rows = zip(made, ours, java_tokenize(made), strict=True)
    assert [(text, own, said) for text, (own, exact), said in rows if exact and own != said] == []


@pytest.mark.java
def test_tokens_of_all_short_strings_are_those_of_the_program():
    """Every string of up to four or five marks of an alphabet, between two words."""
    alphabets = {
        "a5.-/": 4,
        "a5,.;:": 4,
        "as'5": 5,
        "nt'a": 5,
        "aA&.": 5,
        "Mr. a": 5,
        "a'\"! ": 4,
        "+-5.%": 4,
        ":)o=-": 4,
    }
    made = [
        f"k {text} k"
        for alphabet, longest in alphabets.items()
        for length in range(1, longest + 1)
        for text in map("".join, itertools.product(alphabet, repeat=length))
    ]
    assert_equal_to_program(made, least_covered=0.95)
