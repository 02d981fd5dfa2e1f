"""The command `prelim draft`: a draft for one study from files, by similar cases or by a language model.

Options in, one draft out. What is written is told at the terminal sentence by sentence as it is checked, on standard
error; the draft itself, on standard output, is what counts. Slips in the options, an index that is not there and images
that cannot be read are told before a language model is loaded.
"""

import argparse
from pathlib import Path
from typing import Final, get_args

from rich.console import Console

from generation.decoding.presets import PRESETS
from generation.draft import Draft
from generation.generators import NAMES
from generation.halt import Halt
from generation.writer import MAX_NEW_TOKENS, Fallback, Writer
from retrieval.errors import RequestError
from retrieval.records import PatientKey, PriorReport, StudyUid, ViewPosition
from retrieval.terminal import count
from service.concepts import read_input
from service.show import show_event
from service.wiring import load_writer, open_desk

PRESET: Final = "grounded"
"""How a language model is decoded when nobody says."""
_OF_A_MODEL: Final = (
    "generator", "server", "preset", "expert", "seed", "temperature", "max_new_tokens", "fallback", "device",
    "precision",
)  # fmt: skip


def add_draft_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `prelim draft` takes beside study, index, view, patient and --json."""
    parser.add_argument("--indication", metavar="TEXT", help="why the study was made, where the files do not say it")
    prior = "the report of an earlier study of the same patient, as a file or text (repeatable)"
    parser.add_argument("--prior", action="append", default=[], metavar="FILE", help=prior)
    parser.add_argument("--deadline", type=_seconds, metavar="SECONDS", help="give up when the draft takes longer")
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
    model.add_argument("--seed", type=_whole, metavar="N", help="of the draws (default: 0)")
    model.add_argument("--temperature", type=_seconds, metavar="T", help="default: 0, the most likely token")
    most = f"where a draft ends at the latest (default: {MAX_NEW_TOKENS})"
    model.add_argument("--max-new-tokens", type=count, metavar="N", help=most)
    fallback = "what to do when the language model does not answer (default: retrieval)"
    model.add_argument("--fallback", choices=get_args(Fallback), help=fallback)
    model.add_argument("--device", help="where language model and experts run (default: cpu)")
    model.add_argument("--precision", choices=("float32", "bfloat16"), help="of the language model (default: float32)")


def draft(options: argparse.Namespace, console: Console) -> Draft:
    """Read the study and draft it; sentences of a language model are told on `console` as they are written.

    Raises RequestError for options that mean nothing together.
    """
    # 1. The words of the request.
    model: str | None = options.language_model
    given = [name for name in _OF_A_MODEL if getattr(options, name) is not None]
    if given and not model:
        raise RequestError(
            f"--{given[0].replace('_', '-')} is for a language model", fix="name one with --language-model"
        )
    paths: list[Path] = options.paths
    view: ViewPosition | None = options.view
    patient_key: PatientKey | None = options.patient_key
    priors = [
        PriorReport(study_instance_uid=StudyUid(f"prior-{number}"), text=read_input(text))
        for number, text in enumerate(options.prior, 1)
    ]
    halt = Halt(options.deadline)
    # 2. The index and the images, before a language model, which takes longest to load.
    with open_desk(options.index, keep="pixels" if model else "nothing") as desk:
        study = desk.read(paths, view=view, patient_key=patient_key, indication=options.indication, priors=priors)
        writer = _writer(options, model) if model else None
        # 3. The draft.
        return desk.drafter.written_by(writer).draft(
            study, None if writer is None else lambda event: show_event(console, event), halt
        )


def _writer(options: argparse.Namespace, language_model: str) -> Writer:
    return load_writer(
        options.generator or NAMES[0],
        language_model,
        experts=options.expert or (),
        device=options.device or "cpu",
        precision=options.precision or "float32",
        preset=PRESETS[options.preset or PRESET],
        temperature=options.temperature or 0.0,
        seed=options.seed or 0,
        max_new_tokens=options.max_new_tokens or MAX_NEW_TOKENS,
        fallback=options.fallback or "retrieval",
        servers=options.server or (),
    )


def _seconds(text: str) -> float:
    """A number from 0; for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1,000,000")
    return number


def _whole(text: str) -> int:
    """A whole number from 0; for argparse."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)
