"""This project's own captioner as an engine in the gateway's process: a thread that answers in small batches.

In: requests of the gateway, with their frames. Out: answers, whole or in pieces.
"""
