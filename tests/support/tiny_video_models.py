"""Tiny video models of transformers with random weights, one builder a family, for the tests of `v2t.backends.hf`."""

from __future__ import annotations

from typing import Any

import transformers as t

PROMPT = "What happens in the video?"
VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT = {**VISION, "num_key_value_heads": 2, "max_position_embeddings": 2048, "vocab_size": 300}
SQUARE, EDGE = {"height": 16, "width": 16}, {"longest_edge": 16}
SIZES = {"patch_size": 4, "size": {"shortest_edge": 64, "longest_edge": 1024}}
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
TOWER = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "patch_size": 4, "out_hidden_size": 32}
CROP = {"size": {"shortest_edge": 16}, "crop_size": SQUARE}
OPT = {
    "model_type": "opt",
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "ffn_dim": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 256,
}
# fmt: off


def chat_template(video: str, image: str) -> str:
    """ChatML with the placeholders of a family."""
    part = "{% if c.type == 'video' %}" + video + "{% elif c.type == 'image' %}" + image + "{% else %}{{ c.text }}"
    return (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for c in m.content %}" + part + "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def tokenizer_of(template: str | None = None, **extra: str) -> Any:
    """Bytes and the words of `PROMPT`; `extra` names special tokens as the family's processor looks for them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "<|im_start|>", "<|im_end|>", "<unk>", *extra.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=alphabet)
    bpe.train_from_iterator([PROMPT], trainer)
    return t.PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<|im_end|>", unk_token="<unk>", bos_token="<|im_start|>",
        extra_special_tokens=extra, chat_template=template, model_input_names=["input_ids", "attention_mask"],
    )


def qwen_tokenizer() -> tuple[Any, dict[str, int]]:
    names = {kind + "_token": f"<|{kind}_pad|>" for kind in ("image", "video")}
    names |= {f"vision_{side}_token": f"<|vision_{side}|>" for side in ("start", "end")}
    around = "<|vision_start|><|{}_pad|><|vision_end|>".format
    tokenizer = tokenizer_of(chat_template(around("video"), around("image")), **names)
    return tokenizer, {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def llava_tokenizer() -> tuple[Any, dict[str, int]]:
    tokenizer = tokenizer_of(chat_template("<video>", "<image>"), image_token="<image>", video_token="<video>")
    ids = {kind: tokenizer.convert_tokens_to_ids(f"<{kind}>") for kind in ("image", "video")}
    return tokenizer, {f"{kind}_token_index": number for kind, number in ids.items()}


def qwen2_vl(*more: str) -> tuple[Any, Any]:
    """`more`: further tokens that are never split."""
    tokenizer, ids = qwen_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(more)}, replace_extra_special_tokens=False)
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 4, "mlp_ratio": 1}
    config = t.Qwen2VLConfig(text_config={**TEXT, "rope_parameters": ROPE}, vision_config=vision, **ids)
    processor = t.Qwen2VLProcessor(t.Qwen2VLImageProcessor(**SIZES), tokenizer, t.Qwen2VLVideoProcessor(**SIZES),
                                   chat_template=tokenizer.chat_template)
    return t.Qwen2VLForConditionalGeneration(config), processor


def qwen2_5_vl() -> tuple[Any, Any]:
    tokenizer, ids = qwen_tokenizer()
    vision = {**TOWER, "window_size": 16, "fullatt_block_indexes": [0]}
    config = t.Qwen2_5_VLConfig(text_config={**TEXT, "rope_parameters": ROPE}, vision_config=vision, **ids)
    processor = t.Qwen2_5_VLProcessor(t.Qwen2VLImageProcessor(**SIZES), tokenizer, t.Qwen2VLVideoProcessor(**SIZES),
                                      chat_template=tokenizer.chat_template)
    return t.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl() -> tuple[Any, Any]:
    tokenizer, ids = qwen_tokenizer()
    vision = {**TOWER, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    text = {**TEXT, "rope_parameters": ROPE, "head_dim": 16}
    config = t.Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
    processor = t.Qwen3VLProcessor(t.Qwen2VLImageProcessor(**SIZES), tokenizer, t.Qwen3VLVideoProcessor(**SIZES),
                                   chat_template=tokenizer.chat_template)
    return t.Qwen3VLForConditionalGeneration(config), processor


def qwen3_5() -> tuple[Any, Any]:
    """Two of three layers have linear attention; the template lets the model think unless it is told not to."""
    tokenizer, ids = qwen_tokenizer()
    thinks = "{% if add_generation_prompt %}{% if enable_thinking is defined and enable_thinking is false %}" \
        "<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}{% endif %}"
    text = {**TEXT, "num_hidden_layers": 3, "layer_types": ["linear_attention"] * 2 + ["full_attention"],
            "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}, "head_dim": 16, "linear_key_head_dim": 8,
            "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
    config = t.Qwen3_5Config(text_config=text, vision_config={**TOWER, "num_position_embeddings": 16}, **ids)
    processor = t.Qwen3VLProcessor(t.Qwen2VLImageProcessor(**SIZES), tokenizer, t.Qwen3VLVideoProcessor(**SIZES),
                                   chat_template=tokenizer.chat_template + thinks)
    return t.Qwen3_5ForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    tokenizer, ids = llava_tokenizer()
    vision = {**VISION, "model_type": "siglip_vision_model", "image_size": 16, "patch_size": 4}
    config = t.LlavaOnevisionConfig(
        vision_config={**vision, "vision_use_head": False}, text_config={**TEXT, "model_type": "qwen2"},
        image_grid_pinpoints=[[16, 16]], **ids)
    image = t.LlavaOnevisionImageProcessor(size=SQUARE, image_grid_pinpoints=[[16, 16]])
    processor = t.LlavaOnevisionProcessor(image, tokenizer, t.LlavaOnevisionVideoProcessor(size=SQUARE),
                                          num_image_tokens=16, vision_feature_select_strategy="full",
                                          chat_template=tokenizer.chat_template)
    return t.LlavaOnevisionForConditionalGeneration(config), processor


def video_llava() -> tuple[Any, Any]:
    tokenizer, ids = llava_tokenizer()
    config = t.VideoLlavaConfig(
        vision_config={**VISION, "model_type": "clip_vision_model", "image_size": 16, "patch_size": 8},
        text_config={**TEXT, "model_type": "llama"}, image_seq_length=4, video_seq_length=40, **ids)
    processor = t.VideoLlavaProcessor(
        t.VideoLlavaImageProcessor(**CROP), t.VideoLlavaVideoProcessor(**CROP), tokenizer, patch_size=8,
        vision_feature_select_strategy="default", chat_template=tokenizer.chat_template)
    return t.VideoLlavaForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    tokenizer = tokenizer_of(
        chat_template("<video>", "<image>"), image_token="<image>", fake_image_token="<fake_token_around_image>",
        video_token="<video>", global_image_token="<global-img>", end_of_utterance_token="<end_of_utterance>")
    config = t.SmolVLMConfig(
        vision_config={**VISION, "image_size": 16, "patch_size": 4}, text_config={**TEXT, "model_type": "llama"},
        scale_factor=2, image_token_id=tokenizer.convert_tokens_to_ids("<image>"))
    sampling = {"fps": 1, "max_frames": 6, "video_size": EDGE}
    processor = t.SmolVLMProcessor(
        t.SmolVLMImageProcessor(size=EDGE, max_image_size=EDGE), tokenizer,
        t.SmolVLMVideoProcessor(size=EDGE, max_image_size=EDGE, video_sampling=sampling),
        image_seq_len=4, chat_template=tokenizer.chat_template)
    return t.SmolVLMForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    tokenizer = tokenizer_of(
        chat_template("<video>", "<IMG_CONTEXT>"), start_image_token="<img>", end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>", video_token="<video>")
    config = t.InternVLConfig(
        vision_config={**VISION, "image_size": [16, 16], "patch_size": [4, 4]}, image_seq_length=4,
        text_config={**TEXT, "model_type": "qwen2"}, image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"))
    processor = t.InternVLProcessor(
        t.GotOcr2ImageProcessor(size=SQUARE), tokenizer, t.InternVLVideoProcessor(size=SQUARE, num_frames=5),
        image_seq_length=4, chat_template=tokenizer.chat_template)
    return t.InternVLForConditionalGeneration(config), processor


def video_llama_3() -> tuple[Any, Any]:
    tokenizer, ids = qwen_tokenizer()
    ids = {name: ids[name] for name in ("image_token_id", "video_token_id")}
    config = t.VideoLlama3Config(vision_config={**VISION, "patch_size": 4},
                                 text_config={**TEXT, "model_type": "qwen2"}, **ids)
    processor = t.VideoLlama3Processor(
        t.VideoLlama3ImageProcessor(**SIZES), tokenizer, t.VideoLlama3VideoProcessor(**SIZES, max_frames=9),
        chat_template=tokenizer.chat_template)
    return t.VideoLlama3ForConditionalGeneration(config), processor


def instructblipvideo() -> tuple[Any, Any]:
    tokenizer, second = tokenizer_of(), tokenizer_of()
    video = t.InstructBlipVideoVideoProcessor(size=SQUARE)
    processor = t.InstructBlipVideoProcessor(video, tokenizer, second, num_query_tokens=2)
    config = t.InstructBlipVideoConfig(
        vision_config={**VISION, "image_size": 16, "patch_size": 4}, num_query_tokens=2, text_config=OPT,
        qformer_config={**VISION, "vocab_size": 300, "max_position_embeddings": 256},
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"))
    return t.InstructBlipVideoForConditionalGeneration(config), processor


def llava() -> tuple[Any, Any]:
    """A model for pictures alone."""
    tokenizer = tokenizer_of(chat_template("", "<image>"), image_token="<image>")
    config = t.LlavaConfig(
        vision_config={**VISION, "model_type": "clip_vision_model", "image_size": 16, "patch_size": 8},
        text_config={**TEXT, "model_type": "llama"}, image_seq_length=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
    processor = t.LlavaProcessor(
        t.CLIPImageProcessor(**CROP), tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=tokenizer.chat_template)
    return t.LlavaForConditionalGeneration(config), processor


def bert_tokenizer() -> Any:
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] describe the video in one sentence what happens ? . a dog runs".split()
    letters = "abcdefghijklmnopqrstuvwxyz"
    return t.BertTokenizer(vocab={word: i for i, word in enumerate(
        dict.fromkeys([*words, *letters, *("##" + letter for letter in letters)]))})


def blip() -> tuple[Any, Any]:
    tokenizer = bert_tokenizer()
    text = {**VISION, "vocab_size": len(tokenizer), "max_position_embeddings": 128, "encoder_hidden_size": 32,
            "bos_token_id": 2, "sep_token_id": 3, "pad_token_id": 0, "eos_token_id": 3, "projection_dim": 32}
    config = t.BlipConfig(text_config=text, vision_config={**VISION, "image_size": 16, "patch_size": 4},
                          projection_dim=32, image_text_hidden_size=32)
    return t.BlipForConditionalGeneration(config), t.BlipProcessor(t.BlipImageProcessor(size=SQUARE), tokenizer)


def git(num_frames: int | None = None) -> tuple[Any, Any]:
    tokenizer = bert_tokenizer()
    config = t.GitConfig(
        vision_config={**VISION, "image_size": 16, "patch_size": 8}, **VISION, vocab_size=len(tokenizer),
        max_position_embeddings=128, num_image_with_embedding=num_frames, bos_token_id=2, eos_token_id=3,
        pad_token_id=0)
    return t.GitForCausalLM(config), t.GitProcessor(t.CLIPImageProcessor(**CROP), tokenizer)


def git_video() -> tuple[Any, Any]:
    return git(6)


def kosmos2() -> tuple[Any, Any]:
    names = ("image", "/image", "phrase", "/phrase", "object", "/object", "/delimiter_of_multi_objects/", "grounding")
    tokenizer = tokenizer_of(None, **{f"token_{i}": f"<{name}>" for i, name in enumerate(names)})
    processor = t.Kosmos2Processor(t.CLIPImageProcessor(**CROP), tokenizer, num_patch_index_tokens=4)
    text = {"vocab_size": len(processor.tokenizer), "embed_dim": 32, "layers": 1, "ffn_dim": 32, "attention_heads": 2,
            "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = t.Kosmos2Config(text_config=text, vision_config={**VISION, "image_size": 16, "patch_size": 8},
                             latent_query_num=64)
    return t.Kosmos2ForConditionalGeneration(config), processor


def instructblip() -> tuple[Any, Any]:
    tokenizer = tokenizer_of()
    processor = t.InstructBlipProcessor(t.BlipImageProcessor(size=SQUARE), tokenizer, tokenizer_of(),
                                        num_query_tokens=2)
    config = t.InstructBlipConfig(
        vision_config={**VISION, "image_size": 16, "patch_size": 4}, num_query_tokens=2, text_config=OPT,
        qformer_config={**VISION, "vocab_size": 300, "max_position_embeddings": 256},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
    return t.InstructBlipForConditionalGeneration(config), processor


def florence2() -> tuple[Any, Any]:
    """Its processor writes the placeholders itself, for one picture."""
    tokenizer = tokenizer_of(None, image_token="<image>")
    image = t.CLIPImageProcessor(**CROP, image_seq_length=17)
    image.image_seq_length = 17
    sides = {f"{side}_{name}": size for side in ("encoder", "decoder")
             for name, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))}
    text = {"model_type": "bart", "vocab_size": 300, "d_model": 32, "max_position_embeddings": 256, "pad_token_id": 0,
            "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2, "is_encoder_decoder": True, **sides}
    vision = {"embed_dim": [16], "num_heads": [2], "num_groups": [2], "depths": [1], "patch_size": [4],
              "patch_stride": [4], "patch_padding": [0], "patch_prenorm": [False], "window_size": 4,
              "projection_dim": 32, "max_temporal_embeddings": 8, "max_position_embeddings": 8, "drop_path_rate": 0.0}
    config = t.Florence2Config(text_config=text, vision_config=vision, image_token_id=tokenizer.image_token_id)
    return t.Florence2ForConditionalGeneration(config), t.Florence2Processor(image, tokenizer,
                                                                             num_additional_image_tokens=1)



def paligemma() -> tuple[Any, Any]:
    """Its processor takes several pictures, its model was trained on one."""
    tokenizer = tokenizer_of(None, image_token="<image>")
    image = t.SiglipImageProcessor(size=SQUARE)
    image.image_seq_length = 4
    config = t.PaliGemmaConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model", "image_size": 16, "patch_size": 8},
        text_config={**TEXT, "model_type": "gemma", "head_dim": 16}, projection_dim=32, vocab_size=300,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
    processor = t.PaliGemmaProcessor(image, tokenizer)
    config.text_config.vocab_size = len(processor.tokenizer)
    return t.PaliGemmaForConditionalGeneration(config), processor


# fmt: on
