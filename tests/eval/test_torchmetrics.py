"""Our metrics in torchmetrics' hands: the package itself, its collections, and two processes that exchange rows."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics import Metric, MetricCollection

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.video.frames import Frames
from v2t_eval.metric import load_metric
from v2t_eval.sample import Clip, Sample
from v2t_eval.torchmetrics import as_torchmetric


def clips(num: int = 5) -> list[torch.Tensor]:
    rng = np.random.default_rng(7)
    return [torch.from_numpy(rng.integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)) for _ in range(num)]


def samples(found: list[torch.Tensor]) -> list[Sample]:
    frames = [Frames.from_pixels(clip.numpy(), fps=8) for clip in found]
    return [Sample(id=f"{n}", clip=Clip.from_frames(each)) for n, each in enumerate(frames)]


def made(name: str, **settings) -> Metric:
    return as_torchmetric(load_metric(name)(**settings))


def test_the_value_is_our_own() -> None:
    ours = load_metric("temporal_flickering")()
    ours.prepare()
    ours.update(samples(clips()))
    expected = ours.compute()
    metric = made("temporal_flickering")
    assert isinstance(metric, Metric) and metric.higher_is_better is True and metric.is_differentiable is False
    metric.update(samples(clips()))
    assert float(metric.compute()) == expected.value
    assert metric.result.figures == expected.figures and metric.result.n == 5
    metric.reset()
    with pytest.raises(NothingMatchedError), pytest.warns(UserWarning, match="before the ``update``"):
        metric.compute()


def test_tensors_of_every_shape() -> None:
    found = clips()
    values = []
    for given in (found, torch.stack(found), [clip.permute(0, 3, 1, 2) for clip in found]):
        metric = made("sharpness")
        metric.update(given, fps=8)
        values.append(float(metric.compute()))
    metric = made("sharpness")
    for clip in found:
        metric.update(clip)
    values.append(float(metric.compute()))
    assert len(set(values)) == 1
    with pytest.raises(UsageError, match="uint8"):
        metric.update(found[0].float())
    with pytest.raises(UsageError, match="5 clips, but 2 prompts"):
        metric.update(found, prompts=["a", "b"])


def test_texts_and_a_second_set() -> None:
    metric = made("squad")
    metric.update([Sample(id=str(n), row={"answer": "red", "answers": ["red" if n else "blue"]}) for n in range(4)])
    assert float(metric.compute()) == 0.75
    distance = made("frechet", feature="starter-tower")
    distance.update(clips(6))
    distance.update(clips(6), reference=True)
    assert abs(float(distance.compute())) < 1e-6


def test_a_sample_that_fails_is_no_zero_and_ids_are_kept_apart() -> None:
    metric = made("sharpness")
    metric.update(clips(2), ids=["a", "b"])
    before = float(metric.compute())
    metric.update([Sample(id="c")])  # no clip
    assert float(metric.compute()) == before
    assert [failure["code"] for failure in metric.result.failures] == ["NO_FRAMES"] and metric.result.coverage == 2 / 3
    metric.update(clips(2)[:1], ids=["a"])  # the same again, as a sampler that fills up gives it
    assert float(metric.compute()) == before
    metric.update(clips(2)[1:], ids=["a"])
    with pytest.raises(UsageError, match="two different samples"):
        metric.compute()


def test_in_a_collection() -> None:
    still = torch.full((4, 24, 24, 3), 9, dtype=torch.uint8)
    names = ("ssim_consistency", "sharpness", "motion")
    collection = MetricCollection([made(name) for name in names])
    alone = {name: made(name) for name in names}
    for number, clip in enumerate((still, *clips(2))):
        step = collection(clip, fps=8)  # forward: the batch's own value, and the state goes on
        assert set(step) == set(names)
        assert bool(step["ssim_consistency"].isnan()) == (number == 0)  # a frozen clip gives it nothing to score
        for metric in alone.values():
            metric.update(clip, fps=8)
    assert {name: float(value) for name, value in collection.compute().items()} == {
        name: float(metric.compute()) for name, metric in alone.items()
    }
    copy = collection.clone(prefix="val_")
    copy.reset()
    copy.update(clips(1)[0])
    assert set(copy.compute()) == {f"val_{name}" for name in names} and collection["sharpness"].result.n == 3


def _rank(rank: int, world: int, file: str, counts: list[int], queue) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    metric = made("ssim_consistency")
    start = sum(counts[:rank])
    mine = samples(clips())[start : start + counts[rank]]
    if rank == 1 and mine:
        mine.append(samples(clips())[0])  # a sampler that fills up its last batch
    metric.update(mine) if mine else None
    value = float(metric.compute())
    queue.put((rank, value, metric.result.n, [item["id"] for item in metric.result.items]))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("counts", [[3, 2], [5, 0]])
def test_two_processes_are_one(tmp_path: Path, counts: list[int]) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    one = made("ssim_consistency")
    one.update(samples(clips()))
    expected = float(one.compute())
    file = str(tmp_path / f"meet{counts[0]}")
    processes = [context.Process(target=_rank, args=(rank, 2, file, counts, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    found = sorted(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    assert found == [(rank, expected, 5, ["0", "1", "2", "3", "4"]) for rank in range(2)]
