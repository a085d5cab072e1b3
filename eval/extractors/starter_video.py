"""`starter-video`: the shipped dual encoder of clips, which knows the cartoon world and nothing else.

In: clips and captions. Out: their embeddings; order of events and motion are part of them. Its halves are those of
`starter`, which looks at single frames.
"""

from __future__ import annotations

from v2t.backends.local import STARTER
from v2t_eval.extractors import open_clip_video


class Extractor(open_clip_video.Extractor):
    folder = STARTER / "dual"
