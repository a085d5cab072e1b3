"""Adapt metrics to torchmetrics, for training loops.

In: a metric. Out: a `torchmetrics.Metric` with `update`, `compute` and `reset` that works in a `MetricCollection` and
across processes: the state is each sample's evidence, never a mean, so one process and several give the
same figures. A sample seen by several processes (a sampler that fills up its last batch) counts once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from v2t_eval.cache import decode, encode
from v2t_eval.measure import error_of
from v2t_eval.metric import BaseMetric, Measured, MetricResult
from v2t_eval.sample import Clip, Sample

if TYPE_CHECKING:
    import torch
    import torchmetrics

_LENGTH = struct.Struct("<Q")
DEFAULT_FPS = 8.0


def as_torchmetric(metric: BaseMetric, **options: Any) -> torchmetrics.Metric:
    """The metric as one of torchmetrics; `metric` is loaded now and owned by it from then on.

    `update` takes samples, or clips as uint8 tensors [T, H, W, 3] or [T, 3, H, W], one, several in a list, or a batch
    [B, T, ...]; with as many `prompts`, `captions`, `references` and `ids` as it has, and `fps`. `reference=True` for
    clips of the second set. `compute` gives the headline as a float64 scalar; the whole result is then in
    `.result`. Called as a function it gives the value of that batch alone, NaN where nothing of it could be scored.

    Args:
        metric: any metric of `v2t_eval.metrics`.
        options: of `torchmetrics.Metric` (`sync_on_compute`, `process_group` ...).

    Raises:
        MissingDependencyError: torchmetrics is not installed, or the metric cannot be loaded.
    """
    try:
        import torchmetrics
    except ImportError as error:
        raise MissingDependencyError("torchmetrics is not installed", hint="pip install torchmetrics") from error
    metric.prepare()
    least, most = metric.value_range
    body = dict(vars(_Behaviour)) | {
        "__doc__": f"{metric.title} as a metric of torchmetrics.",
        "is_differentiable": False,
        "higher_is_better": metric.higher_is_better,
        "full_state_update": False,
        "plot_lower_bound": least if np.isfinite(least) else None,
        "plot_upper_bound": most if np.isfinite(most) else None,
    }
    body = {name: value for name, value in body.items() if name not in ("__dict__", "__weakref__")}
    cls: Any = type(metric.title, (torchmetrics.Metric,), body)
    return cls(metric, **options)


class _Behaviour:
    """Methods of the class made by `as_torchmetric`. Its state is a stream of bytes, uint8: entries with their length
    in front, so that streams of several processes joined end to end are a stream again."""

    if TYPE_CHECKING:
        entries: Any
        device: Any
        metric: BaseMetric
        add_state: Any

    def __init__(self, metric: BaseMetric, **options: Any) -> None:
        import torchmetrics

        torchmetrics.Metric.__init__(self, **options)  # type: ignore[arg-type]
        self.metric = metric
        self.result: MetricResult | None = None
        self._unnamed = 0
        self._is_step = False
        self.add_state("entries", default=[], dist_reduce_fx="cat")

    def update(
        self,
        clips: Sample | Sequence[Sample] | torch.Tensor | Sequence[torch.Tensor],
        prompts: Sequence[str] | None = None,
        captions: Sequence[str] | None = None,
        references: Sequence[Sequence[str]] | None = None,
        ids: Sequence[str] | None = None,
        fps: float = DEFAULT_FPS,
        reference: bool = False,
    ) -> None:
        """See `as_torchmetric`."""
        texts = {"prompt": prompts, "caption": captions, "references": references, "id": ids}
        for sample in self._samples(clips, texts, fps):
            entry: dict[str, Any] = {"metric": self.metric.title, "id": sample.id, "cluster": sample.cluster,
                                     "reference": reference}  # fmt: skip
            try:
                self.metric.check(sample)
                entry["evidence"] = self.metric.measure(sample)
                data = encode(entry)
            except (ItemError, ValueError) as error:
                entry.pop("evidence", None)
                data = encode({**entry, "error": error_of(error)})
            self.entries.append(_tensor(_LENGTH.pack(len(data)) + data, self.device))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The value of one batch; the state accumulates."""
        import torchmetrics

        self._is_step = True
        try:
            return torchmetrics.Metric.forward(self, *args, **kwargs)  # type: ignore[arg-type]
        finally:
            self._is_step = False

    def compute(self) -> torch.Tensor:
        """The headline's value.

        Raises:
            NothingMatchedError: nothing was given, or nothing could be scored.
        """
        import torch

        self.metric.reset()
        for entry in _read(self.entries):
            id = entry["id"]
            if "error" in entry:
                self.metric.fail(id, entry["error"], reference=entry["reference"])
            else:
                row = Measured(id=id, cluster=entry["cluster"], evidence=entry["evidence"])
                self.metric.add(row, reference=entry["reference"])
        self.result = self.metric.compute()
        is_void = self._is_step and not self.result.figures
        return torch.tensor(np.nan if is_void else self.result.value, dtype=torch.float64, device=self.device)

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        # A process that saw nothing must still send bytes: torchmetrics would send an empty tensor of floats.
        import torchmetrics

        self.entries = self.entries or [_tensor(b"", self.device)]
        torchmetrics.Metric._sync_dist(self, *args, **kwargs)  # type: ignore[arg-type]

    def _samples(self, clips: Any, texts: dict[str, Any], fps: float) -> list[Sample]:
        """Samples of `update`'s arguments."""
        if isinstance(clips, Sample):
            return [clips]
        many = list(clips)
        if many and all(isinstance(one, Sample) for one in many):
            return many
        if getattr(clips, "ndim", 0) == 4:
            many = [clips]
        lengths = {name: len(values) for name, values in texts.items() if values is not None}
        if wrong := {name: num for name, num in lengths.items() if num != len(many)}:
            raise UsageError(f"{len(many)} clips, but {', '.join(f'{num} {name}s' for name, num in wrong.items())}")
        samples = []
        for number, clip in enumerate(many):
            given = {name: values[number] for name, values in texts.items() if values is not None}
            given["references"] = tuple(given.get("references", ()))
            id = given.pop("id", None) or self._new_id()
            frames = Frames.from_pixels(_pixels(clip), fps)
            samples.append(Sample(id=id, clip=Clip.from_frames(frames), **given))
        return samples

    def _new_id(self) -> str:
        import torch.distributed as dist

        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        self._unnamed += 1
        return f"{rank}:{self._unnamed:09d}"


def _pixels(clip: torch.Tensor) -> np.ndarray:
    """uint8 (T, H, W, 3) of a tensor (T, H, W, 3) or (T, 3, H, W)."""
    import torch

    shape = tuple(clip.shape)
    if clip.dtype != torch.uint8 or len(shape) != 4 or 3 not in (shape[-1], shape[1]):
        raise UsageError(f"a clip must be uint8 [T, H, W, 3] or [T, 3, H, W], got {clip.dtype} {list(shape)}")
    upright = clip if shape[-1] == 3 else clip.permute(0, 2, 3, 1)  # (T, H, W, 3)
    return np.ascontiguousarray(upright.cpu().numpy())


def _tensor(data: bytes, device: Any) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.frombuffer(data, np.uint8).copy()).to(device)


def _read(entries: Any) -> list[dict[str, Any]]:
    """The entries of a stream, each sample of each set once."""
    parts = entries if isinstance(entries, list) else [entries]
    data = b"".join(part.cpu().numpy().tobytes() for part in parts)
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    kept: dict[tuple[str, bool], bytes] = {}
    place = 0
    while place < len(data):
        start = place + _LENGTH.size
        place = start + _LENGTH.unpack_from(data, place)[0]
        entry = decode(data[start:place])
        key = entry["id"], entry["reference"]
        if kept.setdefault(key, data[start:place]) != data[start:place]:
            raise UsageError(f"two different samples are called {key[0]!r}", code="SAME_NAME", hint="give ids")
        found[key] = entry
    return list(found.values())
