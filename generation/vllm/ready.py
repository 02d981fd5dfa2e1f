"""What has to be so before vLLM starts in this process: nothing fetched, nothing sent, and its eyes able to open.

Called by whatever starts an engine or a server, before the engine's configuration is made.
"""

import logging
import os
from collections.abc import Iterable
from typing import Final

from generation.vllm.internals import refuse_other_versions as refuse_other_versions

# Behind our own: `internals` has refused other versions of vLLM by now.
from vllm.model_executor.models.registry import ModelRegistry  # isort: skip
from vllm.platforms import current_platform  # isort: skip

_SETTINGS: Final = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}


def ready_vllm(architectures: Iterable[str]) -> None:
    """Settle this process's environment for an engine of these architectures, as config.json calls them."""
    os.environ.update(_SETTINGS)
    logging.getLogger("vllm").setLevel(os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"))
    if not current_platform.is_cpu():
        return
    # vLLM asks a new process what a class can do, so as not to wake a GPU. There torchvision would not load, and there
    # is no GPU to wake; a class that is handed in is asked here.
    for name in architectures:
        if name in ModelRegistry.models:
            ModelRegistry.register_model(name, ModelRegistry.models[name].load_model_cls())
