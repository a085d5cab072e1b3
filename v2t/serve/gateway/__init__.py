"""The only open port: who asks, how much, and what is passed on; everything a client sends is checked here.

In: HTTP requests. Out: HTTP replies; what goes to the engine is written anew from checked fields.
"""
