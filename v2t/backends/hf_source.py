"""Location of a checkpoint and the files that may be loaded from it: a folder, or a hub id pinned to one commit.

In: a folder or hub id, a revision. Out: a folder on this disk that holds its small files, the revision that pins it,
its configuration, processor and weights. Cached files are used without network access; the network is used
only for missing files, and never with HF_HUB_OFFLINE. Weights are safetensors only, and code from a checkpoint is run
only on request. The model class comes from transformers' mappings, never from a model's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.errors import MissingDependencyError, PolicyError, UsageError
from cineloop.model_folder import check, load_weights
from v2t.backends.local import _read_json, revision_of

_SMALL_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_KIND = {True: "cache", False: "hub"}
_AUTO = ("AutoModelForImageTextToText", "AutoModelForMultimodalLM")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A checkpoint; `model` is as the user gave it, `local` a folder, `trust` that code of its own may be run."""

    model: str
    folder: Path
    revision: str
    local: bool
    trust: bool

    @classmethod
    def find(cls, model: str, revision: str | None, trust: bool, *, only_text: bool = False) -> ModelSource:
        """The checkpoint's small files; for a hub id from the cache, or else from the hub. `only_text`: a language
        model, which has no processor. Raises MissingDependencyError: no such checkpoint, or it cannot be reached;
        UsageError: a folder with a revision."""
        folder = Path(model)
        if folder.is_dir():
            if revision is not None:
                raise UsageError(f"revision={revision!r} pins a hub id, and {model} is a folder")
            _read_json(folder / "config.json")
            check(folder)
            _refuse_pickles(folder)
            return cls(model=model, folder=folder, revision=revision_of(folder), local=True, trust=trust)
        patterns = (*_SMALL_FILES, "*.py") if trust else _SMALL_FILES
        folder = _download(model, revision, patterns, _has_text_files if only_text else _has_small_files)
        check(folder)
        return cls(model=model, folder=folder, revision=folder.name, local=False, trust=trust)

    @property
    def load_options(self) -> dict[str, Any]:
        """Arguments of every `from_pretrained`."""
        return {"local_files_only": True, "trust_remote_code": self.trust}

    def config(self) -> Any:
        """The checkpoint's configuration. Raises PolicyError: REMOTE_CODE, it is the checkpoint's own code, which was
        not allowed; MissingDependencyError: this transformers does not know the type."""
        from transformers import CONFIG_MAPPING, AutoConfig
        from transformers import __version__ as version

        import v2t.model  # noqa: F401  registers this project's own classes, which may be on the hub too

        raw = _read_json(self.folder / "config.json")
        kind = raw.get("model_type")
        if kind not in CONFIG_MAPPING and raw.get("auto_map") and not self.trust:
            raise PolicyError(
                f"{self.model} is of a type {kind!r} that transformers {version} does not know, and brings its own "
                "code, which Cineloop never runs",
                code="REMOTE_CODE",
                hint="read that code; to run it: --set options.trust_remote_code=true",
            )
        try:
            return AutoConfig.from_pretrained(self.folder, **self.load_options)
        except Exception as error:  # a configuration class may raise anything
            raise MissingDependencyError(
                f"transformers {version} cannot read the configuration of {self.model}: {_brief(error)}",
                code="MODEL",
                hint="a newer transformers may support it",
            ) from error

    def processor(self) -> Any:
        """The checkpoint's processor. Raises MissingDependencyError: TORCHVISION or PACKAGE, it needs a missing
        package; MODEL, no processor."""
        try:
            from transformers import AutoProcessor

            return AutoProcessor.from_pretrained(self.folder, **self.load_options)
        except Exception as error:  # as above
            if "torchvision" in str(error).lower():
                raise MissingDependencyError(
                    f"the processor of {self.model} needs torchvision, built for this torch: {_brief(error, 160)}",
                    code="TORCHVISION",
                    hint="pip install torchvision, from the same place as torch; v2t doctor says what is installed",
                ) from error
            code = "PACKAGE" if isinstance(error, ImportError) else "MODEL"
            raise MissingDependencyError(f"no processor for {self.model}: {_brief(error)}", code=code) from error

    def model_class(self, config: Any) -> Any:
        """The class of the text generator: by transformers' mappings, else by the architecture the config names. Raises
        UsageError: NOT_A_CAPTIONER, the checkpoint is not a model that writes text about pictures."""
        import transformers

        remote = getattr(config, "auto_map", None) or {}
        for name in _AUTO:
            auto = getattr(transformers, name, None)
            if auto is not None and (type(config) in auto._model_mapping or (self.trust and name in remote)):
                return auto
        for name in config.architectures or ():
            model_class = getattr(transformers, name, None)
            if model_class is not None and hasattr(model_class, "generate"):
                return model_class
        for name in remote if self.trust else ():
            if name.startswith("AutoModel") and hasattr(transformers, name):
                return getattr(transformers, name)
        raise UsageError(
            f"{self.model} ({', '.join(config.architectures or ()) or type(config).__name__}) is not a model that "
            "writes text about pictures",
            code="NOT_A_CAPTIONER",
            hint="name a video or image language model",
        )

    def weights(self, config: Any, **options: Any) -> Any:
        """The model with its weights, ready to answer; `options` are of `from_pretrained`. Raises
        MissingDependencyError MODEL: weights that are missing, truncated or of another model; UNSAFE_WEIGHTS."""
        if not self.local:
            _download(self.model, self.revision, _WEIGHTS, _has_weights)
        _refuse_pickles(self.folder)
        options |= {"config": config, "trust_remote_code": self.trust}
        return load_weights(self.model_class(config), self.folder, **options)


def _download(model: str, revision: str | None, patterns: tuple[str, ...], whole: Callable[[Path], bool]) -> Path:
    """Folder of one commit of a hub id, holding the files of `patterns`: cached ones first, then the network."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted: dict[str, Any] = {"revision": revision, "allow_patterns": list(patterns)}
    reasons = []
    for cached in (True, False):
        if not cached and constants.HF_HUB_OFFLINE:
            reasons.append("the hub was not contacted, because HF_HUB_OFFLINE is set")
            break
        try:
            folder = Path(snapshot_download(model, local_files_only=cached, **wanted))
        except (OSError, ValueError, HfHubHTTPError) as error:
            is_absent = cached and isinstance(error, LocalEntryNotFoundError)
            reasons.append("it is not in the cache" if is_absent else f"{_KIND[cached]}: {_brief(error)}")
            continue
        if whole(folder) or not cached:
            return folder
        reasons.append(f"{_KIND[cached]}: some of its files are missing")
    raise MissingDependencyError(
        f"no model {model!r}{f' at revision {revision}' if revision else ''}: there is no such folder; "
        + "; ".join(reasons),
        code="MODEL",
        hint="check the name; download it once with network access (`hf download`), or name a folder",
    )


def _has_small_files(folder: Path) -> bool:
    """Whether configuration, processor and tokenizer exist: a download may have been interrupted."""
    return _has_text_files(folder) and any(folder.glob("*processor_config.json"))


def _has_text_files(folder: Path) -> bool:
    """The same for a text-only model."""
    return all(any(folder.glob(pattern)) for pattern in ("config.json", "tokenizer*"))


def _has_weights(folder: Path) -> bool:
    """Whether every file that the index names exists, or the one file of a model without index."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return all((folder / name).exists() for name in set(_read_json(index).get("weight_map", {}).values()))
    return (folder / "model.safetensors").exists()


def _refuse_pickles(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise MissingDependencyError(
            f"{folder} holds weights as pickle ({pickles[0]}), which can run code, and no *.safetensors",
            code="UNSAFE_WEIGHTS",
            hint="take a revision with safetensors, or convert the weights yourself",
        )


def _brief(error: BaseException, length: int = 400) -> str:
    """The beginning of an error on one line: those of transformers are long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:length]}"
