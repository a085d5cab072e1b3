"""The model asked again about one clip, in another style or at another temperature.

In: a clip, a style or a prompt, a temperature. Out: captions as `v2t caption` would write them, for a person to choose
from; nothing is stored. The model and its settings are those of the run (`.v2t/config.yaml`), loaded at the first
request; a long video is asked about as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop import config as layers
from cineloop import plugin
from cineloop.clip import Clip
from cineloop.errors import CineloopError
from cineloop.log import logger
from cineloop.video.worker import DecoderPool
from v2t.backends import Decoding, VideoLM, open_backend
from v2t.caption.settings import CaptionConfig
from v2t.caption.shards import STATE_FOLDER
from v2t.edit.settings import EditConfig

if TYPE_CHECKING:
    from v2t.backends.batching import Batcher


@dataclass(frozen=True, kw_only=True)
class AnswerRequest:
    """What to ask: a style, or a prompt of one's own; answer i is drawn with `seed` + i."""

    style: str
    prompt: str | None
    temperature: float
    num: int
    seed: int


class ClipAnswers:
    """The run's captioner, for one thread. `captioner` is an instance to use instead of the one that is named."""

    def __init__(self, folder: Path, config: EditConfig, pool: DecoderPool, captioner: VideoLM | None = None) -> None:
        self.config = _run_settings(folder, config)
        self._pool, self._captioner = pool, captioner
        self._batcher: Batcher | None = None

    @property
    def model(self) -> str:
        """Its name."""
        return self._captioner.name if self._captioner else self.config.model

    @property
    def styles(self) -> list[str]:
        """Styles that a client may name: the run's first, then those of the package."""
        return list(dict.fromkeys([self.config.style, *plugin.choices("v2t.styles", "PROMPT")]))

    def ask(self, clip: Clip, request: AnswerRequest) -> list[dict[str, Any]]:
        """`num` answers: `{caption, warnings, error}`, caption or error null.

        Raises:
            UsageError: no such style, or one that the model was not trained on. ItemError: the clip cannot be decoded.
            MissingDependencyError: no model.
        """
        from v2t.backends.batching import Batcher  # with torch, which an editor may never need
        from v2t.caption import run as caption
        from v2t.caption.record import result_of
        from v2t.caption.second_answer import ask_again
        from v2t.long.items import WorkItem, ask_items

        asked = {"style": request.style, "prompt": request.prompt, "temperature": request.temperature, "num": 1}
        config = replace(self.config, **asked)  # type: ignore[arg-type]
        if self._captioner is None:
            self._captioner = open_backend(
                config.model,
                captioner=config.captioner,
                device=config.device,
                dtype=config.dtype,
                options=config.options,
            )
        question = caption.ask(self._captioner, config)
        item = WorkItem(clip)
        item.frames = self._pool.decode(clip.file, item.spec(question.spec), question.frame_size)
        if self._batcher is None:
            self._captioner.load()
            self._batcher = Batcher(self._captioner)
        answers = []
        for number in range(request.num):
            decoding = Decoding(
                max_new_tokens=question.max_new_tokens, temperature=request.temperature, seed=request.seed + number
            )
            fields = ask_items(self._batcher, [item], question.prompt, decoding, retry_loops=True)
            fields = ask_again(self._batcher, [item], fields, question, decoding)
            record = result_of(item, fields[0], question)
            answers.append({name: record[name] for name in ("caption", "warnings", "error")})
        return answers

    def close(self) -> None:
        """Free the model."""
        if self._captioner is not None:
            self._captioner.close()


def _run_settings(folder: Path, config: EditConfig) -> CaptionConfig:
    """The settings of the folder's last run, without those that name its clips; the defaults where it has none."""
    changes: dict[str, Any] = {"device": config.device, "parts": "whole", "format": (), "cluster.engine": "none"}
    changes |= {"model": config.model, "captioner": "auto", "options": {}} if config.model else {}
    file = folder / STATE_FOLDER / "config.yaml"
    try:
        return layers.load(CaptionConfig, file=file if file.is_file() else None, sets=(), flags=changes)
    except CineloopError as error:
        logger.warning("the run's settings cannot be read; the model is asked with the defaults: %s", error)
        return layers.load(CaptionConfig, file=None, sets=(), flags=changes)
