"""Caption check: what is wrong with captions, by their text, by a dual encoder and by a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cineloop.video.sample import SampleSpec
from v2t_eval.core.metric import BaseMetric, load_metric
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.step import BaseStep, Column, CompareResult
from v2t_eval.text.caption_faults import LANGUAGES, is_refusal, other_language, other_script, repetition

FRAMES = SampleSpec(num_frames=16)


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """`script`: of the letters, as Unicode names it. `language`: one of `LANGUAGES`; "" for any. `model`: of the
    metric clipsim; `judge`: of vqascore; "" leaves these columns empty."""

    script: str = "latin"
    language: str = ""
    model: str = ""
    judge: str = ""

    def __post_init__(self) -> None:
        if self.language not in ("", *LANGUAGES):
            raise ValueError(f"language must be one of {', '.join(LANGUAGES)} or empty, got {self.language!r}")


class Step(BaseStep):
    """A clip without a caption has no value."""

    name = "caption_check"
    columns = {
        "caption_refusal": Column("1 where the model speaks of itself or of a missing video, else 0", 0, 1),
        "caption_repeats": Column("share of the word triples that came before", 0, 1),
        "caption_other_script": Column("share of the letters that are of another script than asked for", 0, 1),
        "caption_other_language": Column("1 where more words are of another language than of the one asked for", 0, 1),
        "caption_match": Column("clipsim: mean cosine of frames and caption", -1, 1),
        "caption_true": Column("vqascore: how likely the judge says that the clip shows the caption", 0, 1),
    }
    detects = "refusals, loops, other scripts; with a model or a judge also captions of something else"
    misses = "languages beyond the seven of `caption_faults.LANGUAGES`; what model and judge do not see"
    Settings = CheckSettings

    def compare(self, clips: Sequence[FilmClip]) -> CompareResult:
        texts = [clip.links.caption for clip in clips]
        script, language = self.settings.script, self.settings.language
        columns: dict[str, Sequence[float | None]] = {
            "caption_refusal": [float(is_refusal(text)) if text else None for text in texts],
            "caption_repeats": [repetition(text) if text else None for text in texts],
            "caption_other_script": [other_script(text, script) if text else None for text in texts],
            "caption_other_language": [other_language(text, language) if text and language else None for text in texts],
        }
        for column, name, settings in (
            ("caption_match", "clipsim", {"model": self.settings.model, "text": "caption"}),
            ("caption_true", "vqascore", {"judge": self.settings.judge}),
        ):
            columns[column] = [None] * len(clips)
            if all(settings.values()):
                columns[column] = self._values(load_metric(name)(**settings), clips)
        return CompareResult(columns=columns)

    def _values(self, metric: BaseMetric, clips: Sequence[FilmClip]) -> list[float | None]:
        evidence = self.work.evidence(metric, [clip for clip in clips if clip.links.caption], FRAMES)
        return [evidence.get(clip.id, {}).get("value") for clip in clips]
