"""What every HTTP server of this project needs, whatever it serves.

In: untrusted requests. Out: checked ones, or a `faults.Fault`. `guard` is the middleware around all routes, `limits`
has keys, rates, queues and memory, `bodies` reads requests within them, `connection` bounds what happens beside a
request; `addresses`, `local_files` and `fetch` read what a client names, `incoming` and `uploads` take what a client
sends.
"""
