"""One file per verb of `v2t-eval`: its arguments, and the call of the package that does the work.

A verb's module is its name and defines `SUMMARY`, `EXAMPLES`, `add_arguments(parser)` and `run(args) -> exit code`. It
is imported for `--help`, so whatever is heavy is imported in `run`. `scoring` and `cluster` are no verbs: flags that
several share.
"""
