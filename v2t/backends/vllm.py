"""This project's own model on vLLM's engine, in this process: `--captioner vllm`, for many clips on a GPU.

In: a folder as `v2t.backends.local` takes, batches of `Frames`. Out: the answers of that captioner, from an engine
with continuous batching and a paged cache: the more conversations a call of `answer` holds, the better. Frames are
passed as arrays with their times; nothing is encoded or sampled again. If the folder holds a domain, a small copy of
the model on the CPU computes the warnings. vLLM has a separate environment (scripts/serve-env); its engine is started
by `load` and ends with `close` or the process.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from cineloop.errors import ItemError, MissingDependencyError, Notice, UsageError
from cineloop.training.runtime import check_dtype, find_dtype
from v2t.backends import COST, Conversation, Decoding, Output, VideoLM, domain, local


class Backend(VideoLM):
    """A captioner of `v2t.model` classes on vLLM (see `v2t.backends.VideoLM`).

    Args:
        model: "starter" or a folder made by `save_pretrained` of model and processor.
        device: "auto" or what the installed vLLM is built for: "cpu" or "cuda".
        dtype: "auto" (float32 on CPU, bfloat16 on CUDA), "float32", "bfloat16", "float16".
        max_model_len: tokens of prompt and answer together; None takes the model's.
        num_seqs: concurrent conversations, >= 1.
        tensor_parallel: devices the LLM is spread over.
        kv_cache_gb: size of the KV cache on a CPU, whole GiB.

    Raises:
        MissingDependencyError: vLLM is not installed, or not in a supported version; the folder is absent or
            incomplete. UsageError: a value out of range, or a model that is not this project's.
    """

    folder: Path
    batches_draws = True

    def __init__(
        self,
        model: str = "starter",
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_model_len: Annotated[int | None, COST] = None,
        num_seqs: Annotated[int, COST] = 64,
        tensor_parallel: Annotated[int, COST] = 1,
        kv_cache_gb: Annotated[int, COST] = 1,
    ) -> None:
        if find_spec("vllm") is None:
            raise MissingDependencyError(
                "needs vllm, which has a separate environment",
                hint="scripts/serve-env, then .venv-serve/bin/v2t; or another --captioner",
            )
        check_dtype(dtype)
        if min(num_seqs, tensor_parallel, kv_cache_gb, 1 if max_model_len is None else max_model_len) < 1:
            raise UsageError("max_model_len, num_seqs, tensor_parallel and kv_cache_gb must be 1 or more")
        self._local = local.Backend(model, device="cpu")
        self.name, self.about, self.revision = self._local.name, self._local.about, self._local.revision
        self.spec, self.frame_size, self.folder = self._local.spec, self._local.frame_size, self._local.folder
        self.abilities = self._local.abilities
        self.device, self.dtype = device, dtype
        self._options = {"max_num_seqs": num_seqs, "tensor_parallel_size": tensor_parallel}
        if max_model_len is not None:
            self._options["max_model_len"] = max_model_len
        self._kv_cache_gb = kv_cache_gb
        self._engine: Any = None
        self._processor: Any = None
        self._ends: set[int] = set()
        self._domain: domain.Domain | None = None

    def load(self) -> None:
        """Start the engine in this process. Raises MissingDependencyError: an unsupported version of vLLM, a device it
        is not built for, weights that do not load."""
        with self._environment():
            self._start()
        config = self._engine.llm_engine.model_config.try_get_generation_config()
        ends = config.get("eos_token_id") or []
        self._ends = set(ends if isinstance(ends, list) else [ends])
        if (self.folder / domain.FILE_NAME).exists():
            self._domain = domain.load(self.folder)
            self._local.load()

    def _start(self) -> None:
        import vllm
        from vllm.platforms import current_platform

        from v2t.model import CineloopProcessor
        from v2t.serve.plugin import check_window, register

        check_window(vllm.__version__)
        register()
        kind = current_platform.device_type
        if self.device not in ("auto", kind):
            raise MissingDependencyError(
                f"--device {self.device}: this vLLM is built for {kind!r}", hint="scripts/serve-env gpu, or cpu"
            )
        dtype = find_dtype(self.dtype, kind)
        try:
            self._processor = CineloopProcessor.from_pretrained(str(self.folder), local_files_only=True)
            self._engine = vllm.LLM(
                model=str(self.folder),
                dtype=dtype,
                enforce_eager=kind == "cpu",
                # The most videos of a conversation; the limit in practice is the prompt's length.
                limit_mm_per_prompt={"video": 64},
                **self._options,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise MissingDependencyError(f"vLLM cannot load {self.folder}: {error}", code="MODEL") from error

    def close(self) -> None:
        """End the engine and free its memory."""
        if self._engine is None:
            return
        from vllm.distributed import cleanup_dist_env_and_memory

        self._engine.llm_engine.engine_core.shutdown()
        self._engine = None
        cleanup_dist_env_and_memory()

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[Output]:
        """See `VideoLM.answer`."""
        prompts = [self._prompt(conversation) for conversation in conversations]
        try:
            results = self._engine.generate(prompts, self._sampling(decoding), use_tqdm=False)
        except self._refusals as problem:
            raise self._refusal(problem) from problem
        warnings = self._warnings(conversations)
        return [
            self._output(result.outputs[0].text, list(result.outputs[0].token_ids), len(result.prompt_token_ids), notes)
            for result, notes in zip(results, warnings, strict=True)
        ]

    def stream(self, conversation: Conversation, decoding: Decoding) -> Iterator[str | Output]:
        """See `VideoLM.stream`."""
        prompt, engine, request = self._prompt(conversation), self._engine.llm_engine, uuid.uuid4().hex
        try:
            engine.add_request(request, prompt, self._sampling(decoding, in_pieces=True))
        except self._refusals as problem:
            raise self._refusal(problem) from problem
        text = ""
        ids: list[int] = []
        prompt_tokens = 0
        try:
            while engine.has_unfinished_requests():
                for result in engine.step():
                    written, prompt_tokens = result.outputs[0], len(result.prompt_token_ids)
                    text, ids = text + written.text, [*ids, *written.token_ids]
                    if written.text:
                        yield written.text
        finally:
            engine.abort_request([request])
        yield self._output(text, ids, prompt_tokens, self._warnings([conversation])[0])

    @contextmanager
    def _environment(self) -> Iterator[None]:
        """Environment variables that vLLM reads while it is imported and started; the user's own take precedence."""
        settings = {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_CPU_KVCACHE_SPACE": str(self._kv_cache_gb),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        }
        added = {name: value for name, value in settings.items() if name not in os.environ}
        os.environ.update(added)
        try:
            yield
        finally:
            for name in added:
                os.environ.pop(name, None)

    def _prompt(self, conversation: Conversation) -> dict[str, Any]:
        from v2t.serve.plugin.loader import metadata_of

        if self._engine is None:
            raise RuntimeError("load() the captioner first")
        chat = [message.chat_turn() for message in conversation]
        text = self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        prompt: dict[str, Any] = {
            "prompt_token_ids": self._processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        }
        videos = [(frames.pixels, metadata_of(frames)) for message in conversation for frames in message.videos]
        return {**prompt, "multi_modal_data": {"video": videos}} if videos else prompt

    def _sampling(self, decoding: Decoding, *, in_pieces: bool = False) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p if decoding.temperature > 0 else 1.0,
            repetition_penalty=decoding.repetition_penalty,
            presence_penalty=decoding.presence_penalty,
            frequency_penalty=decoding.frequency_penalty,
            seed=decoding.seed if decoding.temperature > 0 else None,
            output_kind=RequestOutputKind.DELTA if in_pieces else RequestOutputKind.FINAL_ONLY,
        )

    def _output(self, text: str, ids: list[int], prompt_tokens: int, warnings: tuple[Notice, ...]) -> Output:
        ended = bool(ids) and ids[-1] in self._ends
        return Output(
            text=text,
            tokens=len(ids) - ended,
            finish="stop" if ended else "length",
            warnings=warnings,
            prompt_tokens=prompt_tokens,
        )

    def _warnings(self, conversations: Sequence[Conversation]) -> list[tuple[Notice, ...]]:
        by_conversation: list[tuple[Notice, ...]] = []
        for conversation in conversations:
            videos = [frames for message in conversation for frames in message.videos]
            if self._domain is None or not videos:
                by_conversation.append(())
                continue
            notices = self._domain.warnings(self._local.features(videos))
            by_conversation.append(tuple(dict.fromkeys(filter(None, notices))))
        return by_conversation

    @property
    def _refusals(self) -> tuple[type[Exception], ...]:
        """Exceptions of vLLM for a prompt that it cannot answer."""
        from vllm.exceptions import VLLMClientError

        return (ValueError, VLLMClientError)

    def _refusal(self, problem: Exception) -> ItemError:
        longest = self._engine.llm_engine.model_config.max_model_len
        if getattr(problem, "parameter", None) != "input_tokens" and "max_model_len" not in str(problem):
            return ItemError(f"vLLM refused a prompt: {problem}", code="PROMPT_REFUSED")
        hint = f"the engine takes {longest} tokens of prompt and answer: fewer frames, or a greater max_model_len"
        return ItemError(f"vLLM refused a prompt: {problem}", code="PROMPT_TOO_LONG", hint=hint)
