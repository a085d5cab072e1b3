"""Answers that run in a loop, captions of whole videos from notes, and how captions are worded in records."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop import plugin
from refusals import refusal
from scripted_captioner import ByDecoding
from two_answers import BlackPool
from v2t.backends import COST, TEXT, Output, effects
from v2t.caption import job
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig
from v2t.data.notes import Note
from v2t.long.summary import GROUP_CHARS, join, sum_up

LOOP = "the dog runs and " * 30


class OptionCaptioner(ByDecoding):
    """As its base, with options as a captioner declares them."""

    def __init__(
        self,
        *texts,
        quantize: Annotated[str, TEXT] = "",
        revision: Annotated[str, COST] = "",
        trust_remote_code: Annotated[bool, COST] = False,
        concurrency: Annotated[int, COST] = 1,
    ) -> None:
        super().__init__(*texts)


def test_captions_are_joined_as_prose_or_as_lines():
    assert join(["A dog runs.", "A dog runs.", " ", "It sits."]) == "A dog runs. It sits."
    assert join(["dog, grass", "dog, sand"]) == "dog, grass\ndog, sand"
    assert (
        join(["Subject: a dog.\nAction: runs.", "Subject: a cat."]) == "Subject: a dog.\nAction: runs.\nSubject: a cat."
    )


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=600))
def test_a_summary_never_reads_more_than_its_bound(lengths):
    notes = [Note(start_s=8.0 * i, end_s=8.0 * i + 8, text="w " * (n // 2) + "end.") for i, n in enumerate(lengths)]
    asked: list[str] = []

    def ask(prompt: str, max_new_tokens: int) -> Output:
        asked.append(prompt)
        return Output(text="It goes on for a while, and then something else happens. " * 12, tokens=3)

    output = sum_up(notes, "Describe the video.", 64, ask)
    assert max(map(len, asked)) <= GROUP_CHARS + 400
    assert output.tokens == 3 * len(asked) <= 3 * (2 * len(notes) + 1)
    assert asked[-1].endswith("Describe the video.") and "0:00-" in asked[0]


def go(folder: Path, out: Path, text: str, **settings):
    rows: list[dict] = []
    config = CaptionConfig(**settings)
    summary = caption.run([str(folder)], out, config, captioner=OptionCaptioner((text,) * 3), emit=rows.append)
    return summary, rows


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(job, "DecoderPool", BlackPool)
    (tmp_path / "clips/dogs").mkdir(parents=True)
    (tmp_path / "clips/dogs/a.mp4").write_text("a")
    return tmp_path / "clips"


def test_wording_reaches_the_record_and_is_a_setting(folder, tmp_path):
    from v2t.caption.wording import Wording

    wording = Wording(prefix="[v] ", suffix=" (end)", trigger="toon, ", template="{{ caption }} in {{ folder }}")
    out = tmp_path / "out"
    summary, rows = go(folder, out, 'Sure! Here is a caption: "A dog."', wording=wording)
    assert rows[0]["caption"] == "toon, [v] A dog. in dogs (end)"
    assert (out / "dogs/a.txt").read_text() == rows[0]["caption"] + "\n"
    assert go(folder, out, "?", wording=wording)[0].done_before == 1
    longer = Wording(encoder="clip", prefix="[v] ", suffix=" (end)", trigger="toon, ", template=wording.template)
    assert go(folder, out, "?", wording=longer)[0].done_before == 1  # it only warns
    error = refusal(go, folder, out, "?", wording=Wording(suffix=" (end)", trigger="toon, ", template=wording.template))
    assert error.code == "OTHER_SETTINGS" and "wording.prefix: [v]" in error.message
    _, rows = go(folder, tmp_path / "out2", "word " * 200 + "end.", wording=Wording(encoder="clip"))
    assert any(w["code"] == "LONG_FOR_ENCODER" for w in rows[0]["warnings"])
    _, rows = go(folder, tmp_path / "out3", "Subject: a dog\nAction: runs", style="structured")
    assert rows[0]["fields"] == {"subject": "a dog", "action": "runs"}


def test_flags_reach_wording_and_captioner(folder, tmp_path, monkeypatch, capsys):
    from v2t.cli import main

    seen = {}

    def opened(model, **rest):
        seen.update(model=model, **rest)
        return OptionCaptioner(("A dog.",) * 3)

    monkeypatch.setattr(caption, "open_backend", opened)
    flags = "--model some/model --revision abc --quantize 4bit --concurrency 3 --trust-remote-code --prefix P:"
    assert (
        main(["caption", str(folder), "-o", str(tmp_path / "out"), "--json", "--parts", "whole", *flags.split()]) == 0
    )
    assert seen["options"] == {"revision": "abc", "quantize": "4bit", "concurrency": 3, "trust_remote_code": True}
    assert json.loads(capsys.readouterr().out.splitlines()[0])["caption"] == "P:A dog."
    settings = json.loads((tmp_path / "out/.v2t/run.json").read_text())["settings"]
    assert settings["options.quantize"] == "4bit" and settings["wording.prefix"] == "P:"
    assert "options.concurrency" not in settings


def test_an_option_that_only_says_how_fast_does_not_make_captions_others(folder, tmp_path):
    first = {"concurrency": 1, "quantize": "4bit"}
    go(folder, tmp_path / "out", "A dog.", options=first)
    summary, _ = go(folder, tmp_path / "out", "A dog.", options=first | {"concurrency": 64})
    assert (summary.done_before, summary.num_captioned) == (1, 0)
    error = refusal(go, folder, tmp_path / "out", "A dog.", options=first | {"quantize": "8bit"})
    assert error.code == "OTHER_SETTINGS" and "options.quantize: " in error.message


@pytest.mark.parametrize("name", plugin.choices("v2t.backends", "Backend"))
def test_every_option_of_a_captioner_declares_whether_it_changes_the_text(name):
    maker = plugin.load("v2t.backends", name, "Backend").Backend
    options = set(inspect.signature(maker).parameters) - {"model", "device", "dtype"}
    assert {option for option, effect in effects(maker).items() if effect in (COST, TEXT)} == options


def test_a_temperature_samples_by_its_seed_and_is_a_setting(folder, tmp_path):
    rows: list[dict] = []
    captioner = OptionCaptioner(("greedy", "", "drawn"))
    config = CaptionConfig(temperature=0.7, seed=3)
    caption.run([str(folder)], tmp_path / "out", config, captioner=captioner, emit=rows.append)
    assert rows[0]["caption"] == "drawn" and captioner.calls[0][1].seed == 3
    error = refusal(go, folder, tmp_path / "out", "greedy")
    assert error.code == "OTHER_SETTINGS" and "temperature: 0.7" in error.message
    assert go(folder, tmp_path / "out", "?", temperature=0.7, seed=3)[0].done_before == 1
