"""The options of a language model that drafts, alike for `prelim draft` and `prelim serve`.

Options in, a writer out. Without `--language-model` there is none, and no option that is for one means anything.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Final, get_args

from generation.decoding.presets import PRESETS
from generation.generators import NAMES, REMOTE
from generation.together import LINGER_S, Together
from generation.writer import MAX_NEW_TOKENS, Fallback, Writer
from retrieval.errors import RequestError
from retrieval.terminal import count
from service.wiring import load_writer

PRESET: Final = "grounded"
"""How a language model is decoded when nobody says."""
_OPTIONS: Final = ("generator", "server", "preset", "expert", "max_new_tokens", "fallback", "device", "precision")


def add_model_arguments(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add what a language model takes; returns the group, for options of one draft alone."""
    model = parser.add_argument_group("a language model writes", "without one, sentences of similar cases are copied")
    model.add_argument("--language-model", metavar="FOLDER", help="folder or hub id of a vision-language model")
    model.add_argument("--generator", choices=NAMES, help=f"the engine (default: {NAMES[0]})")
    server = (
        "a server of --generator vllm-http or openai, as http://host:8000 (repeatable; its key: $PRELIM_GENERATOR_KEY)"
    )
    model.add_argument("--server", action="append", metavar="URL", help=server)
    model.add_argument("--preset", choices=tuple(PRESETS), help=f"how branches are mixed (default: {PRESET})")
    expert = "classifier of findings that is asked, as xrv:FOLDER or zero-shot:open_clip:FOLDER (repeatable)"
    model.add_argument("--expert", action="append", metavar="NAME", help=expert)
    most = f"where a draft ends at the latest (default: {MAX_NEW_TOKENS})"
    model.add_argument("--max-new-tokens", type=count, metavar="N", help=most)
    fallback = "what to do when the language model does not answer (default: retrieval)"
    model.add_argument("--fallback", choices=get_args(Fallback), help=fallback)
    model.add_argument("--device", help="where language model and experts run (default: cpu)")
    model.add_argument("--precision", choices=("float32", "bfloat16"), help="of the language model (default: float32)")
    return model


def writer_options(
    options: argparse.Namespace, *of_one_draft: str, seed: int = 0, temperature: float = 0.0
) -> Callable[[], Writer] | None:
    """What loads the writer that the options name; None without a language model.

    `of_one_draft` names further options that are for a language model. Raises RequestError for one without a model.
    """
    language_model: str | None = options.language_model
    if not language_model:
        given = [name for name in (*_OPTIONS, *of_one_draft) if getattr(options, name) is not None]
        if given:
            option = f"--{given[0].replace('_', '-')}"
            raise RequestError(f"{option} is for a language model", fix="name one with --language-model")
        return None
    return lambda: load_writer(
        options.generator or NAMES[0],
        language_model,
        experts=options.expert or (),
        device=options.device or "cpu",
        precision=options.precision or "float32",
        preset=PRESETS[options.preset or PRESET],
        temperature=temperature,
        seed=seed,
        max_new_tokens=options.max_new_tokens or MAX_NEW_TOKENS,
        fallback=options.fallback or "retrieval",
        servers=options.server or (),
    )


def in_batches(load: Callable[[], Writer], most: int, linger_s: float = LINGER_S) -> Callable[[], Writer]:
    """The same, for several threads: an engine of this process writes at most `most` drafts in one batch.

    A server batches by itself what many threads send it, and an engine is no use to several threads one by one.
    """

    def loaded() -> Writer:
        writer = load()
        if writer.generator.name in REMOTE:
            return writer
        return replace(writer, generator=Together(writer.generator, most=most, linger_s=linger_s))

    return loaded
