"""Captions, questions and claims about a clip, and reading them back."""
