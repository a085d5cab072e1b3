"""Prompts to vectors for the generator: the starter's own encoder, T5, UMT5, CLIP, or a causal LLM's hidden states."""

from __future__ import annotations

from t2v.model.text_starter import CineloopTextConfig, CineloopTextModel, build_tokenizer, world_words

__all__ = ["CineloopTextConfig", "CineloopTextModel", "build_tokenizer", "world_words"]
