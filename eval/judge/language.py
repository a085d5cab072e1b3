"""Questions about a free-text prompt, written by a language model.

In: prompts, and a model that writes: a folder or hub id of transformers, or "openai:URL[#model]". Out: `Question`s with
dependencies, as in DSG (Cho et al. 2024, arXiv:2310.18235): each about one fact alone, answered with yes where the clip
shows the prompt. In a second turn the model answers each from the prompt alone, and only those answered with yes are
kept; the children of a dropped question are attached to its parents. A reply is parsed strictly: JSON, alone, in a
fence or followed by words, of the form that `from_row` takes. One that cannot be parsed is requested once more; a
prompt without a valid reply is an error with a code, never an empty list.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from cineloop.errors import ItemError, MissingDependencyError
from cineloop.files import text_key
from cineloop.log import printable
from cineloop.training.runtime import find_dtype
from v2t.backends import Decoding, GenerateRequest, open_backend, user_turn
from v2t.backends.batching import Batcher
from v2t_eval.core import models
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.judge.question import Question, from_row

T = TypeVar("T")
TRIES = 2
MAX_NEW_TOKENS = 1024
MAX_QUESTIONS = 24
_MAX_OPENINGS = 64  # brackets at which JSON is tried: bounds the time for a reply of nothing but brackets
KINDS = ("place", "kind", "color", "size", "count", "action", "direction", "speed", "relation", "style", "other")
TEMPLATE = """A video was made for this prompt:
{prompt}

Write questions that find out whether the video shows what the prompt asks for.
- Each question is about one fact alone and is answered with yes if the video shows the prompt.
- First ask whether each thing is there ("Is there a dog?"), then about its number, color, size and action, then how \
things stand to each other, where it happens, and the style if one is named.
- "parents" lists the ids of the questions that must be answered with yes for this one to make sense.
- "about" is one of: {kinds}.
- Ask for nothing that the prompt does not say.
Answer with JSON and nothing else:
{{"questions": [{{"id": "1", "question": "Is there a dog?", "parents": [], "about": "kind"}}, \
{{"id": "2", "question": "Is the dog red?", "parents": ["1"], "about": "color"}}]}}"""
MALFORMED, DUPLICATE, NOT_ENTAILED = "malformed", "duplicate", "not entailed by the prompt"
CHECK = """This is all that is known of a video:
{prompt}

Here are questions about the video:
{questions}

Answer each from that text alone: "yes" if the text says so or it must be so, "no" if the text says otherwise, \
"unknown" if the text does not say.
Answer with JSON and nothing else, every id once:
{{"answers": {{"1": "yes", "2": "unknown"}}}}"""
_YES_NO = re.compile(r"(?:is|are|was|were|do|does|did|has|have|can|could|will|would)(?:n't)?\b.*\?$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class UnaskedQuestion:
    """A question that is not asked, and why: malformed, duplicate, not entailed by the prompt."""

    question: str
    why: str


def check_form(questions: Sequence[Question]) -> tuple[list[Question], list[UnaskedQuestion]]:
    """Yes/no questions, each text once, in the given order (parents first).

    Raises:
        ValueError: the questions are not parents first.
    """
    reasons: dict[str, str] = {}
    first: dict[str, str] = {}
    instead: dict[str, str] = {}
    for question in questions:
        text = _bare(question.question)
        if not _YES_NO.match(question.question.strip()) or "\n" in question.question.strip():
            reasons[question.id] = MALFORMED
        elif text in first:
            reasons[question.id], instead[question.id] = DUPLICATE, first[text]
        else:
            first[text] = question.id
    return without(questions, reasons, instead)


def check_entailment(
    questions: Sequence[Question], verdicts: Mapping[str, str]
) -> tuple[list[Question], list[UnaskedQuestion]]:
    """Questions that the prompt answers with yes, by the model's verdict on each id."""
    return without(questions, {q.id: NOT_ENTAILED for q in questions if verdicts.get(q.id) != "yes"})


def without(
    questions: Sequence[Question], reasons: Mapping[str, str], instead: Mapping[str, str] | None = None
) -> tuple[list[Question], list[UnaskedQuestion]]:
    """Questions, parents first, without those in `reasons`; `instead` names the question that takes over the children,
    which else depend on the parents of the dropped one."""
    kept: list[Question] = []
    above: dict[str, tuple[str, ...]] = {}  # the parents that replace a question
    for question in questions:
        parents = tuple(dict.fromkeys(id for parent in question.parents for id in above[parent]))
        if question.id not in reasons:
            above[question.id] = (question.id,)
            kept.append(replace(question, parents=parents))
        else:
            above[question.id] = above[instead[question.id]] if instead and question.id in instead else parents
    return kept, [UnaskedQuestion(question=q.question, why=reasons[q.id]) for q in questions if q.id in reasons]


def check_text(prompt: str, questions: Sequence[Question]) -> str:
    """The prompt that asks the model to check its questions."""
    listed = "\n".join(f"{question.id}. {question.question}" for question in questions)
    return CHECK.format(prompt=prompt.strip(), questions=listed)


def to_json(questions: Sequence[Question], dropped: Sequence[UnaskedQuestion]) -> str:
    """Serialise both as JSON for `of_json`."""
    rows = [{"id": q.id, "question": q.question, "parents": list(q.parents), "about": q.about} for q in questions]
    return json.dumps({"questions": rows, "dropped": [[d.question, d.why] for d in dropped]}, ensure_ascii=False)


def of_json(text: str) -> tuple[list[Question], list[UnaskedQuestion]]:
    """The reverse of `to_json`.

    Raises:
        ValueError, KeyError, TypeError, ItemError: not a text of `to_json`.
    """
    data = json.loads(text)
    return from_row(data["questions"], "the cache"), [UnaskedQuestion(question=q, why=w) for q, w in data["dropped"]]


def _bare(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


class Writer(Protocol):
    """A language model."""

    name: str
    revision: str

    def write(self, prompt: str, *, temperature: float, seed: int) -> str:
        """The model's reply. Raises ItemError where there is none."""


class UnreadableReplyError(Exception):
    """No reply of a model could be parsed: the last `reply`, and `why`."""

    def __init__(self, reply: str, why: str) -> None:
        super().__init__(why)
        self.reply, self.why = reply, why


def read_reply(writer: Writer, text: str, read: Callable[[str], T], tries: int) -> T:
    """The parsed reply of a model: of the first attempt, which is greedy, or of a sampled one where `read` raises
    ItemError or ValueError.

    Raises:
        UnreadableReplyError: after so many tries.
    """
    why = reply = ""
    for number in range(tries):
        reply = writer.write(text, temperature=0.7 * bool(number), seed=number)
        try:
            return read(reply)
        except (ItemError, ValueError) as problem:
            why = problem.message if isinstance(problem, ItemError) else str(problem)
    raise UnreadableReplyError(reply, why)


class Questioner:
    """Writes questions about prompts, and validates them."""

    def __init__(self, writer: Writer, *, cache: EvidenceCache | None = None) -> None:
        self.writer, self.cache = writer, cache

    def fingerprint(self) -> dict[str, str]:
        """What determines the questions: model, revision, templates."""
        template = text_key(f"{TEMPLATE}|{CHECK}".encode())[:12]
        return {"questions": f"{self.writer.name}@{self.writer.revision}", "template": template}

    def questions_of(self, prompt: str) -> tuple[list[Question], list[UnaskedQuestion]]:
        """The questions of a prompt, parents first, one or more, and those that were dropped.

        Raises:
            ItemError: QUESTIONS_UNREADABLE, no reply could be read; QUESTIONS_DROPPED, none is left; what the model
                raises (REFUSED, PROMPT_TOO_LONG, SERVER_ERROR).
        """
        key = text_key(f"{sorted(self.fingerprint().items())}|{prompt}".encode("utf-8", "surrogatepass"))
        known = self.cache.find([key]).get(key) if self.cache else None
        if known is not None:
            try:
                return of_json(known["made"])
            except (ItemError, ValueError, KeyError, TypeError):
                pass  # written by an older version: ask again
        drafts = self._read(TEMPLATE.format(prompt=prompt.strip(), kinds=", ".join(KINDS)), read_questions)
        questions, dropped = check_form(drafts)
        if questions:
            verdicts = self._read(check_text(prompt, questions), lambda reply: read_verdicts(reply, questions))
            questions, more = check_entailment(questions, verdicts)
            dropped += more
        if not questions:
            why = "; ".join(f"{printable(each.question, 60)!r} is {each.why}" for each in dropped[:3])
            raise ItemError(
                f"all {len(dropped)} questions that {self.writer.name} wrote are invalid: {why}",
                code="QUESTIONS_DROPPED",
                hint="use another model, or give `questions` in the manifest",
            )
        if self.cache:
            self.cache.keep({key: {"made": to_json(questions, dropped)}})
            self.cache.save()
        return questions, dropped

    def _read(self, text: str, read: Callable[[str], T]) -> T:
        """The parsed reply of the model, see `read_reply`."""
        try:
            return read_reply(self.writer, text, read, TRIES)
        except UnreadableReplyError as error:
            raise ItemError(
                f"{self.writer.name} gave no valid reply in {TRIES} attempts ({error.why}), the last "
                f"{printable(error.reply, 80)!r}",
                code="QUESTIONS_UNREADABLE",
                hint="use another model, or give `questions` in the manifest",
            ) from None


def read_verdicts(reply: str, questions: Sequence[Question]) -> dict[str, str]:
    """The model's answer to each question from the prompt alone: yes, no or unknown by id.

    Raises:
        ItemError: QUESTIONS_UNREADABLE, there is no JSON of that form, or a question has no verdict.
    """
    for value in json_in(reply):
        answers = value.get("answers", value) if isinstance(value, dict) else None
        if isinstance(answers, dict) and {question.id for question in questions} <= set(answers):
            return {id: str(verdict).strip().lower() for id, verdict in answers.items()}
    raise ItemError("no JSON with an answer to every question", code="QUESTIONS_UNREADABLE")


def read_questions(reply: str) -> list[Question]:
    """The questions in a model's reply, parents first.

    Raises:
        ItemError: QUESTIONS_UNREADABLE, there is no JSON of that form, or there are more than `MAX_QUESTIONS`;
            BAD_QUESTIONS, as `from_row`.
    """
    for value in json_in(reply):
        listed = value.get("questions") if isinstance(value, dict) else value
        if isinstance(listed, list) and listed and all(isinstance(each, dict) for each in listed):
            break
    else:
        raise ItemError("no JSON list of questions", code="QUESTIONS_UNREADABLE")
    if len(listed) > MAX_QUESTIONS:
        raise ItemError(f"{len(listed)} questions, {MAX_QUESTIONS} at most", code="QUESTIONS_UNREADABLE")
    rows = []
    for each in listed:
        about = each.get("about")
        rows.append({**each, "answer": "yes", "choices": (), "about": about if about in KINDS[:-1] else ""})
    try:
        return from_row(rows, "the reply")
    except (TypeError, ValueError) as error:
        raise ItemError(f"questions of another form: {error}", code="QUESTIONS_UNREADABLE") from error


def json_in(reply: str) -> Iterator[Any]:
    """JSON values in a reply without its thoughts: in its fences, else the outermost lists and objects, whatever
    surrounds them; also in the spelling of Python."""
    text = reply.rpartition("</think>")[2]
    fenced = re.findall(r"```(?:json|JSON)?\s*\n(.*?)```", text, re.DOTALL)
    decoder, opens = json.JSONDecoder(), re.compile(r"[\[{]")
    for part in (*fenced, text):
        at = 0
        for _ in range(_MAX_OPENINGS):
            opening = opens.search(part, at)
            if opening is None:
                break
            try:
                value, at = decoder.raw_decode(part, opening.start())
            except (ValueError, RecursionError):
                at = opening.end()
                end = part.rfind("]" if opening[0] == "[" else "}") + 1
                try:
                    value = ast.literal_eval(part[opening.start() : end])
                except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                    continue
                at = end
            yield value


class EndpointModel:
    """A model behind an OpenAI-compatible address, with the timeouts and keys of `v2t.backends.openai`."""

    def __init__(self, address: str) -> None:
        # No frames are sent, so the server's frame format need not be probed.
        self._model = open_backend(address, options={"frames_as": "images"})
        self._model.load()
        self._batcher = Batcher(self._model)
        self.name, self.revision = self._model.name, self._model.revision

    def write(self, prompt: str, *, temperature: float, seed: int) -> str:
        decoding = Decoding(max_new_tokens=MAX_NEW_TOKENS, temperature=temperature, seed=seed)
        return self._batcher.generate(GenerateRequest(messages=user_turn(prompt), decoding=decoding)).text


class Local:
    """A causal language model of transformers on this machine: safetensors only, no remote code."""

    def __init__(self, where: str) -> None:
        import torch
        import transformers

        from v2t.backends.hf_source import ModelSource

        source = ModelSource.find(where, None, False, only_text=True)
        self.name = source.folder.resolve().name if source.local else where
        self.revision = source.revision
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(source.folder), **source.load_options)
        except (OSError, ValueError, KeyError) as error:
            raise MissingDependencyError(f"no tokenizer in {source.folder}: {error}", code="MODEL") from error
        device = models.device()
        dtype = getattr(torch, find_dtype("auto", device))
        self._model: Any = source.weights(source.config(), dtype=dtype).to(device).eval()

    def write(self, prompt: str, *, temperature: float, seed: int) -> str:
        """The completion in the model's chat template where it has one, of at most `MAX_NEW_TOKENS`, greedy at
        temperature 0, else sampled with `seed`. Letters: L tokens.

        Raises:
            ItemError: PROMPT_TOO_LONG, the model cannot take the prompt and an answer.
        """
        import torch

        ids = _encode(self._tokenizer, prompt).to(self._model.device)  # (1, L)
        length = ids.shape[1]
        positions = getattr(self._model.config, "max_position_embeddings", None)
        room = MAX_NEW_TOKENS if positions is None else min(MAX_NEW_TOKENS, positions - length)
        if room < 1:
            raise ItemError(f"a prompt of {length} tokens, {self.name} takes {positions}", code="PROMPT_TOO_LONG")
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if temperature > 0:
            sampling = {"do_sample": True, "temperature": temperature}
        padding = self._tokenizer.eos_token_id if self._tokenizer.pad_token_id is None else self._tokenizer.pad_token_id
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            tokens = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=room,
                pad_token_id=padding or 0,
                **sampling,
            )
        return str(self._tokenizer.decode(tokens[0, length:], skip_special_tokens=True))


def _encode(tokenizer: Any, prompt: str) -> Any:
    if not tokenizer.chat_template:
        return tokenizer(prompt, return_tensors="pt").input_ids
    talk: Sequence[dict[str, str]] = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids


def open_writer(name: str) -> Writer:
    """The language model of that name, ready to write.

    Raises:
        UsageError: an invalid address. MissingDependencyError: no such model or server.
    """
    return EndpointModel(name) if name.startswith("openai:") else Local(name)
