"""Flags that several verbs share, and what they mean; not verbs themselves."""
