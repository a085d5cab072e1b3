"""What the demo does, by the jobs behind the commands: draw, caption, score, generate, judge, gate.

In: a folder, how many clips to watch, a seed. Out: in the folder `clips`, `captions`, `score`, `made`, `again`,
`broken`, `scores`, as the commands leave them; how long each step took, and the verdicts. A second run in the folder
makes no clip again, but watches and judges anew, so that its seconds are those of this run.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cineloop
from cineloop.errors import UsageError
from cineloop.files import write_atomic
from v2t_eval.gate.verdict import Verdict

SUITE = Path(__file__).parent / "suite.yaml"
SHOWN = (  # the prompts whose clips the page shows
    "A red heart is growing in a meadow.",
    "A blue car drives quickly to the right in the city.",
    "A green ball rolls slowly to the left on the beach.",
    "A yellow boat sails to the right on the beach.",
    "A purple elephant walks to the left in the forest.",
    "An orange star vanishes in the desert.",
)
NUM_PROMPTS = 24  # what the margin of the suite takes
PROMPTS_SEED = 2040  # of the other prompts: none of training, nor of any figure of the cards
FAULT = "freeze"
STEPS = 5  # that `work` counts


@dataclass
class DemoRun:
    """What the demo did: seconds of each step by its folder, verdicts of the two candidates, clips that failed."""

    seconds: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    failures: int = 0


def work(folder: Path, num: int = 8, seed: int = 7, *, quiet: bool = False) -> DemoRun:
    """Run the demo; progress goes to stderr unless `quiet`.

    Raises:
        UsageError: `num` below 1, a negative seed, or a folder that holds something else.
    """
    if num < 1 or seed < 0:
        raise UsageError(f"the demo watches at least 1 clip of a seed of at least 0, not {num} of {seed}")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}  # all it needs is in the package
    from cineloop.world.scenes.corpus import write_world

    done = DemoRun()

    @contextmanager
    def step(name: str, says: str) -> Iterator[None]:
        if not quiet:
            print(f"{len(done.seconds) + 1}/{STEPS} {says}", file=sys.stderr, flush=True)
        begun = time.perf_counter()
        yield
        done.seconds[name] = time.perf_counter() - begun

    with step("clips", f"drawing {num} cartoon clips that no training has seen"):
        write_world(num, seed, "unseen", (256, 256), out=folder / "clips")
    with step("captions", "the bundled captioner watches them"):
        records = cineloop.caption(folder / "clips", folder / "captions", overwrite=True)
    with step("made", f"the bundled generator makes {NUM_PROMPTS} clips from prompts, twice"):
        prompts = _write_prompts(folder / "prompts.jsonl")
        made = _generate(folder / "made", prompts, 0)
        again = _generate(folder / "again", prompts, 1)
    done.failures = sum(row.get("status") == "failed" or "error" in row for row in (*made, *again))
    done.failures += sum(record["status"] != "ok" for record in records)
    with step("scores", "the captioner, as a judge, answers questions about them"):
        _score(folder)
    with step("gate", "a gate compares: the same generator again, and clips with a planted fault"):
        _freeze(folder / "again", folder / "broken")
        for name in ("again", "broken"):
            cache = {"cache": folder / ".cache"}
            done.verdicts[name] = cineloop.gate(folder / name, folder / "scores" / "scores.json", suite=SUITE, **cache)
    return done


def _generate(folder: Path, prompts: Path, seed: int) -> list[dict[str, Any]]:
    """Clips of a file of prompts; the gate pairs them by the file's ids, whatever the seed."""
    return cineloop.generate([], folder, files=[prompts], seed=seed)


def _write_prompts(path: Path) -> Path:
    from t2v.data.world import solo_prompts

    prompts = [*SHOWN, *solo_prompts("seen", PROMPTS_SEED, NUM_PROMPTS - len(SHOWN))]
    rows = [json.dumps({"id": f"{number:02}", "prompt": prompt}) + "\n" for number, prompt in enumerate(prompts)]
    write_atomic(path, "".join(rows).encode())
    return path


def _score(folder: Path) -> None:
    """The captions by their facts, the clips by the judge; as `scores.json`, without the pages."""
    from v2t_eval.core.scores import render_scores

    captions, truth = folder / "captions" / "captions.jsonl", folder / "clips" / "manifest.jsonl"
    facts = cineloop.score(captions=captions, truth=truth)
    judged = cineloop.score(folder / "made", suite=SUITE, cache=folder / ".cache")
    for name, scores in (("score", facts), ("scores", judged)):
        (folder / name).mkdir(exist_ok=True)
        write_atomic(folder / name / "scores.json", render_scores(scores))


def _freeze(source: Path, folder: Path) -> None:
    """The clips of a run with the fault planted in each, and their manifest."""
    from cineloop.video.decode import Request, decode
    from cineloop.video.encode import encode
    from cineloop.video.sample import SampleSpec
    from v2t_eval.audit.faults import plant

    folder.mkdir(exist_ok=True)
    shutil.copy(source / "manifest.jsonl", folder)
    for path in sorted((source / "clips").glob("*.mp4")):
        frames = plant(decode(path, Request(spec=SampleSpec.every_frame())), FAULT)
        (folder / "clips").mkdir(exist_ok=True)
        encode(frames.pixels, folder / "clips" / path.name, frames.fps)
