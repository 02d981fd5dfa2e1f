"""Drafts asked for by several threads, written in one call: what fills the batches of a generator in bulk.

Stands before a generator and is one itself. While a batch is being written the next one gathers; whoever asks first
waits a moment for company. Every draft is the one that its request would give alone, since a generator's batches change
nothing; a request with a fault of its own spoils nobody else's.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

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
    done: threading.Event = field(default_factory=threading.Event)
    answer: Generated | BaseException | None = None
    told: int = 0
    """Characters that its caller has been told."""
    heard: int = 0
    """Characters that were written at this try; a draft begun anew tells only what is new."""

    def tell(self, text: str) -> None:
        """Pass on what the caller has not been told."""
        self.heard += len(text)
        if self.on_text is not None and (new := self.heard - self.told) > 0:
            self.told = self.heard
            self.on_text(self.number, text[-new:])


class Together:
    """Gathers the requests of many threads for one generator."""

    name: ClassVar[str] = "together"

    def __init__(self, generator: Generator, *, most: int = 16, linger_s: float = LINGER_S) -> None:
        """At most `most` requests are written at once."""
        self._generator = generator
        self._most = most
        self._linger_s = linger_s
        self._waiting: list[_Ticket] = []
        self._arrived = threading.Condition()
        self._turn = threading.Lock()

    @property
    def language_model(self) -> str:
        """That of the generator behind."""
        return self._generator.language_model

    @property
    def weights(self) -> str:
        """Those of the generator behind."""
        return self._generator.weights

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        images: Images,
        on_text: OnText | None = None,
        halt: Halt | None = None,
    ) -> list[Generated]:
        """Write one draft per request, in the order of the requests, together with those of other threads."""
        halt = halt or Halt()
        mine = [_Ticket(request, {}, number, on_text, halt) for number, request in enumerate(requests)]
        for ticket in mine:
            named = {name for prompt in ticket.request.mixed for name in prompt.images}
            ticket.images = {name: images[name] for name in named if name in images}
        with self._arrived:
            self._waiting += mine
            self._arrived.notify_all()
        while not all(ticket.done.is_set() for ticket in mine):
            # Whoever gets the turn writes for everybody; the others wait for their answers.
            if self._turn.acquire(timeout=LOOK_S):
                try:
                    if not all(ticket.done.is_set() for ticket in mine):
                        self._write(self._gathered())
                finally:
                    self._turn.release()
            else:
                self._leave_if_unwanted(mine)
        answers = [ticket.answer for ticket in mine]
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if isinstance(answer, Generated)]

    def _leave_if_unwanted(self, mine: Sequence[_Ticket]) -> None:
        """Raise what `halt` raises, after taking back what nobody has begun to write."""
        try:
            mine[0].halt.check()
        except PrelimError:
            with self._arrived:
                self._waiting = [ticket for ticket in self._waiting if ticket not in mine]
            raise

    def _gathered(self) -> list[_Ticket]:
        """The next batch: full, or nobody has come for a moment."""
        with self._arrived:
            until = time.monotonic() + self._linger_s
            while len(self._waiting) < self._most and (left := until - time.monotonic()) > 0:
                if self._arrived.wait(left):
                    until = time.monotonic() + self._linger_s
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        return batch

    def _write(self, batch: Sequence[_Ticket]) -> None:
        """Answer every ticket of a batch; where the batch fails, each one by itself."""
        try:
            for ticket, answer in zip(batch, self._written(batch), strict=True):
                ticket.answer = answer
        except PrelimError as error:
            if len(batch) > 1:
                for ticket in batch:
                    self._write([ticket])
                return
            batch[0].answer = error
        except BaseException as error:  # nobody may be left waiting
            for ticket in batch:
                ticket.answer = error
            raise
        finally:
            for ticket in batch:
                if ticket.answer is not None:
                    ticket.done.set()

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
