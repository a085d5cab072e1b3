"""Prompts in, a folder of clips out: what `t2v generate` does."""
