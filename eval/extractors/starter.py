"""`starter`: the shipped dual encoder, which knows the cartoon world and nothing else.

In: frames and captions. Out: their embeddings; it loads as any open_clip model does, from `v2t/starter/dual`. It looks
at single frames, so it knows what is there and where, and nothing of motion.
"""

from __future__ import annotations

from cineloop.errors import MissingDependencyError
from v2t.backends.local import STARTER
from v2t_eval.extractors.open_clip import Extractor as OpenClip


class Extractor(OpenClip):
    folder = STARTER / "dual"

    def _model_and_tag(self) -> tuple[str, str]:
        if not (self.folder / "open_clip_config.json").is_file():
            raise MissingDependencyError(
                f"the starter's dual encoder is not in {self.folder}",
                code="MODEL",
                hint="train it: v2t train configs/starter/contrastive.yaml, and name the result"
                " open_clip:local-dir:runs/starter/contrastive/final",
            )
        return f"local-dir:{self.folder}", ""
