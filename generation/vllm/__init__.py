"""Contrastive decoding inside vLLM: the plugin that runs in its processes, and the generator that runs it in ours."""
