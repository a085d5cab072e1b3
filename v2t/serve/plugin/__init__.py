"""The vLLM plug-in: registers this project's model with vLLM's server and engine.

In: vLLM, which calls `register` in each of its processes (entry point `vllm.general_plugins`). Out: the architecture,
its configuration and processor, and a video loader under the names that vLLM looks up. Importing this costs nothing;
the model itself is named by a string and imported where it is run, since torch must not touch a device before that.
"""

from __future__ import annotations

import logging

from cineloop.errors import MissingDependencyError

ARCHITECTURE = "CineloopForConditionalGeneration"
MODEL_TYPE = "cineloop"
# The processor hooks of vLLM change from release to release: only tested versions are supported.
WINDOW = ">=0.32,<0.33"


def check_window(version: str) -> None:
    """Return if the plug-in supports this vLLM. Raises MissingDependencyError: it is not."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        inside = SpecifierSet(WINDOW).contains(Version(version), prereleases=True)
    except InvalidVersion:
        inside = False
    if not inside:
        raise MissingDependencyError(
            f"cineloop's vLLM plug-in is made for vllm {WINDOW}; vllm {version} is installed",
            hint="scripts/serve-env makes an environment that fits, or pip install 'vllm==0.32.*'",
        )


def register() -> None:
    """Registers the model with vLLM; may be called any number of times.

    Outside the window it logs a warning and registers nothing: other models of the same vLLM keep working.
    """
    import vllm

    try:
        check_window(vllm.__version__)
    except MissingDependencyError as problem:
        logging.getLogger("vllm").error("%s; %s", problem, problem.hint)
        return
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES
    from vllm import ModelRegistry

    import v2t.model  # noqa: F401  (registers configuration and processor with the Auto classes)
    import v2t.serve.plugin.loader  # noqa: F401  (registers the video loader)

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, f"v2t.serve.plugin.model:{ARCHITECTURE}")
    # The name under which vLLM finds the loader of a checkpoint without a file for the video processor.
    VIDEO_PROCESSOR_MAPPING_NAMES[MODEL_TYPE] = {"torchvision": "CineloopVideoProcessor"}
