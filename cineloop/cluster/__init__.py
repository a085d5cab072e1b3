"""Beyond one machine: an existing engine places the work, the journals of the output folder say what is done.

`workers` opens the pools of a run (`pool`) on an engine (`ray_engine`, the only home of ray); what a worker has
answered stands in a journal of its own (`journals`). A job of two steps comes with an object for each of them.
"""
