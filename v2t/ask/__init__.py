"""Questions about a video of any length, in words, with the seconds of the answer.

Start here:
- `answer.ask(video, question, AskConfig())` and `answer.when(video, statement, AskConfig())`: one call each; the top of
  `answer` describes how a question is answered. `chat` is the conversation in the terminal.
- `viewer` keeps a captioner and a decoder ready, `when` finds spans, `events` counts and
  compares them, `result` is what comes out. Words about time in
  questions: `moments`.
- Long videos, their windows and the notes on them are `v2t.long`; `v2t.data.notes` is their form in prompts.
"""
