"""The semantic dimensions end to end: the cartoon world's referee on rendered clips, zero-shot detection and video
classification by tiny models made here, a judge that says what it is told, the cosines of a tiny dual encoder."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from eval.metric import MetricResult, load_metric
from eval.sample import Clip, Sample
from eval.semantics.formulas import Region
from eval.semantics.judge import Judge
from v2t.base.errors import ItemError, MissingDependencyError, UsageError
from v2t.captioners import CaptionOutput
from v2t.video.frames import Frames
from v2t.video.sample import SampleSpec
from v2t.world.render import render
from v2t.world.scene import Actor, Event, Scene, Shot

TIMES_S = np.arange(17) / 8
JUMP = Event(actor=0, action="jump", start_s=0.1, end_s=1.7)


@cache
def world(*actors: tuple[str, str, float, float], event: Event = JUMP, place: str = "meadow") -> Clip:
    figures = tuple(Actor(kind=k, color=c, size="medium", x=x, y=y) for k, c, x, y in actors)
    shot = Shot(start_s=0.0, end_s=2.125, place=place)
    scene = Scene(seed=5, style="flat", shots=(shot,), actors=figures, events=(event,))
    return Clip.from_frames(Frames.from_pixels(render(scene, times_s=TIMES_S), fps=8))


def pair() -> Clip:
    """A red dog on the left, a blue car on the right."""
    return world(("dog", "red", 0.25, 0.65), ("car", "blue", 0.75, 0.65))


def mirrored(clip: Clip) -> Clip:
    assert clip.frames is not None
    return Clip.from_frames(replace(clip.frames, pixels=np.ascontiguousarray(clip.frames.pixels[:, :, ::-1])))


def noise() -> Clip:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    return Clip.from_frames(Frames.from_pixels(pixels, fps=8))


def score(name: str, clip: Clip, *prompts: str, metric=None, row: dict | None = None, **settings) -> MetricResult:
    made = metric or load_metric(name)(**settings)
    made.update(Sample(id=f"{n}", clip=clip, prompt=p, row=row or {}) for n, p in enumerate(prompts))
    return made.compute()


def values(result: MetricResult) -> list:
    assert not result.failures, result.failures
    return [item["value"] for item in result.items]


# --- the cartoon world's referee
def test_the_referee_tells_left_from_right_and_above_from_below():
    prompts = ("A dog is to the left of a car.", "A dog is to the right of a car.", "a car on the left of a dog",
               "a dog above a car")  # fmt: skip
    assert values(score("spatial_relationship", pair(), *prompts)) == [1, 0, 0, 0]
    assert values(score("spatial_relationship", pair(), *prompts, mode="compat")) == [1, 1, 1, 0]
    turned = mirrored(pair())
    assert values(score("spatial_relationship", turned, *prompts)) == [0, 1, 1, 0]
    assert values(score("spatial_relationship", turned, *prompts, mode="compat")) == [1, 1, 1, 0], "D1: blind to it"
    failed = score("spatial_relationship", pair(), "a dog behind a car")
    assert [f["code"] for f in failed.failures] == ["NOT_BY_BOXES"] and not failed.figures


def test_the_referee_tells_kinds_colours_places_and_actions():
    told = ("a dog", "a zebra", "a puppy")
    assert values(score("object_class", pair(), *told)) == [1, 0, 1]
    assert values(score("multiple_objects", pair(), "a dog and a car", "a dog and a cat", "two dogs")) == [1, 0, 0]
    assert values(score("multiple_objects", pair(), "two dogs", mode="compat")) == [1], "the reference does not count"
    assert values(score("color", pair(), "a red dog", "a blue dog", "a blue car", "a red cat")) == [1, 0, 1, 0]
    assert values(score("scene", pair(), "a dog in the meadow", "a dog on the grass", "a dog on the beach")) == [
        1,
        1,
        0,
    ]
    alone = world(("dog", "red", 0.5, 0.7))
    assert values(score("human_action", alone, "A red dog jumps.", "A red dog is hopping.", "A dog spins.")) == [
        1,
        1,
        0,
    ]


def test_colour_in_compat_drops_clips_and_says_so():
    metric = load_metric("color")(mode="compat")
    metric.update(Sample(id=str(n), clip=pair(), prompt=p) for n, p in enumerate(("a red dog", "a red cat")))
    result = metric.compute()
    assert (result.value, result.coverage, result.counts["dropped"]) == (1.0, 0.5, 1)
    assert any("D4" in note for note in result.notes)
    fixed = score("color", pair(), "a red dog", "a red cat")
    assert (fixed.value, fixed.coverage, fixed.counts["not_shown"]) == (0.5, 1.0, 1)
    nothing = score("color", pair(), "a red cat", mode="compat")
    assert not nothing.figures and nothing.coverage == 0, "the reference divides by zero"


def test_colours_and_places_change_frame_by_frame():
    event = Event(actor=0, action="recolor", start_s=0.5, end_s=0.9, to_color="green")
    changing = world(("ball", "red", 0.5, 0.7), event=event)
    red, green = values(score("color", changing, "a red ball", "a green ball"))
    assert 0.2 < red < 0.6 and red + green == pytest.approx(1.0)
    vanishing = world(("dog", "red", 0.5, 0.7), event=Event(actor=0, action="vanish", start_s=0.5, end_s=0.9))
    assert 0.2 < values(score("object_class", vanishing, "a dog"))[0] < 0.7


def test_a_clip_that_is_not_of_the_world_is_a_failure_and_no_zero():
    for name in ("object_class", "scene", "human_action", "color"):
        result = score(name, noise(), "a red dog runs on the beach")
        assert [f["code"] for f in result.failures] == ["OUT_OF_DOMAIN"] and result.coverage == 0
    short = Clip.from_frames(Frames.from_pixels(np.zeros((2, 16, 16, 3), np.uint8), fps=8))
    assert score("object_class", short, "a dog").failures[0]["code"] == "TOO_SHORT"


def test_every_number_says_who_looked():
    result = score("object_class", pair(), "a dog")
    assert any("cartoon world" in note and "GRiT" in note for note in result.notes)
    assert any("not a VBench leaderboard number" in note for note in result.notes)
    assert "cartoon world" in result.fingerprint["detector"]
    assert load_metric("object_class")(mode="compat").title == "object_class[mode=compat]"


def test_long_clips_are_looked_at_piece_by_piece():
    pytest.importorskip("scenedetect")
    first, second = pair().frames, world(("cat", "red", 0.5, 0.7)).frames
    assert first is not None and second is not None
    whole = np.concatenate([first.pixels[:16], second.pixels[:16]])
    both = Clip.from_frames(Frames.from_pixels(whole, fps=8))
    result = score("object_class", both, "a dog", long=True)
    assert values(result) == [0.5] and result.items[0]["pieces"] == [1.0, 0.0]


def test_detectors_that_cannot_tell_are_refused_by_name():
    with pytest.raises(UsageError, match="does not tell captions; those that do: world"):
        load_metric("scene")(detector="hf:nowhere").prepare()
    with pytest.raises(UsageError, match="no detector is called 'grit'"):
        load_metric("color")(detector="grit").prepare()
    with pytest.raises(UsageError, match="judge finds no boxes"):
        load_metric("color")(detector="v2t", mode="compat")
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


def test_zero_shot_detection_is_the_models_own_best_phrases(owl):
    import torch
    from transformers import OwlViTForObjectDetection, OwlViTProcessor

    from eval.semantics.detectors import open_detector

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
    from eval.semantics.detectors.hf import Detector

    detector = Detector(str(owl))
    found = [("dog", 0.5, (0, 0, 10, 10)), ("dog", 0.9, (0, 0, 10, 9)), ("dog", 0.4, (30, 0, 40, 10)),
             ("car", 0.3, (0, 0, 10, 10))]  # fmt: skip
    monkeypatch.setattr(detector, "_detect", lambda pixels, phrases: found)
    frame = detector._frame(np.zeros((8, 8, 3), np.uint8), {"dog": "dog", "car": "car"})
    assert [(r.label, r.score) for r in frame] == [("dog", 0.9), ("dog", 0.4), ("car", 0.3)]


def test_dimensions_on_the_findings_of_any_detector(owl):
    for mode in ("fixed", "compat"):
        result = score("object_class", pair(), "a dog", detector=f"hf:{owl}", mode=mode)
        assert 0 <= values(result)[0] <= 1 and str(owl) in result.name
    metric = load_metric("multiple_objects")()

    class Finds:
        name = "finds"

        def fingerprint(self):
            return {"detector": "finds"}

        def regions(self, sample, nouns, colors=()):
            one = [Region(label=noun, box=(0, 0, 9, 9)) for noun in nouns]
            return [one] * 4 + [one[:1]] * 12

    metric.detector = Finds()
    assert values(score("multiple_objects", pair(), "a bird and a cat", metric=metric)) == [0.25]


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
    result = score("human_action", pair(), *prompts, detector=f"action:{tmp_path}")
    assert values(result) == [1, 1, 0, 0]
    assert result.items[0]["best"] == "sleeping" and result.items[0]["score"] == pytest.approx(1 / (1 + math.exp(-5)))
    unknown = score("human_action", pair(), "A person is knitting", detector=f"action:{tmp_path}")
    assert unknown.failures[0]["code"] == "UNKNOWN_ACTION"
    told = {"asked": {"action": "swimming"}}
    assert values(score("human_action", pair(), "x", detector=f"action:{tmp_path}", row=told)) == [1]


# --- a judge
class Table:
    """A captioner that finds yes as likely as a table says, or replies in words."""

    name, revision, spec, frame_size, concurrency = "table", "1", SampleSpec(num_frames=4), None, 1

    def __init__(self, chances: dict[str, float | str]) -> None:
        self.chances, self.asked = chances, []

    def load(self) -> None:
        """Nothing to load."""

    def answer(self, conversations, decoding):
        question = conversations[0][0].text
        self.asked.append(question)
        return [CaptionOutput(text=str(next(v for k, v in self.chances.items() if k in question)), tokens=1)]


class Likely(Table):
    """As `Table`, telling likelihoods."""

    def watch(self, frames):
        return frames

    def likelihoods(self, watched, question, answers, *, whole=False):
        self.asked.append(question)
        chance = self.chances[question]
        if isinstance(chance, str):
            raise ItemError("refused", code=chance)
        if whole:  # "in the forest" with this chance, and all other choices alike
            return [math.log(chance if "forest" in a else (1 - chance) / (len(answers) - 1)) for a in answers]
        share = {"yes": chance, "Yes": 0.0, "no": 1 - chance, "No": 0.0}
        return [math.log(share[a]) if share[a] else -math.inf for a in answers]


def judged(name: str, captioner: Table, prompt: str, row: dict | None = None, **settings) -> MetricResult:
    metric = load_metric(name)(**settings)
    metric.judge = Judge(captioner)
    return score(name, pair(), prompt, metric=metric, row=row)


@pytest.mark.parametrize(
    ("name", "prompt", "questions"),
    [
        ("object_class", "a dog", ["Is there a dog?"]),
        ("multiple_objects", "a dog and two cars", ["Is there a dog?", "Are there exactly two cars?"]),
        ("color", "a red dog", ["Is the dog red?"]),
        ("spatial_relationship", "a dog on the right of a car", ["Is the car to the left of the dog?"]),
        ("scene", "a dog in the forest", ["Where does this happen?"]),
        ("scene", "a dog in a supermarket", ["Is the scene a supermarket?"]),
        ("human_action", "A red dog walks to the left.", ["Does the dog walk?"]),
        ("human_action", "a person is riding a bike", ["Is the person riding a bike?"]),
    ],
)
def test_a_judge_is_asked_what_the_detector_would_look_for(name, prompt, questions):
    captioner = Likely(dict.fromkeys(questions, 0.8))
    result = judged(name, captioner, prompt, detector="v2t")
    assert captioner.asked == questions
    assert values(result) == [pytest.approx(0.8 ** len(questions))]
    assert "table@1" in result.notes[0]


def test_scene_in_compat_is_read_from_captions_of_single_frames():
    captioner = Table({"": "A dog in a barn."})
    assert values(judged("scene", captioner, "a dog in a bar", detector="v2t", mode="compat")) == [1], "bar is in barn"
    assert len(captioner.asked) == 16


def test_refusals_are_counted_and_no_zero():
    for word, code in (("REFUSED", "refused"), ("UNPARSABLE", "unparsable")):
        metric = load_metric("color")(detector="v2t")
        metric.judge = Judge(Likely({"Is the dog red?": 0.75, "Is the dog blue?": word}))
        result = score("color", pair(), "a red dog", "a blue dog", metric=metric)
        assert (result.value, result.coverage, result.counts[code]) == (0.75, 0.5, 1)


def test_vqascore_is_the_likelihood_of_yes():
    captioner = Likely({'Does this figure show "a red dog"? Please answer yes or no.': 0.3})
    result = judged("vqascore", captioner, "a red dog", wording="figure")
    assert values(result) == [pytest.approx(0.3)] and "figure" in result.fingerprint["wording"]
    votes = judged("vqascore", Table({"Answer yes or no:": "yes", "": "no"}), "a red dog", wording="figure")
    assert values(votes) == [pytest.approx(1 / 3)] and "wordings" in votes.fingerprint["answers"]


def test_vqascore_in_the_worlds_own_words_is_a_geometric_mean():
    chances = {"Is there a dog?": 0.9, "Is the dog red?": 0.4, "Where does this happen?": 0.5}
    result = judged("vqascore", Likely(chances), "a red dog in the forest")
    assert values(result) == [pytest.approx((0.9 * 0.4 * 0.5) ** (1 / 3))]
    assert result.items[0]["questions"] == pytest.approx(chances)
    assert judged("vqascore", Likely({}), "?!").failures[0]["code"] == "NOTHING_ASKED"


def test_question_score_gives_tifa_and_dsg():
    """Case A15 of the sheet through the metric: accuracy .8, DSG .4."""
    chances = {"1?": 0.9, "2?": 0.2, "3?": 0.9, "4?": 0.9, "5?": 0.9}
    parents = {"3?": ["2?"], "4?": ["1?"], "5?": ["3?"]}
    rows = [{"id": q, "question": q, "parents": parents.get(q, [])} for q in sorted(chances, reverse=True)]
    result = judged("question_score", Likely(chances), "x", row={"questions": rows})
    assert result.headline == "dsg" and result.value == pytest.approx(0.4, abs=1e-6)
    assert result.figures["accuracy"].value == pytest.approx(0.8, abs=1e-6)


def test_question_score_counts_what_was_not_answered():
    chances: dict[str, float | str] = {"1?": 0.9, "2?": "REFUSED", "3?": "UNPARSABLE", "4?": 0.1}
    rows = [{"id": q, "question": q, "answer": "no" if q == "4?" else "yes"} for q in chances]
    result = judged("question_score", Likely(chances), "x", row={"questions": rows})
    assert result.value == 1.0 and result.figures["answered"].value == 0.5
    assert (result.counts["refused"], result.counts["unparsable"], result.counts["questions"]) == (1, 1, 4)
    none = judged("question_score", Likely({"1?": "REFUSED"}), "x", row={"questions": rows[:1]})
    assert none.failures[0]["code"] == "REFUSED" and none.coverage == 0 and not none.figures


def test_question_score_compares_other_answers_word_by_word():
    rows = [
        {"question": "How many dogs are there?", "answer": "two"},
        {"question": "What color is it?", "answer": "red"},
    ]
    captioner = Table({"How many": "Two.", "What color": "blue"})
    assert judged("question_score", captioner, "x", row={"questions": rows}).value == 0.5


def test_question_score_picks_among_choices():
    rows = [{"question": "Where is it?", "answer": "in a park", "choices": ["in a forest", "in a park"]}]
    assert [
        judged("question_score", Likely({"Where is it?": p}), "x", row={"questions": rows}).value for p in (0.4, 0.6)
    ] == [1, 0]
    assert judged("question_score", Table({"": "(B) in a park"}), "x", row={"questions": rows}).value == 1
    assert (
        judged("question_score", Table({"": "Hm."}), "x", row={"questions": rows}).failures[0]["code"] == "UNPARSABLE"
    )


def test_question_score_makes_its_questions_of_the_prompt():
    chances: dict[str, float | str] = {"Is there a dog?": 0.1, "Is the dog red?": 0.9, "Where does this happen?": 0.9}
    captioner = Likely(chances | {"Does this happen in the forest?": 0.2})
    result = judged("question_score", captioner, "a red dog in the forest")
    assert result.value == pytest.approx(1 / 3), "no dog, so it is not red either"
    assert result.figures["accuracy"].value == pytest.approx(2 / 3)
    assert result.items[0]["questions"][-1]["said"] == "in the forest"
    plain = judged("question_score", captioner, "a red dog in the forest", wording="yes_no")
    assert plain.figures["accuracy"].value == pytest.approx(1 / 3)
    assert plain.fingerprint["wording"] == "yes_no" and result.fingerprint["wording"] == "world"
    assert judged("question_score", captioner, "?!").failures[0]["code"] == "NOTHING_ASKED"


# --- style and consistency with a text
@pytest.fixture(scope="module")
def dual(tmp_path_factory) -> str:
    open_clip = pytest.importorskip("open_clip")
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("dual")
    vision = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16}
    text = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    model = {"embed_dim": 16, "quick_gelu": False, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = {key: value.contiguous() for key, value in open_clip.CLIP(**model).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    about = {"model_cfg": model, "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    return f"open_clip:local-dir:{folder}"


def cosines(name: str, pixels: np.ndarray, text: str, preprocess: str = "") -> np.ndarray:
    from eval.features import open_extractor

    extractor = open_extractor(name, preprocess=preprocess)
    frames, words = extractor.embed_frames(pixels).astype(float), extractor.embed_texts([text])[0].astype(float)
    frames /= np.linalg.norm(frames, axis=1, keepdims=True)
    return frames @ (words / np.linalg.norm(words))


def test_appearance_style_is_the_mean_cosine_with_the_phrase_alone(dual):
    clip = noise()
    assert clip.frames is not None
    result = score("appearance_style", clip, "a cat, Van Gogh style", model=dual)
    assert values(result) == [pytest.approx(cosines(dual, clip.frames.pixels, "van gogh style").mean(), abs=1e-6)]
    assert score("appearance_style", clip, "a cat", model=dual).failures[0]["code"] == "NOTHING_ASKED"
    assert any("open_clip" in note and "ViT-B/32" in note for note in result.notes)


def test_appearance_style_in_compat_weighs_by_frames(dual):
    one, other = noise(), pair()
    assert one.frames is not None and other.frames is not None
    found = {}
    for mode in ("compat", "fixed"):
        metric = load_metric("appearance_style")(model=dual, mode=mode)
        metric.update(Sample(id=str(n), clip=c, prompt="oil painting") for n, c in enumerate((one, other)))
        found[mode] = metric.compute().value
    parts = [cosines(dual, c.frames.pixels, "oil painting") for c in (one, other)]
    assert found["fixed"] == pytest.approx(np.mean([part.mean() for part in parts]), abs=1e-6)
    parts = [cosines(dual, c.frames.pixels, "oil painting", "vbench") for c in (one, other)]
    assert found["compat"] == pytest.approx(np.concatenate(parts).mean(), abs=1e-6)


@pytest.mark.parametrize("name", ["temporal_style", "overall_consistency"])
def test_eight_middle_frames_and_the_whole_prompt(dual, name):
    clip = pair()
    assert clip.frames is not None
    from eval.features import open_extractor, unit

    pixels, extractor = clip.frames.pixels, open_extractor(dual)
    picked = [0, 2, 4, 6, 8, 10, 12, 15]  # of 17 frames: the middles between 0, 2, 4, 6, 8, 10, 12, 14, 17
    mean = unit(extractor.embed_frames(pixels[picked])).mean(axis=0)
    words = extractor.embed_texts(["a red dog runs"])[0].astype(float)
    expected = float(mean @ words / np.linalg.norm(mean) / np.linalg.norm(words))
    result = score(name, clip, "a red dog runs", model=dual)
    assert values(result) == [pytest.approx(expected, abs=1e-6)]
    assert any("ViCLIP" in note for note in result.notes)
    long = score(name, clip, "a red dog runs " * 9, model=dual)
    assert long.counts["truncated"] == 1 and any("lost their end" in note for note in long.notes)
