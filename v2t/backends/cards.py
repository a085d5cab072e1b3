"""The model list of an OpenAI-compatible server: the requested entry, and the frames its model expects.

In: a server (`v2t.backends.endpoint`), its answer at /models. Out: one entry of that list; for a `v2t serve` of
our models also their frame sampling, so that the client samples as the model was trained.
"""

from __future__ import annotations

from typing import Any

from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.video.sample import SampleSpec
from v2t.backends import SAMPLING
from v2t.backends.endpoint import Endpoint


def find(endpoint: Endpoint, asked_for: str) -> dict[str, Any]:
    """The entry of the model `asked_for`, or of the only one; empty where the server has no list and a name was given.
    Raises MissingDependencyError: no server, or no such model; UsageError: several models and no name given."""
    try:
        listed = endpoint.models().get("data")
    except MissingDependencyError as problem:
        if problem.code != "SERVER_MODEL" or not asked_for:
            raise
        return {}  # it has no list
    except ItemError as problem:
        raise MissingDependencyError(problem.message, code="SERVER", hint="is it running?") from None
    cards = {
        card["id"]: card
        for card in (listed if isinstance(listed, list) else [])
        if isinstance(card, dict) and isinstance(card.get("id"), str) and card["id"].isprintable() and card["id"]
    }
    if asked_for:
        if asked_for not in cards and any("cineloop" in card for card in cards.values()):
            # A `v2t serve` lists every model it serves; other servers may serve unlisted ones.
            names = endpoint.redact(", ".join(list(cards)[:20]), 1000)
            raise MissingDependencyError(
                f"{endpoint.url} serves no model {asked_for!r}; it serves {names}",
                code="SERVER_MODEL",
                hint="choose one: openai:URL#model",
            )
        return cards.get(asked_for, {})
    # Adapters are listed next to their base, which is the default.
    bases = {name: card for name, card in cards.items() if not card.get("parent")}
    if len(bases) == 1:
        return next(iter(bases.values()))
    names = endpoint.redact(", ".join(list(cards)[:20]), 1000)
    if cards:
        raise UsageError(f"{endpoint.url} serves several models: {names}", hint="name one: openai:URL#model")
    raise MissingDependencyError(
        f"{endpoint.url} lists no model", code="SERVER_MODEL", hint="name it: openai:URL#model"
    )


def wanted_frames(card: dict[str, Any]) -> tuple[SampleSpec, tuple[int, int] | None] | None:
    """Frame sampling and (H, W) that the server declares for its model; None if it declares none. Raises UsageError:
    CARD, the declaration is invalid."""
    about = card.get("cineloop")
    wanted = about.get("frames") if isinstance(about, dict) else None
    if not isinstance(wanted, dict):
        return None
    try:
        size = wanted.get("size")
        spec = SampleSpec(**{name: wanted[name] for name in SAMPLING if wanted.get(name) is not None})
        return spec, None if size is None else (int(size[0]), int(size[1]))
    except (UsageError, TypeError, ValueError, LookupError) as problem:
        raise UsageError(f"it declares its frames in an unknown form: {problem}", code="CARD") from None


def frame_settings(spec: SampleSpec, size: tuple[int, int] | None) -> dict[str, Any]:
    """The declaration that `wanted_frames` reads."""
    return {**{name: getattr(spec, name) for name in SAMPLING}, "size": list(size) if size else None}
