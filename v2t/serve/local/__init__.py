"""This project's own captioner as an engine: the routes of vLLM's server over a socket file, in a process of its own.

In: requests that the gateway has checked. Out: answers, whole or in pieces.
"""
