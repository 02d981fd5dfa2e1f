"""Drafts asked for by several threads, written in one call: what fills the batches of a generator in bulk.

Stands before a generator and is one itself. While a batch is being written the next one gathers; whoever asks first
waits a moment for company. Every draft is the one that its request would give alone, since a generator's batches change
nothing; a request with a fault of its own spoils nobody else's.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from generation.decoding.generator import BranchPrompt, Generated, GenerationRequest, Generator, Images, OnText
from generation.halt import Halt
from prompts.message import ImageRef, Message
from retrieval.errors import PrelimError
from retrieval.pixels import Pixels

LINGER_S: Final = 0.05
"""How long a batch that is not full waits for another request."""
LOOK_S: Final = 0.05
"""How often somebody who waits looks whether the answer is still wanted."""


@dataclass(eq=False)
class _Ticket:
    """One request that waits, and its answer."""

    request: GenerationRequest
    images: dict[str, Pixels]
    number: int
    on_text: OnText | None
    halt: Halt
    answer: Generated | BaseException | None = None
    told: int = 0
    """Characters that its caller has been told."""
    heard: int = 0
    """Characters that were written at this try; a draft begun anew tells only what is new."""

    def tell(self, text: str) -> None:
        """Pass on what the caller has not been told; a caller that fails at it fails alone."""
        self.heard += len(text)
        if self.on_text is None or self.answer is not None or (new := self.heard - self.told) <= 0:
            return
        self.told = self.heard
        try:
            self.on_text(self.number, text[-new:])
        except Exception as error:  # noqa: BLE001  it is raised where the caller waits
            self.answer = error


class Together:
    """Gathers the requests of many threads for one generator."""

    def __init__(self, generator: Generator, *, most: int = 16, linger_s: float = LINGER_S) -> None:
        """At most `most` requests are written at once."""
        self._generator = generator
        self._most = most
        self._linger_s = linger_s
        self._waiting: list[_Ticket] = []
        self._writing = False
        self._change = threading.Condition()

    @property
    def name(self) -> str:
        """That of the generator behind: it writes, and drafts say so."""
        return self._generator.name

    @property
    def language_model(self) -> str:
        """That of the generator behind."""
        return self._generator.language_model

    @property
    def weights(self) -> str:
        """Those of the generator behind."""
        return self._generator.weights

    def close(self) -> None:
        """Close the generator behind."""
        self._generator.close()

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        images: Images,
        on_text: OnText | None = None,
        halt: Halt | None = None,
    ) -> list[Generated]:
        """Write one draft per request, in the order of the requests, together with those of other threads."""
        halt = halt or Halt()
        mine = []
        for number, request in enumerate(requests):
            named = {name for prompt in request.mixed for name in prompt.images}
            shown = {name: images[name] for name in named if name in images}
            mine.append(_Ticket(request, shown, number, on_text, halt))
        with self._change:
            self._waiting += mine
            self._change.notify_all()
        try:
            # Whoever finds nobody writing writes for everybody; the others wait for their answers.
            while self._is_my_turn(mine, halt):
                try:
                    self._write(self._gathered())
                finally:
                    with self._change:
                        self._writing = False
                        self._change.notify_all()
        finally:
            with self._change:  # whoever goes away takes back what nobody has begun to write
                self._waiting = [ticket for ticket in self._waiting if ticket not in mine]
        for ticket in mine:
            if isinstance(ticket.answer, BaseException):
                raise ticket.answer
        return [ticket.answer for ticket in mine if isinstance(ticket.answer, Generated)]

    def _is_my_turn(self, mine: Sequence[_Ticket], halt: Halt) -> bool:
        """Wait for the turn to write; False once all of `mine` are answered. Raises what `halt` raises."""
        with self._change:
            while any(ticket.answer is None for ticket in mine):
                if not self._writing:
                    self._writing = True
                    return True
                self._change.wait(LOOK_S)
                halt.check()
        return False

    def _gathered(self) -> list[_Ticket]:
        """The next batch: full, or nobody has come for a moment."""
        with self._change:
            count, until = len(self._waiting), time.monotonic() + self._linger_s
            while len(self._waiting) < self._most and (left := until - time.monotonic()) > 0:
                self._change.wait(left)
                if len(self._waiting) > count:
                    until = time.monotonic() + self._linger_s
                count = len(self._waiting)
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        return batch

    def _write(self, batch: Sequence[_Ticket]) -> None:
        """Answer every ticket of a batch; where the batch fails, each half by itself."""
        if not batch:
            return
        try:
            for ticket, answer in zip(batch, self._written(batch), strict=True):
                ticket.answer = ticket.answer or answer
        except Exception as error:  # noqa: BLE001  it is raised where the caller waits
            if len(batch) == 1:
                batch[0].answer = error
                return
            half = len(batch) // 2
            self._write(batch[:half])
            self._write(batch[half:])
        except BaseException as error:  # nobody may be left waiting
            for ticket in batch:
                ticket.answer = error
            raise

    def _written(self, batch: Sequence[_Ticket]) -> list[Generated]:
        images = {f"{place} {name}": pixels for place, t in enumerate(batch) for name, pixels in t.images.items()}
        for ticket in batch:
            ticket.heard = 0
        halt = batch[0].halt if len(batch) == 1 else _AllOf([ticket.halt for ticket in batch])
        return self._generator.generate(
            [_renamed(ticket.request, str(place)) for place, ticket in enumerate(batch)],
            images,
            lambda place, text: batch[place].tell(text),
            halt,
        )


class _AllOf(Halt):
    """Gives up when every caller has: one that goes away must not end the others' drafts."""

    def __init__(self, halts: Sequence[Halt]) -> None:
        super().__init__()
        self._halts = halts

    def check(self) -> None:
        faults = []
        for halt in self._halts:
            try:
                halt.check()
            except PrelimError as error:
                faults.append(error)
        if len(faults) == len(self._halts):
            raise faults[0]


def _renamed(request: GenerationRequest, place: str) -> GenerationRequest:
    """The same request with image names of its own: every study calls its first image the same."""
    return request.model_copy(update={"branches": tuple(_prompt(prompt, place) for prompt in request.branches)})


def _prompt(prompt: BranchPrompt, place: str) -> BranchPrompt:
    messages = tuple(
        Message(
            role=message.role,
            content=tuple(
                ImageRef(name=f"{place} {part.name}") if isinstance(part, ImageRef) else part
                for part in message.content
            ),
        )
        for message in prompt.messages
    )
    return prompt.model_copy(
        update={"messages": messages, "text_images": tuple(f"{place} {name}" for name in prompt.text_images)}
    )
