"""HTTP client of `v2t.backends.openai`: one server, called through the `openai` client from many threads.

In: an address, JSON bodies. Out: JSON objects, or the events of a stream; `ItemError` when a request cannot be
answered, `MissingDependencyError` when no request could be. The client retries after 408, 409, 429, 5xx
and broken connections (exponential back-off, Retry-After). The key is read from the environment when a request is sent
and never stored; it is redacted from the server's replies.
"""

from __future__ import annotations

import math
import os
import re
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cineloop.documents import parse_json
from cineloop.errors import CineloopError, ItemError, MissingDependencyError, UsageError
from cineloop.log import printable
from cineloop.retry import retry, retry_after_s

T = TypeVar("T")
_SPENT = "insufficient_quota"
# Headers that are sent; the last one tells the client which type its caller wants back.
_HEADERS = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "proxy-authorization"}
_HEADERS |= {"transfer-encoding", "x-request-id", "x-stainless-raw-response"}
_MOST_WORDS = 8192  # characters of a refusal
_PAUSE_S = 5.0  # after a 429 that outlasts the client's own retries and gives no Retry-After
_KEY_LIKE = re.compile(r"\b(?:sk|pk|hf|key)[-_][\w*.-]{6,}|\bBearer\s+\S+", re.IGNORECASE)
_OUR_ID = re.compile(r"v2t-[0-9a-f]{32}")


class Refusal(ItemError):
    """The server will not answer this request, now or later (400, 413, 422 …).

    Attributes:
        param: the parameter it names.
        status, words: of its response; the words are as it sent them, never to be shown.
    """

    param: str | None = None
    status: int = 400
    words: str = ""


class BadReply(Exception):
    """A reply that is not a usable answer; the request is sent again."""


@dataclass(eq=False)
class Endpoint:
    """One server. All methods may be called from many threads.

    Args:
        url: "http(s)://host[:port]/path" without user, query or fragment.
        key_env: the environment variable that holds the key; without it none is sent.
        connect_s, read_s: for a connection, and the longest silence during an answer, > 0.
        total_s: how long a request waits for a rate limit (429) to end, > 0.
        retries: after any other failure, >= 0.
        use_env_proxy: use the proxy that HTTP(S)_PROXY and NO_PROXY name. TLS trusts the system's certificates
            or those of SSL_CERT_FILE.

    Raises:
        UsageError: a number out of range.
    """

    url: str
    _: KW_ONLY
    key_env: str
    connect_s: float
    read_s: float
    total_s: float
    retries: int
    use_env_proxy: bool

    def __post_init__(self) -> None:
        for name in ("connect_s", "read_s", "total_s"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 < value < math.inf:
                raise UsageError(f"{name} must be a number greater than 0, got {value!r}")

    def card(self, model: str) -> dict[str, Any]:
        """The entry of a model in the server's list, of the only one for ""; empty where the server has no list and a
        name is given. Raises MissingDependencyError: no server, or no such model; UsageError: several models and no
        name."""
        try:  # fewer retries and a shorter timeout than for an answer
            listed = self._with_retries(
                lambda client: _object(client.models.with_raw_response.list()), retries=2, total_s=20.0
            ).get("data")
        except MissingDependencyError as problem:
            if problem.code != "SERVER_MODEL" or not model:
                raise
            return {}  # it has no list
        except ItemError as problem:
            raise MissingDependencyError(problem.message, code="SERVER", hint="is it running?") from None
        cards = {
            card["id"]: card
            for card in (listed if isinstance(listed, list) else [])
            if isinstance(card, dict) and isinstance(card.get("id"), str) and card["id"].isprintable() and card["id"]
        }
        names = self.redact(", ".join(list(cards)[:20]), 1000)
        if model:
            if model not in cards and any("cineloop" in card for card in cards.values()):
                # A `v2t serve` lists every model it serves; other servers may serve unlisted ones.
                raise MissingDependencyError(
                    f"{self.url} serves no model {model!r}; it serves {names}",
                    code="SERVER_MODEL",
                    hint="choose one: openai:URL#model",
                )
            return cards.get(model, {})
        # Adapters are listed next to their base, which is the default.
        bases = [card for card in cards.values() if not card.get("parent")]
        if len(bases) == 1:
            return bases[0]
        if cards:
            raise UsageError(f"{self.url} serves several models: {names}", hint="name one: openai:URL#model")
        raise MissingDependencyError(
            f"{self.url} lists no model", code="SERVER_MODEL", hint="name it: openai:URL#model"
        )

    def post(self, body: dict[str, Any], read: Callable[[dict[str, Any]], T], *, retries: int | None = None) -> T:
        """Post a chat completion and return `read(reply)`; `read` may raise BadReply.

        Raises:
            Refusal: a request the server will not take. ItemError: SERVER_ERROR, no usable reply.
            MissingDependencyError: every request would fail (key, address, model).
        """

        def send(client: Any) -> T:
            ours = f"v2t-{uuid.uuid4().hex}"  # vLLM and others put it into their answer's id
            given = {**_arguments(body), "extra_headers": {"X-Request-Id": ours}}
            response = client.chat.completions.with_raw_response.create(**given)
            reply = _object(response)
            if any(id_ != ours for id_ in _OUR_ID.findall(f"{reply.get('id')} {response.headers.get('X-Request-Id')}")):
                raise BadReply("the answer to another request")
            return read(reply)

        return self._with_retries(send, retries=self.retries if retries is None else min(retries, self.retries))

    def transcribe(self, form: dict[str, Any], read: Callable[[dict[str, Any]], T]) -> T:
        """Post a form to audio/transcriptions and return `read(reply)`; errors as of `post`."""

        def send(client: Any) -> T:
            return read(_object(client.audio.transcriptions.with_raw_response.create(**form)))

        return self._with_retries(send, retries=self.retries)

    def stream(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a reply. Retried until it begins; closing the generator closes the connection."""
        import openai

        def begin(client: Any) -> Any:
            return client.chat.completions.create(stream=True, **_arguments(body))

        events = self._with_retries(begin)
        is_over, problem = False, "the stream ended before the answer did"
        try:
            with events:
                for chunk in events:
                    if not isinstance(chunk, openai.BaseModel):
                        raise ValueError(f"an event that is not a JSON object: {str(chunk)[:60]!r}")
                    event: dict[str, Any] = chunk.to_dict(warnings=False)
                    choices = event.get("choices") or ()
                    is_over = is_over or any(isinstance(c, dict) and c.get("finish_reason") for c in choices)
                    yield event
        except (openai.OpenAIError, ValueError) as error:
            is_over, problem = False, _message(error)
        if not is_over:
            raise ItemError(f"the answer broke off: {self.redact(problem)}", code="SERVER_ERROR", hint="ask again")

    def redact(self, text: str, limit: int = 300) -> str:
        """`text` on one line without the key or anything that looks like one, cut to `limit`."""
        if key := self.key():
            text = text.replace(key, "[key]")
        return printable(_KEY_LIKE.sub("[key]", text), limit)

    @property
    def has_key(self) -> bool:
        """Whether a key is set."""
        return bool(self.key())

    def without_key(self, text: str) -> str:
        """`text` without the key, in case a server repeats it."""
        key = self.key()
        return text.replace(key, "[key]") if len(key) >= 8 else text

    def key(self) -> str:
        """The key, "" where none is set. Raises UsageError: the variable holds what no key is."""
        key = os.environ.get(self.key_env, "").strip()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError(f"the environment variable {self.key_env} holds no key: expected ASCII without spaces")
        return key

    @cached_property
    def _client(self) -> Any:
        import openai

        http = openai.DefaultHttpxClient(
            trust_env=self.use_env_proxy,
            verify=ssl.create_default_context(),
            follow_redirects=False,
            event_hooks={"request": [self._set_headers]},
        )
        return openai.OpenAI(
            api_key="set when a request is sent",
            base_url=self.url,
            timeout=openai.Timeout(self.read_s, connect=self.connect_s),
            http_client=http,
        )

    def _set_headers(self, request: Any) -> None:
        """Set the headers a request needs, and the current key: nothing of OpenAI's accounts or OPENAI_CUSTOM_HEADERS,
        which are meant for another server, and nothing about this machine."""
        for name in list(request.headers):
            if name.lower() not in _HEADERS:
                del request.headers[name]
        request.headers["User-Agent"] = "cineloop"
        if key := self.key():
            request.headers["Authorization"] = f"Bearer {key}"

    def _with_retries(self, send: Callable[[Any], T], *, retries: int | None = None, total_s: float | None = None) -> T:
        """The result of `send(client)`; retried after an unusable reply and while a rate limit lasts."""
        import openai

        retries = self.retries if retries is None else retries
        deadline = time.monotonic() + min(self.total_s, total_s or math.inf)
        client, bad_replies = self._client.with_options(max_retries=retries), 0

        def pause_s(error: Exception, _: int) -> float | None:
            """The client has no retries for replies that it takes for good, and gives up a rate limit too early."""
            nonlocal bad_replies
            if isinstance(error, BadReply):
                bad_replies += 1
                return 0.0 if bad_replies <= retries else None
            if not isinstance(error, openai.RateLimitError) or _problem(error.response.text)["code"] == _SPENT:
                return None
            wait_s = retry_after_s(error.response.headers.get("Retry-After"), _PAUSE_S)
            return wait_s if time.monotonic() + wait_s < deadline else None

        try:
            return retry(lambda: send(client), pause_s)
        except (BadReply, openai.OpenAIError) as error:
            problem = error
        raise self._error_of(problem)  # outside the except block: no exception context repeats the server's text

    def _error_of(self, error: Exception) -> CineloopError:
        """A client exception as a Cineloop error."""
        import openai

        cause = error.__cause__ or error
        if isinstance(error, openai.APIStatusError):
            return self._status_error(error.status_code, error.response)
        if "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return MissingDependencyError(
                f"{self.url} shows a certificate that is not trusted: {_message(cause)}",
                code="SERVER",
                hint="name the file of your authority in SSL_CERT_FILE",
            )
        return self._unusable_reply(self.redact(_message(cause)))

    def _unusable_reply(self, reason: str) -> ItemError:
        return ItemError(
            f"no usable answer from {self.url}: {reason}",
            code="SERVER_ERROR",
            hint="run again with --retry-failed once the server works",
        )

    def _status_error(self, status: int, response: Any) -> CineloopError:
        """The error for a status other than 200."""
        if 300 <= status < 400:
            return MissingDependencyError(
                f"{self.url} redirects to {self.redact(response.headers.get('Location') or 'nowhere')}",
                code="SERVER",
                hint="redirects are not followed; give the final address",
            )
        body = _problem(response.text)
        text = f"{self.url} answers {status}: {self.redact(body['message'] or response.reason_phrase)}"
        is_spent = status == 402 or body["code"] == _SPENT
        if status in (401, 403) or is_spent:
            hint = (
                "the quota is used up; extend it"
                if is_spent
                else f"put a valid key into the environment variable {self.key_env}"
            )
            return MissingDependencyError(text, code="SERVER_KEY", hint=hint)
        if status in (404, 405):
            hint = "check the address (it mostly ends in /v1) and the model's name: openai:URL#model"
            return MissingDependencyError(text, code="SERVER_MODEL", hint=hint)
        if status in (408, 409, 425, 429) or status >= 500:
            return self._unusable_reply(text)
        code, hint = "BAD_REQUEST", ""
        if status == 413:
            code, hint = "TOO_LARGE", "fewer --frames, or a smaller options.max_side or options.quality"
        refusal = Refusal(text, code=code, hint=hint)
        refusal.param = body["param"] or None
        refusal.status, refusal.words = status, response.text[:_MOST_WORDS]
        return refusal


def address_of(model: str) -> tuple[str, str]:
    """(URL, model's name or "") of "openai:URL[#model]". Invalid input is not repeated in errors: it may hold a key.

    Raises:
        UsageError: no such address, or one with a user, password or query.
    """
    url, _, name = model.removeprefix("openai:").partition("#")
    try:
        parts = urlsplit(url)
        is_usable = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        is_usable = False
    if not is_usable or not url.isascii() or not url.isprintable() or " " in url or not name.isprintable():
        raise UsageError("expected openai:URL[#model], such as openai:http://localhost:8000/v1#my-model")
    if "@" in parts.netloc or parts.query:
        raise UsageError(
            "the address must hold no user, password or query",
            hint="put the key into the environment variable OPENAI_API_KEY, or name another by options.api_key_env",
        )
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path.removesuffix('/chat/completions')}", name


def _arguments(body: dict[str, Any]) -> dict[str, Any]:
    """A request's body as arguments of the client, which knows only some fields."""
    rest = {name: value for name, value in body.items() if name not in ("model", "messages")}
    return {"model": body["model"], "messages": body["messages"], "extra_body": rest}


def _object(response: Any) -> dict[str, Any]:
    try:
        reply = parse_json(response.content)
    except ValueError:
        raise BadReply("not JSON") from None
    if not isinstance(reply, dict):
        raise BadReply(f"not a JSON object but {type(reply).__name__}")
    return reply


def _problem(text: str) -> dict[str, str]:
    """Message, code and param of an error body; each may be empty."""
    try:
        body = parse_json(text)
    except ValueError:
        body = None
    if isinstance(body, dict):
        body = body.get("error") or body
    if not isinstance(body, dict):
        return {"message": str(body or text), "code": "", "param": ""}
    message = body.get("message") or body.get("detail") or text
    return {"message": str(message), "code": str(body.get("code") or ""), "param": str(body.get("param") or "")}


def _message(error: BaseException) -> str:
    return str(error) or type(error).__name__
