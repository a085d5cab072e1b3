"""Cineloop from Python: `caption`, `ask`, `generate`, `score` and `gate`, the jobs behind the commands of these names.

Each takes the settings of its command by name (`model`, `device`, ...; an unknown one is an error that names the
nearest) and returns what the job makes: records, an answer, rows of a manifest, scores, a verdict. Everything is
imported at the first call, so `import cineloop` costs nothing. Errors are those of `cineloop.errors`; of single clips
they are data in the results. Nothing goes to stdout; warnings go to the logger "cineloop".

The package is also the base of `v2t`, `t2v` and `v2t_eval`, which import it and each other no further than
v2t_eval -> (v2t | t2v) -> cineloop. This file alone looks up, inside its functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from v2t.ask.result import VideoAnswer
    from v2t_eval.core.scores import Scores
    from v2t_eval.gate.verdict import Verdict

__all__ = ["ask", "caption", "gate", "generate", "score"]


def __dir__() -> list[str]:
    return sorted(__all__)  # the face; the rooms of the base are not part of it


def caption(
    clips: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    show_progress: bool = False,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Caption videos: one record for each clip, as `v2t caption` writes them.

    Args:
        clips: folders, files, patterns, manifests (`*.jsonl`), lists (`@FILE`), addresses.
        output: folder for the captions, or an address such as "s3://bucket/captions"; what is done there is not done
            again. None keeps nothing.
        show_progress: progress on stderr.
        settings: fields of `v2t.caption.settings.CaptionConfig`: `model`, `style`, `frames`, `format`, ...

    Returns:
        Records with `id`, `path`, `status` ("ok" or "failed"), `caption` (None where it failed), `segments` and
        `frame_times_s` (seconds of the file), `error` (code and message, or None), `warnings` and more, by id. With an
        output folder those of all clips in it, earlier runs included; of a shard or a dry run those of this run.

    Raises:
        UsageError, NothingMatchedError, PolicyError: nothing was done. MissingDependencyError: no model, no disk
        space; what was captioned is saved. KeyboardInterrupt: stopped after the batch in hand, which is saved too.

    Example:
        >>> import cineloop
        >>> made = cineloop.generate("A red ball rolls to the left on the beach.", "made", generator="world")
        >>> [record] = cineloop.caption("made", "captions")
        >>> print(record["status"], "ball" in record["caption"])
        ok True
    """
    from cineloop import config
    from cineloop.store import is_store
    from v2t.caption.run import read_records, run
    from v2t.caption.settings import CaptionConfig

    asked = config.from_dict(CaptionConfig, settings)
    folder = output if output is None or is_store(output) else Path(output)
    records: list[dict[str, Any]] = []
    summary = run(_texts(clips), folder, asked, emit=records.append, show_progress=show_progress)
    if summary.interrupted:
        raise KeyboardInterrupt
    if folder is None or asked.dry_run or asked.shard is not None:
        return sorted(records, key=lambda record: str(record["id"]))
    return read_records(folder)


def ask(video: str | Path, question: str, **settings: Any) -> VideoAnswer:
    """Ask a question about a video of any length, as `v2t ask` does.

    Args:
        video: a video file.
        question: in words; may name a moment ("What happens at 34:22?").
        settings: fields of `v2t.ask.settings.AskConfig`: `model`, `look`, `window_s`, `frames`, ...

    Returns:
        `answer` in words, `spans` it speaks of (`start_s`, `end_s`: seconds of the file), `warnings`, and what it was
        answered from.

    Raises:
        UsageError: a setting or a moment that cannot be. ItemError: the video cannot be read.
        MissingDependencyError: no such model.

    Example:
        >>> import cineloop
        >>> [clip] = cineloop.generate("A red ball rolls to the left on the beach.", "made", generator="world")
        >>> answer = cineloop.ask(f"made/{clip['path']}", "What color is the ball?")
        >>> "red" in answer.answer
        True
    """
    from cineloop import config
    from v2t.ask.answer import ask as answer
    from v2t.ask.settings import AskConfig

    return answer(video, question, config.from_dict(AskConfig, settings))


def generate(
    prompts: str | Sequence[str],
    output: str | Path = "generated",
    *,
    files: Sequence[str | Path] = (),
    show_progress: bool = False,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Make videos from prompts: mp4 files with a manifest in a folder, as `t2v generate` does.

    Args:
        prompts: what to show, one text or several.
        output: the run folder; clips that are there are not made again.
        files: files of prompts besides: one a line, or `.jsonl` with `prompt` and, if given, `id`, `seed`, ...
        show_progress: progress on stderr.
        settings: fields of `t2v.generate.settings.GenerateConfig`: `generator`, `model`, `num_frames`, `height` and
            `width` (pixels), `fps`, `steps`, `guidance`, `seed`, `num_videos`, ...

    Returns:
        Rows of the folder's manifest, in the order in which clips were asked for, those of earlier runs included: `id`,
        `path` (relative to the folder), `prompt`, `seed`, `fps`, `shape` and more; then those of clips that failed,
        which have an `error` and no `path`.

    Raises:
        UsageError: a setting that cannot be; OTHER_SETTINGS, clips of the folder were made otherwise.
        NothingMatchedError: no prompt. MissingDependencyError: no such model, no disk space. KeyboardInterrupt: stopped
        after the batch in hand; what was made is kept.

    Example:
        >>> import cineloop
        >>> [clip] = cineloop.generate("A red ball rolls to the left on the beach.", "made", num_frames=9, steps=4)
        >>> print(clip["path"], clip["shape"]["num_frames"])
        clips/a-red-ball-rolls-to-the-left-on-the-s0-46837029.mp4 9
    """
    from cineloop import config
    from t2v.generate.folder import ClipFolder
    from t2v.generate.run import run
    from t2v.generate.settings import GenerateConfig

    asked, folder = config.from_dict(GenerateConfig, settings), Path(output)
    rows: list[dict[str, Any]] = []
    summary = run(
        _texts(prompts), [str(file) for file in files], folder, asked, emit=rows.append, show_progress=show_progress
    )
    if summary.interrupted:
        raise KeyboardInterrupt
    if asked.dry_run:
        return rows
    with ClipFolder(folder, writable=False) as made:
        return [*made.rows(), *made.failures()]


def score(
    clips: str | Path | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    suite: str | Path | None = None,
    prompts: str | Path | None = None,
    captions: str | Path | None = None,
    references: str | Path | None = None,
    truth: str | Path | None = None,
    answers: str | Path | None = None,
    reference_clips: str | Path | None = None,
    limit: int | None = None,
    show_progress: bool = False,
    **settings: Any,
) -> Scores:
    """Score clips, captions or answers, as `v2t-eval score` does.

    Args:
        clips: a folder of videos, a run folder, a manifest, or one video.
        metrics: names, with settings in brackets: "sharpness,clipsim[model=...]", or a list of such; `v2t-eval list`
            shows them.
        suite: a shipped list of metrics (`v2t-eval suites`) or a YAML file. Without metrics and suite, `answers` are
            scored as such, and captions with a `truth` by their facts.
        prompts, captions, references, truth, answers, reference_clips: files that go with the clips, and a second set
            of clips; see `v2t_eval.core.inputs.read_inputs`.
        limit: only the first so many samples.
        show_progress: progress on stderr.
        settings: fields of `v2t_eval.core.score.ScoreConfig`: `workers` (processes, 1 by default), `cache` (folder for
            evidence that later scorings need not measure again), `device`, `limits`.

    Returns:
        `results` by metric: figures with interval and number of cases, the value of each clip; `clips`, `skipped`
        metrics with the reason, `counts`.

    Raises:
        UsageError: an unknown metric or setting, files that cannot be read or do not fit. NothingMatchedError: there is
        nothing to score. MissingDependencyError: no such device.

    Example:
        >>> import cineloop
        >>> made = cineloop.generate("A red ball rolls to the left on the beach.", "made", generator="world")
        >>> scores = cineloop.score("made", metrics="sharpness,motion")
        >>> [(result.name, result.n, result.value > 0) for result in scores.results]
        [('sharpness', 1, True), ('motion', 1, True)]
    """
    from cineloop import config
    from v2t_eval.core.inputs import read_inputs
    from v2t_eval.core.score import ScoreConfig
    from v2t_eval.core.score import score as measure
    from v2t_eval.suites.suite import metrics_of

    named = metrics if metrics is None or isinstance(metrics, str) else ",".join(metrics)
    facts = captions is not None and truth is not None
    chosen = metrics_of(named, _path(suite), answers=answers is not None, facts=facts)
    asked = config.from_dict(ScoreConfig, {"is_suite": suite is not None, **settings})
    inputs = read_inputs(
        _path(clips), prompts=_path(prompts), captions=_path(captions), references=_path(references),
        truth=_path(truth), answers=_path(answers), reference_clips=_path(reference_clips), limit=limit,
    )  # fmt: skip
    return measure(inputs, chosen, asked, show_progress=show_progress)


def gate(
    clips: str | Path | Scores,
    baseline: str | Path | Scores | None = None,
    *,
    suite: str | Path = "gate",
    **settings: Any,
) -> Verdict:
    """Hold a generator's clips against a baseline by the rules of a suite, as `v2t-eval gate` does.

    Args:
        clips: clips, which are scored by the suite; or `scores.json`, its folder, or scores by the suite's metrics.
        baseline: the file that `v2t-eval gate init` wrote, or scores; without one only absolute rules decide.
        suite: metrics and rules: "gate", which is shipped, or a YAML file.
        settings: fields of `v2t_eval.core.score.ScoreConfig`, see `score`.

    Returns:
        `outcome` ("pass", "fail", "inconclusive" or "not_comparable") with its `reason`; `metrics` with change,
        interval and margin; `guards`, `clips` that got worse, `exit_code` of the command.

    Raises:
        UsageError: the suite has no gate, or a file cannot be read. NothingMatchedError: there are no clips.
        MissingDependencyError: a metric that decides could not run.

    Example:
        >>> import cineloop
        >>> made = cineloop.generate("A red ball rolls to the left on the beach.", "made", generator="world")
        >>> before = cineloop.score("made", suite="gate")
        >>> verdict = cineloop.gate("made", before)
        >>> print(verdict.outcome)
        pass
    """
    from cineloop import config
    from v2t_eval.core.score import ScoreConfig
    from v2t_eval.core.scores import Scores
    from v2t_eval.gate.sides import gate_verdict

    candidate = clips if isinstance(clips, Scores) else Path(clips)
    before = baseline if baseline is None or isinstance(baseline, Scores) else Path(baseline)
    return gate_verdict(candidate, Path(suite), before, config.from_dict(ScoreConfig, settings))


def _texts(given: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(given)] if isinstance(given, (str, Path)) else [str(each) for each in given]


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
