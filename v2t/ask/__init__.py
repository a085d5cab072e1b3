"""Questions about a video of any length, in words, with the seconds of the answer.

Start here:
- `answer.ask(video, question, AskConfig())` and `answer.when(video, statement, AskConfig())`: one call each; the top of
  `answer` says how a question is looked at. `chat` is the conversation in the terminal.
- `viewer` keeps a captioner and a decoder ready, `film` is one video and its windows, `prepare` puts a question with
  its frames or notes, `when` finds spans, `result` is what comes out.
- Long videos: `memory` takes notes window by window and keeps them on disk, `note_lines` reads them, `recall` picks
  those that a question is about. `v2t.data.notes` is how they are put to the captioner.
- Words about time: `moments` in questions, `spans` in answers, `cineloop.clock` for both.
"""
