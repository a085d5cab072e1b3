"""Who keeps an engine running: started, watched, started again, ended with all it made.

In: a command (`child`). Out: a client that reaches it, and its state.
"""
