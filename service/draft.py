"""The command `prelim draft`: a draft for one study from files, by similar cases or by a language model.

Options in, one draft out. What is written is told at the terminal sentence by sentence as it is checked, on standard
error; the draft itself, on standard output, is what counts. Slips in the options, an index that is not there and images
that cannot be read are told before a language model is loaded.
"""

import argparse

from rich.console import Console

from generation.draft import Draft
from generation.halt import Halt
from retrieval.records import PriorReport, StudyUid, Told
from service.concepts import read_input
from service.model_options import add_model_arguments, writer_options
from service.show import show_event
from service.wiring import loaded, open_desk


def add_draft_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `prelim draft` takes beside study, index, view, patient and --json."""
    parser.add_argument("--indication", metavar="TEXT", help="why the study was made, where the files do not say it")
    parser.add_argument("--technique", metavar="TEXT", help="how it was made, such as portable or lying down")
    parser.add_argument("--comparison", metavar="TEXT", help="which earlier studies the request names")
    prior = "the report of an earlier study of the same patient, as a file or text (repeatable, the most recent first)"
    parser.add_argument("--prior", action="append", default=[], metavar="FILE", help=prior)
    parser.add_argument("--deadline", type=_seconds, metavar="SECONDS", help="give up when the draft takes longer")
    model = add_model_arguments(parser)
    model.add_argument("--seed", type=_whole, metavar="N", help="of the draws (default: 0)")
    model.add_argument("--temperature", type=_seconds, metavar="T", help="default: 0, the most likely token")


def draft(options: argparse.Namespace, console: Console) -> Draft:
    """Read the study and draft it; sentences of a language model are told on `console` as they are written.

    Raises RequestError for options that mean nothing together.
    """
    # 1. The words of the request.
    make = writer_options(
        options, "seed", "temperature", seed=options.seed or 0, temperature=options.temperature or 0.0
    )
    priors = (
        PriorReport(study_instance_uid=StudyUid(f"prior-{number}"), text=read_input(text))
        for number, text in enumerate(options.prior, 1)
    )
    told = Told(
        indication=options.indication,
        technique=options.technique,
        comparison=options.comparison,
        priors=tuple(priors),
    )
    halt = Halt(options.deadline)
    # 2. The index and the images, before a language model, which takes longest to load.
    with open_desk(options.index, keep="pixels" if make else "nothing") as desk:
        study = desk.read(options.paths, view=options.view, patient_key=options.patient_key, told=told)
        # 3. The draft.
        if make is None:
            return desk.drafter.draft(study, halt=halt)
        with loaded(make) as writer:
            return desk.drafter.written_by(writer).draft(study, lambda event: show_event(console, event), halt)


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
