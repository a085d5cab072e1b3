"""Readers of written sets that apply each trainer's own rules in a few lines, with PyAV and OpenCV alone.

Nothing here is of `v2t_eval`: a rule that is wrong there is not wrong here too. Each gives what would be trained on:
(name, caption, (width, height, frames)); a clip that the trainer would drop, cut, enlarge or crop fails an assertion.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from pathlib import Path

import av
import cv2
import numpy as np
import yaml

Trained = list[tuple[str, str, tuple[int, int, int]]]
WAN_FPS, WAN_STEP, LTX_STEP = 16, 4, 8


def decoded(path: Path) -> tuple[list[np.ndarray], int, float]:
    """Frames as stored, the container's count and mean rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        claimed, rate = stream.frames, float(stream.average_rate)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return frames, claimed, rate


def musubi(folder: Path) -> Trained:
    config = tomllib.loads((folder / "dataset.toml").read_text())
    (data,), common, trained = config["datasets"], config["general"], []
    assert data["frame_extraction"] == "head" and "source_fps" not in data
    area = common["resolution"][0] * common["resolution"][1]
    side = math.isqrt(area)
    sizes = set()
    for one in range(side // 2 // 16 * 16, side + 16, 16):
        sizes |= {(one, area // one // 16 * 16), (area // one // 16 * 16, one)}
    for video in sorted(Path(data["video_directory"]).glob("*.mp4")):
        text = Path(os.path.splitext(video)[0] + common["caption_extension"]).read_text("utf-8").strip()
        frames, _, rate = decoded(video)
        height, width = frames[0].shape[:2]
        bucket = min(sorted(sizes), key=lambda s: abs(s[0] / s[1] - width / height))
        assert bucket == (width, height), f"{video.name} would be scaled to {bucket}"
        assert abs(rate - WAN_FPS) < 1e-6, f"{video.name} would play {WAN_FPS / rate:.2f} times as fast"
        fitting = [n for n in data["target_frames"] if n <= len(frames) and n % WAN_STEP == 1]
        assert fitting and max(fitting) == len(frames), f"{video.name}: {len(frames)} frames"
        trained.append((video.name, text, (width, height, max(fitting))))
    return trained


def diffusion_pipe(folder: Path) -> Trained:
    config, trained = tomllib.loads((folder / "dataset.toml").read_text()), []
    home, ars = Path(config["directory"][0]["path"]), np.geomspace(config["min_ar"], config["max_ar"], 7).round(3)
    assert config["num_ar_buckets"] == 7 and config["enable_ar_bucket"]
    lists = json.loads((home / "captions.json").read_text()) if (home / "captions.json").exists() else None
    for file in sorted(home.glob("*")):
        if file.suffix in (".txt", ".npz", ".json", ".parquet", ".bak", ".db"):
            continue
        assert file.suffix == ".mp4", f"{file.name} would be opened as a picture"
        texts = lists[file.name] if lists is not None else [file.with_suffix(".txt").read_text().strip()]
        frames, claimed, rate = decoded(file)
        height, width = frames[0].shape[:2]
        known = int(claimed * WAN_FPS / rate)
        count = max((n for n in config["frame_buckets"] if n <= known), default=0)
        assert count > 1, f"{file.name} is too short: {known}"
        ar = ars[np.abs(np.log(width / height) - np.log(ars)).argmin()]
        for side in config["resolutions"][-1:]:
            wide = math.sqrt(side**2 * ar)
            bucket = round(wide / 16) * 16, round(side**2 / wide / 16) * 16
            assert bucket == (width, height), f"{file.name} would be scaled to {bucket}"
        seen = np.linspace(0, len(frames) - 1, int(len(frames) * WAN_FPS / rate)).astype(int)
        assert len(seen) >= count and seen[:count].tolist() == list(range(count)) and (count - 1) % WAN_STEP == 0
        trained += [(file.name, text, (*bucket, count)) for text in texts]
    return trained


def ltx2(folder: Path) -> Trained:
    rows, trained = json.loads((folder / "dataset.json").read_text("utf-8")), []
    text = re.search(r'--resolution-buckets "([^"]+)"', (folder / "preprocess.sh").read_text()).group(1)
    buckets = [tuple(map(int, each.split("x"))) for each in text.split(";")]
    assert all(w % 32 == 0 and h % 32 == 0 and n % LTX_STEP == 1 for w, h, n in buckets)
    assert len({os.path.splitext(row["video"])[0] for row in rows}) == len(rows), "captions would overwrite each other"
    for row in rows:
        frames, claimed, _ = decoded(folder / row["video"])
        height, width = frames[0].shape[:2]
        assert claimed >= min(n for *_, n in buckets), f"{row['video']} would be left out"
        fitting = [b for b in buckets if b[2] <= len(frames)]
        bucket = min(
            fitting, key=lambda b: (abs(math.log(width / height) - math.log(b[0] / b[1])), -b[2], -b[0] * b[1])
        )
        assert bucket == (width, height, len(frames)), f"{row['video']} would be brought to {bucket}"
        trained.append((os.path.basename(row["video"]), row["caption"], bucket))
    return trained


def finetrainers(folder: Path) -> Trained:
    (data,), trained = json.loads((folder / "training.json").read_text())["datasets"], []
    home = Path(data["data_root"])
    assert not any(home.glob("metadata.*")) and not any(home.rglob("*.tar"))
    names, texts = ((home / f"{name}.txt").read_text().splitlines() for name in ("videos", "prompts"))
    assert len(names) == len(texts)
    for name, text in zip(names, texts, strict=True):
        frames, _, _ = decoded(home / name)
        height, width = frames[0].shape[:2]
        fitting = [b for b in data["video_resolution_buckets"] if b[0] <= len(frames)]
        assert fitting, f"{name} has {len(frames)} frames, fewer than any bucket"
        count = max(b[0] for b in fitting)
        bucket = min((b for b in fitting if b[0] == count), key=lambda b: abs(b[2] / b[1] - width / height))
        assert bucket == [len(frames), height, width], f"{name} would be spread or stretched to {bucket}"
        trained.append((os.path.basename(name), text, (width, height, count)))
    return trained


def ai_toolkit(folder: Path) -> Trained:
    (data,), trained = yaml.safe_load((folder / "dataset.yaml").read_text())["datasets"], []
    for home, _, names in os.walk(data["folder_path"]):
        for name in sorted(each for each in names if each.lower().endswith((".mp4", ".mov", ".mkv", ".webm"))):
            text = Path(home, os.path.splitext(name)[0] + "." + data["caption_ext"]).read_text("utf-8").strip()
            film = cv2.VideoCapture(os.path.join(home, name))
            total, rate = int(film.get(cv2.CAP_PROP_FRAME_COUNT)), film.get(cv2.CAP_PROP_FPS)
            width, height = (int(film.get(each)) for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            count, read = data["num_frames"], 0
            while film.read()[0]:
                read += 1
            assert read == total == count and rate == data["fps"], f"{name}: {read} of {total} frames at {rate}"
            assert [round(i * (total - 1) / (count - 1)) for i in range(count)] == list(range(count))
            assert width % 16 == height % 16 == 0 and width * height <= data["resolution"][-1] ** 2
            trained.append((name, text, (width, height, count)))
    return trained


READERS = {
    "musubi": musubi,
    "diffusion-pipe": diffusion_pipe,
    "ltx2": ltx2,
    "finetrainers": finetrainers,
    "ai-toolkit": ai_toolkit,
}
