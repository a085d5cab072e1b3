"""How likely a hub model finds an answer: as its own generation says, token by token."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

import pytest

from cineloop.errors import UsageError
from small_clips import noise
from tiny_video_models import PROMPT, internvl, llava, llava_onevision, qwen2_5_vl
from v2t.backends import user_turn
from v2t.backends.hf import Backend


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """`loaded(builder)`: a tiny captioner of that family, loaded."""

    def captioner(builder) -> Backend:
        if builder is not llava and find_spec("torchvision") is None:
            pytest.skip(f"transformers runs {builder.__name__} only with torchvision")
        import torch

        torch.manual_seed(1)
        model, processor = builder()
        with torch.no_grad():  # fresh weights hardly look at the video; these do
            for parameter in model.parameters():
                parameter.mul_(4)
        path = tmp_path_factory.mktemp("hf") / builder.__name__
        model.save_pretrained(path)
        processor.save_pretrained(path)
        made = Backend(str(path), device="cpu")
        made.load()
        return made

    return captioner


clip = partial(noise, num=5, size=(20, 28))


@pytest.mark.slow
@pytest.mark.parametrize("builder", [qwen2_5_vl, llava_onevision, internvl, llava])
def test_likelihoods_are_those_of_the_first_generated_step(loaded, builder):
    """Of answers of one token the softmax of the first step; of longer ones the product over the steps."""
    import torch

    captioner = loaded(builder)
    tokenizer, frames = captioner.prompter.processor.tokenizer, clip(seed=3)
    inputs = captioner._inputs([user_turn(PROMPT, frames)])
    step = captioner._model.generate(
        **inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
    ).logits[0][0]  # (vocabulary,)
    letters = [letter for letter in "abcdefgh" if len(tokenizer(letter, add_special_tokens=False)["input_ids"]) == 1]
    ids = [tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in letters]
    found = captioner.likelihoods(captioner.encode_clip(frames), PROMPT, letters)
    assert found == pytest.approx(step.float().log_softmax(-1)[ids].tolist(), abs=1e-3) and len(set(found)) > 3
    longer = captioner.likelihoods(frames, PROMPT, ["ab", "ac", "a"])
    assert longer[2] == pytest.approx(found[0], abs=1e-4) and max(longer[:2]) < longer[2]
    more = {**inputs, "input_ids": torch.cat([inputs["input_ids"], torch.tensor([[ids[0]]])], 1)}
    for name, filler in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        if name in more:
            more[name] = torch.cat([more[name], torch.full((1, 1), filler)], 1)
    after = captioner._model.generate(
        **more, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
    ).logits[0][0].float().log_softmax(-1)  # fmt: skip
    assert longer[0] == pytest.approx(found[0] + float(after[ids[1]]), abs=1e-3)
    whole = captioner.likelihoods(frames, PROMPT, ["a"], whole=True)[0]
    ends = [end for end in captioner._end_tokens() if end < len(after)]
    assert whole == pytest.approx(found[0] + float(after[ends].logsumexp(0)), abs=1e-3)
    other = captioner.likelihoods(clip(seed=4), PROMPT, letters)
    assert other != pytest.approx(found, abs=1e-3), "it depends on the clip"


@pytest.mark.slow
def test_likelihoods_want_answers(loaded):
    captioner = loaded(llava)
    for answers in ([], [""]):
        with pytest.raises(UsageError, match="one token or more"):
            captioner.likelihoods(clip(), PROMPT, answers)
