"""What a captioning run asks and which clips it asks about.

In: the settings, a captioner, clips, an output folder that knows what is done. Out: the `Question` put to every clip,
and a `Plan`: for each clip whether to caption it, and why not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cineloop import config as layers
from cineloop import plugin
from cineloop.clip import Clip
from cineloop.errors import Notice, UsageError
from cineloop.log import printable
from v2t import styles
from v2t.backends import COST, VideoLM, effects
from v2t.caption.outputs import CaptionFolder
from v2t.caption.record import Question
from v2t.long.parts import PartSpec

if TYPE_CHECKING:
    from v2t.caption.settings import CaptionConfig


@dataclass
class Plan:
    """What a run has to do: clips by the state the output folder gave them."""

    todo: list[Clip] = field(default_factory=list)
    actions: dict[str, str] = field(default_factory=dict)  # clip id -> caption | retry | again | done | kept | failed
    conflicts: list[str] = field(default_factory=list)

    def count(self, action: str) -> int:
        """How many clips have this action."""
        return sum(a == action for a in self.actions.values())


def ask(captioner: VideoLM, config: CaptionConfig) -> Question:
    """What the run asks of every clip: the model's defaults with what the config changes."""
    style = styles.load(config.style)
    warnings = untrained(captioner, style, config.prompt)
    changes: dict[str, Any] = {"sampler": config.sampler, "num_frames": config.frames, "fps": config.fps}
    if config.sampler is None and config.fps is not None:
        changes["sampler"] = "fps"
    elif config.sampler is None and config.frames is not None and captioner.spec.sampler == "fps":
        changes["sampler"] = "uniform"  # a number of frames says nothing to a rate
    declared = effects(type(captioner))
    return Question.to(
        captioner,
        style="custom" if config.prompt else style.name,
        prompt=config.prompt or style.prompt,
        max_new_tokens=config.max_new_tokens or style.max_new_tokens,
        spec=replace(captioner.spec, **{k: v for k, v in changes.items() if v is not None}),
        segments=None if config.prompt else style.segments,
        fields=None if config.prompt else style.fields,
        parts=PartSpec.parse(config.parts),
        sums_up=config.summary == "model" or (config.summary == "auto" and captioner.abilities.can_summarise),
        wording=config.wording,
        warnings=warnings,
        options=tuple(sorted((k, v) for k, v in config.options.items() if declared.get(k) is not COST)),
    )


def untrained(captioner: VideoLM, style: styles.Style, prompt: str | None) -> tuple[Notice, ...]:
    """Warnings about words that the model was not trained to answer, where it declares its styles.

    Raises:
        UsageError: UNTRAINED_STYLE, a named style that asks for a form of answer it does not know.
    """
    known = captioner.abilities.styles
    if known is None or (prompt is None and style.prompt in {styles.load(name).prompt for name in known}):
        return ()
    trained = f"{captioner.name} was trained on {', '.join(known)}"
    if prompt is None and style.name in plugin.choices("v2t.styles", "PROMPT"):
        raise UsageError(
            f"style {style.name!r} needs a model that follows instructions; {trained}",
            code="UNTRAINED_STYLE",
            hint=f"--style {known[0]}, or another --model",
        )
    return (Notice("UNTRAINED_PROMPT", f"{trained}; its answer to other words may say nothing about the video"),)


def make_plan(clips: Sequence[Clip], folder: CaptionFolder, question: Question, config: CaptionConfig) -> Plan:
    """Which clips to caption and why the others not.

    Raises:
        UsageError: captions made with other settings are there and `overwrite` was not asked for.
    """
    plan = Plan()
    redo = {"new": "caption", "changed": "again"}
    if config.retry_failed or config.overwrite:
        redo["failed"] = "retry"
    if config.overwrite:
        redo |= {"done": "again", "settings": "again"}
    if config.overwrite_edited:
        redo["by_hand"] = "again"
    rest = {"done": "done", "failed": "failed", "by_hand": "kept", "settings": "conflict"}
    for clip in clips:
        state = folder.state(clip, question.settings_key)
        known = folder.ledger.known.get(clip.id)
        if state == "done" and config.retry_failed and known is not None and known.has_failed_parts:
            state = "failed"
        plan.actions[clip.id] = redo.get(state) or rest[state]
        if state in redo:
            plan.todo.append(clip)
        elif state == "settings":
            plan.conflicts.append(clip.id)
    if plan.conflicts:
        old = folder.ledger.settings.get(folder.ledger.known[plan.conflicts[0]].settings, {})
        raise UsageError(
            f"{len(plan.conflicts)} captions in {printable(str(folder.folder))} were made with other settings: "
            + "; ".join(layers.changes(old, question.settings)),
            code="OTHER_SETTINGS",
            hint="give another -o, or --overwrite to caption them again (edited captions stay)",
        )
    return plan
