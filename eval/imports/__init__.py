"""Result files of other tools as scores, so that their numbers can be compared and gated: one file a format.

In: a file that VBench, lmms-eval or FastVideo wrote. Out: `Scores`, with the values of single samples where the file
has them, and figures of the whole set, without an interval where nothing is known of their spread, where it has not. A
format is a file with a class `Format` (`v2t_eval.imports.reading.FormatLike`), found by its name; which one a file has
is shown by its content. Names of metrics begin with the format's, `vbench.subject_consistency`: a number of another
program is never taken for one of ours.
"""
