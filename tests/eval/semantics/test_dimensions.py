"""The semantic dimensions end to end: the cartoon world's referee on rendered clips, zero-shot detection and video
classification by tiny models made here."""

from __future__ import annotations

import json
import math
import runpy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from cineloop.world.scenes.render import render
from cineloop.world.scenes.scene import Actor, Event, Scene, Shot
from metric_results import result_of_prompts, values
from small_clips import noise
from t2v.generators import ClipRequest
from t2v.generators.world import Generator
from t2v.settings import GenerateSettings
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.semantics.detectors import world as world_detector
from v2t_eval.semantics.dimension import CEILING, ceilings
from v2t_eval.semantics.formulas import Region

TIMES_S = np.arange(17) / 8
JUMP = Event(actor=0, action="jump", start_s=0.1, end_s=1.7)


@cache
def world(*actors: tuple[str, str, float, float], event: Event = JUMP, place: str = "meadow") -> SampleClip:
    figures = tuple(Actor(kind=k, color=c, size="medium", x=x, y=y) for k, c, x, y in actors)
    shot = Shot(start_s=0.0, end_s=2.125, place=place)
    scene = Scene(seed=5, style="flat", shots=(shot,), actors=figures, events=(event,))
    return SampleClip.from_frames(Frames.from_pixels(render(scene, times_s=TIMES_S), fps=8))


def pair() -> SampleClip:
    """A red dog on the left, a blue car on the right."""
    return world(("dog", "red", 0.25, 0.65), ("car", "blue", 0.75, 0.65))


def mirrored(clip: SampleClip) -> SampleClip:
    assert clip.frames is not None
    return SampleClip.from_frames(replace(clip.frames, pixels=np.ascontiguousarray(clip.frames.pixels[:, :, ::-1])))


# --- the cartoon world's referee
@pytest.mark.slow
def test_the_referee_tells_left_from_right_and_above_from_below():
    prompts = ("A dog is to the left of a car.", "A dog is to the right of a car.", "a car on the left of a dog",
               "a dog above a car")  # fmt: skip
    assert values(result_of_prompts("spatial_relationship", pair(), *prompts)) == [1, 0, 0, 0]
    turned = mirrored(pair())
    assert values(result_of_prompts("spatial_relationship", turned, *prompts)) == [0, 1, 1, 0]
    failed = result_of_prompts("spatial_relationship", pair(), "a dog behind a car")
    assert [f["code"] for f in failed.failures] == ["NOT_BY_BOXES"] and not failed.figures


@pytest.mark.slow
def test_the_referee_tells_kinds_colours_places_and_actions():
    told = ("a dog", "a zebra", "a puppy")
    assert values(result_of_prompts("object_class", pair(), *told)) == [1, 0, 1]
    assert values(result_of_prompts("multiple_objects", pair(), "a dog and a car", "a dog and a cat", "two dogs")) == [
        1,
        0,
        0,
    ]
    assert values(result_of_prompts("color", pair(), "a red dog", "a blue dog", "a blue car", "a red cat")) == [
        1,
        0,
        1,
        0,
    ]
    assert values(
        result_of_prompts("scene", pair(), "a dog in the meadow", "a dog on the grass", "a dog on the beach")
    ) == [
        1,
        1,
        0,
    ]
    alone = world(("dog", "red", 0.5, 0.7))
    assert values(
        result_of_prompts("human_action", alone, "A red dog jumps.", "A red dog is hopping.", "A dog spins.")
    ) == [
        1,
        1,
        0,
    ]


@pytest.mark.slow
def test_a_clip_without_the_thing_counts_and_is_named():
    fixed = result_of_prompts("color", pair(), "a red dog", "a red cat")
    assert (fixed.value, fixed.coverage, fixed.counts["not_shown"]) == (0.5, 1.0, 1)


NO_BACKBONE = ("object_class", "multiple_objects", "human_action", "color", "spatial_relationship", "scene",
               "temporal_style", "overall_consistency", "motion_smoothness")  # fmt: skip


@pytest.mark.parametrize("name", NO_BACKBONE)
def test_where_the_backbone_of_the_reference_is_not_to_be_had_there_is_no_compat(name):
    with pytest.raises(UsageError, match=f"{name}: mode=compat .* is not to be had here"):
        load_metric(name)(mode="compat")


@pytest.mark.parametrize(
    "name", ["subject_consistency", "background_consistency", "dynamic_degree", "appearance_style"]
)
def test_compat_with_another_backbone_is_refused_and_the_right_one_named(name):
    with pytest.raises(UsageError, match=f"{name}: mode=compat .* and not on ") as raised:
        load_metric(name)(mode="compat")
    assert "a model that begins with" in raised.value.hint


@pytest.mark.slow
def test_colours_and_places_change_frame_by_frame():
    event = Event(actor=0, action="recolor", start_s=0.5, end_s=0.9, to_color="green")
    changing = world(("ball", "red", 0.5, 0.7), event=event)
    red, green = values(result_of_prompts("color", changing, "a red ball", "a green ball"))
    assert 0.2 < red < 0.6 and red + green == pytest.approx(1.0)
    vanishing = world(("dog", "red", 0.5, 0.7), event=Event(actor=0, action="vanish", start_s=0.5, end_s=0.9))
    assert 0.2 < values(result_of_prompts("object_class", vanishing, "a dog"))[0] < 0.7


def test_a_clip_that_is_not_of_the_world_is_a_failure_and_no_zero():
    for name in ("object_class", "scene", "human_action", "color"):
        result = result_of_prompts(
            name, SampleClip.from_frames(noise(num=8, size=(64, 64), fps=8)), "a red dog runs on the beach"
        )
        assert [f["code"] for f in result.failures] == ["OUT_OF_DOMAIN"] and result.coverage == 0
    short = SampleClip.from_frames(Frames.from_pixels(np.zeros((2, 16, 16, 3), np.uint8), fps=8))
    assert result_of_prompts("object_class", short, "a dog").failures[0]["code"] == "TOO_SHORT"


def exact(prompt: str, seed: int = 0) -> SampleClip:
    """The world's own clip of a prompt."""
    frames = Generator().generate([ClipRequest(prompt=prompt, seed=seed)], GenerateSettings())[0]
    return SampleClip.from_frames(frames)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("object_class", "Two red balls roll to the right on the beach."),
        ("multiple_objects", "Two red balls roll to the right on the beach."),
        ("object_class", "Three red balls bounce in the room."),
        ("human_action", "A red ball falls down on the beach."),
        ("human_action", "A red star spins in space."),
        ("human_action", "A red dog and a blue car. The dog jumps."),
        ("color", "Two red balls roll to the right on the beach."),
        ("spatial_relationship", "A red dog is to the left of a blue cat. The dog jumps in the snow."),
    ],
)
def test_a_perfect_clip_is_never_given_a_zero(name, prompt):
    for seed in range(3):
        result = result_of_prompts(name, exact(prompt, seed), prompt)
        assert [item["value"] for item in result.items] == [1.0] or result.failures[0]["code"] == "UNREAD"


class Unsure:
    """A detector that finds one dog and something else, and does not know what either does."""

    name, classes = "unsure", None

    def regions(self, sample, nouns, colors=()):
        return [[Region(label="dog", box=(0, 0, 1, 1), caption="a red dog"),
                 Region(label="something", box=(2, 0, 3, 1), caption="a blue something")]] * 16  # fmt: skip

    def actions(self, sample):
        return [("jumping", 1.0), ("something", 0.0)]

    def fingerprint(self):
        return {"detector": self.name}


@pytest.mark.parametrize(
    ("name", "prompt", "outcome"),
    [
        ("object_class", "a dog", 1.0), ("object_class", "a cat", "UNREAD"), ("object_class", "two dogs", "UNREAD"),
        ("object_class", "three dogs", 0.0), ("multiple_objects", "a dog and a cat", "UNREAD"),
        ("multiple_objects", "a cat and a car", 0.0), ("spatial_relationship", "a dog to the left of a cat", "UNREAD"),
        ("human_action", "A dog jumps.", 1.0), ("human_action", "A dog spins.", "UNREAD"),
        ("color", "a blue cat", 1.0), ("color", "a red dog", 1.0), ("color", "a red cat", 0.0),
    ],
)  # fmt: skip
def test_what_the_detector_has_not_read_is_unread_and_no_zero(name, prompt, outcome):
    metric = load_metric(name)()
    metric.detector = Unsure()
    result = result_of_prompts(metric, pair(), prompt)
    found = [item["value"] for item in result.items] + [failure["code"] for failure in result.failures]
    assert found == [outcome]


def test_a_figure_that_comes_later_beside_another_leaves_the_clip_unread():
    prompt = "A red rabbit is above a pink elephant. The rabbit appears in the snow."
    for name in ("color", "multiple_objects", "human_action"):
        result = result_of_prompts(name, exact(prompt), prompt)
        assert [failure["code"] for failure in result.failures] == ["UNREAD"] or result.value > 0


def test_colour_is_judged_of_the_figure_that_is_there():
    box = world(("box", "red", 0.5, 0.7))
    assert values(result_of_prompts("object_class", box, "a red dog")) == [0]
    assert values(result_of_prompts("color", box, "a red dog", "a blue dog")) == [1, 0]


@pytest.mark.slow
def test_the_ceiling_on_exact_clips_stands_beside_the_figure():
    told = ceilings()
    assert told["referee"] == world_detector.VERSION, "run scripts/measure_ceilings.py again"
    result = result_of_prompts("object_class", pair(), "a dog")
    top = result.figures[CEILING]
    assert (top.value, top.n) == (told["dimensions"]["object_class"]["value"], told["dimensions"]["object_class"]["n"])
    assert top.n >= 100 and top.low <= top.value <= top.high
    assert any(note.startswith(CEILING) for note in result.notes) and result.headline == "object_class"
    assert CEILING not in result_of_prompts("object_class", pair(), "a dog", long=True).figures
    metric = load_metric("object_class")(detector="v2t")
    assert metric.ceiling() is None, "a judge has another one"


@pytest.mark.slow
def test_the_command_writes_the_ceilings_in_the_stored_form(tmp_path, monkeypatch):
    script = runpy.run_path(str(Path(__file__).resolve().parents[3] / "scripts" / "measure_ceilings.py"))
    monkeypatch.setattr("sys.argv", ["measure", "--num", "3", "--seed", "7", "-o", str(tmp_path / "c.json")])
    script["main"]()
    made = json.loads((tmp_path / "c.json").read_text())
    assert made["dimensions"].keys() == ceilings()["dimensions"].keys() and made["referee"] == world_detector.VERSION
    assert made["dimensions"]["object_class"]["n"] + made["dimensions"]["object_class"]["unread"] == 3


def test_every_number_says_who_looked():
    result = result_of_prompts("object_class", pair(), "a dog")
    assert any("cartoon world" in note and "GRiT" in note for note in result.notes)
    assert any("not a VBench leaderboard number" in note for note in result.notes)
    assert "cartoon world" in result.fingerprint["detector"]


@pytest.mark.slow
def test_long_clips_are_looked_at_piece_by_piece():
    pytest.importorskip("scenedetect")
    first, second = pair().frames, world(("cat", "red", 0.5, 0.7)).frames
    assert first is not None and second is not None
    whole = np.concatenate([first.pixels[:16], second.pixels[:16]])
    both = SampleClip.from_frames(Frames.from_pixels(whole, fps=8))
    result = result_of_prompts("object_class", both, "a dog", long=True)
    assert values(result) == [0.5] and result.items[0]["pieces"] == [1.0, 0.0]


def test_detectors_that_cannot_tell_are_refused_by_name():
    with pytest.raises(UsageError, match="does not tell captions; those that do: world"):
        load_metric("scene")(detector="hf:nowhere").prepare()
    with pytest.raises(UsageError, match="no detector is called 'grit'"):
        load_metric("color")(detector="grit").prepare()
    with pytest.raises(MissingDependencyError, match="no folder"):
        load_metric("color")(detector="hf:/nowhere/at/all").prepare()


# --- zero-shot detection and video classification
@pytest.fixture(scope="module")
def owl(tmp_path_factory) -> Path:
    import torch
    from transformers import (
        CLIPTokenizer,
        OwlViTConfig,
        OwlViTForObjectDetection,
        OwlViTImageProcessor,
        OwlViTProcessor,
    )

    folder = tmp_path_factory.mktemp("owl")
    letters = [f"{c}{end}" for c in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    vocabulary = {token: i for i, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="<|endoftext|>", model_max_length=16
    )
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "vocab_size": 54, "max_position_embeddings": 16, "bos_token_id": 52, "eos_token_id": 53}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    config = OwlViTConfig(text_config=text, vision_config=vision, projection_dim=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = OwlViTForObjectDetection(config)
    model.save_pretrained(folder)
    images = OwlViTImageProcessor(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    OwlViTProcessor(images, tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_zero_shot_detection_is_the_models_own_best_phrases(owl):
    import torch
    from transformers import OwlViTForObjectDetection, OwlViTProcessor

    from v2t_eval.semantics.detectors import open_detector

    clip = pair()
    assert clip.frames is not None
    detector = open_detector(f"hf:{owl}", "regions")
    one = Sample(id="s", clip=clip)
    found = detector.regions(one, ("dog", "car"))
    assert len(found) == 16 and any(found), "random weights still find something"
    processor, model = OwlViTProcessor.from_pretrained(owl), OwlViTForObjectDetection.from_pretrained(owl).eval()
    inputs = processor(text=[["dog", "car"]], images=[clip.frames.pixels[0]], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    (theirs,) = processor.post_process_grounded_object_detection(outputs, threshold=0.1, target_sizes=[(64, 64)])
    best = int(theirs["scores"].argmax())
    assert found[0][0].label == ("dog", "car")[int(theirs["labels"][best])]
    assert found[0][0].score == pytest.approx(float(theirs["scores"][best]), abs=1e-5)
    assert found[0][0].box == pytest.approx(theirs["boxes"][best].tolist(), abs=1e-2)
    for frame in found:
        assert [r.score for r in frame] == sorted((r.score for r in frame), reverse=True)
    phrases = {region.caption for frame in detector.regions(one, ("dog",), ("red", "blue")) for region in frame}
    assert phrases <= {"a red dog", "a blue dog"}
    assert detector.fingerprint()["weights"] and "0.1" in detector.fingerprint()["preprocess"]


def test_doubles_are_one_region(owl, monkeypatch):
    from v2t_eval.semantics.detectors.hf import Detector

    detector = Detector(str(owl))
    found = [("dog", 0.5, (0, 0, 10, 10)), ("dog", 0.9, (0, 0, 10, 9)), ("dog", 0.4, (30, 0, 40, 10)),
             ("car", 0.3, (0, 0, 10, 10))]  # fmt: skip
    monkeypatch.setattr(detector, "_detect", lambda pixels, phrases: found)
    frame = detector._frame(np.zeros((8, 8, 3), np.uint8), {"dog": "dog", "car": "car"})
    assert [(r.label, r.score) for r in frame] == [("dog", 0.9), ("dog", 0.4), ("car", 0.3)]


@pytest.mark.slow
def test_dimensions_on_the_findings_of_any_detector(owl):
    result = result_of_prompts("object_class", pair(), "a dog", detector=f"hf:{owl}")
    assert 0 <= values(result)[0] <= 1 and owl.name in result.name
    metric = load_metric("multiple_objects")()

    class Finds:
        name = "finds"

        def fingerprint(self):
            return {"detector": "finds"}

        def regions(self, sample, nouns, colors=()):
            one = [Region(label=noun, box=(0, 0, 9, 9)) for noun in nouns]
            return [one] * 4 + [one[:1]] * 12

    metric.detector = Finds()
    assert values(result_of_prompts(metric, pair(), "a bird and a cat")) == [0.25]


def test_actions_of_a_video_classifier(tmp_path):
    import torch
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    names = ["Riding a Bike", "swimming", "roller skating", "running", "waving", "sleeping"]
    config = VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)},
    )  # fmt: skip
    model = VideoMAEForVideoClassification(config)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([4.0, 3.0, 0.0, -1.0, -2.0, 5.0]))
        model.classifier.weight.zero_()
    model.save_pretrained(tmp_path)
    prompts = ("A person is riding a bike", "A person is swimming", "A person is roller skating", "A person is waving")
    result = result_of_prompts("human_action", pair(), *prompts, detector=f"action:{tmp_path}")
    assert values(result) == [1, 1, 0, 0]
    assert result.items[0]["best"] == "sleeping" and result.items[0]["score"] == pytest.approx(1 / (1 + math.exp(-5)))
    unknown = result_of_prompts("human_action", pair(), "A person is knitting", detector=f"action:{tmp_path}")
    assert unknown.failures[0]["code"] == "UNKNOWN_ACTION"
    told = {"asked": {"action": "swimming"}}
    assert values(result_of_prompts("human_action", pair(), "x", detector=f"action:{tmp_path}", row=told)) == [1]
