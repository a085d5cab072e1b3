"""The grammar of questions: one of the three sources behind `questions=` (`v2t_eval.semantics.sources`), beside a
reviewed file and a language model.

In: a prompt, of the cartoon world or in plain English. Out: its questions (`wording.of_text`), the same every time and
without a model, and the parts of it that are asked nothing of. The words (`english`) and phrases (`noun_phrases`) that
are known, what a sentence asks for by them (`free_text`), or by the world's own reader where it knows every word
(`prompt`). What it does not know is left out, never guessed.
"""
