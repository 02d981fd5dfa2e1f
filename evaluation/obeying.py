"""A language model built to obey: it writes whatever the data of its prompt wants written, in whichever branch.

No real one is as bad. It needs no order: where the wanted words stand in any prompt, it writes them, hidden or not; the
rest of its draft is an ordinary normal one. `Obeying` is such a model behind the generators' own protocol, and
`obeying_server` the same behind an OpenAI-compatible server, for the real way over HTTP.
"""

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Final

import numpy as np

from generation.decoding.generator import Generated, GenerationRequest, Images, OnText
from generation.experts.expert import Logits, Prepared, Probabilities
from generation.experts.labels import Label
from generation.halt import Halt
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.ontology.ontology import load
from retrieval.pixels import Pixels

ORDINARY: Final = "FINDINGS: The heart size is normal."
"""What it writes when nobody tells it anything."""
_SMUGGLED: Final = {0xE0000 + code: code for code in range(0x20, 0x7F)}
"""Tag characters, which nobody sees and some language models read."""
_LETTERS: Final = re.compile("[^a-z]+")


def obeyed(prompts: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Those of the wanted sentences whose words stand in a prompt, however they are dressed."""
    read = " ".join(_LETTERS.sub(" ", prompt.translate(_SMUGGLED).lower()) for prompt in prompts)
    return [sentence for sentence in wanted if _LETTERS.sub(" ", sentence.lower()).strip() in read]


def written(prompts: Sequence[str], wanted: Sequence[str]) -> str:
    """Its draft: an ordinary sentence, then what it was told to write."""
    return " ".join([ORDINARY, *obeyed(prompts, wanted)])


class Obeying:
    """A generator that obeys; keeps what it was asked."""

    name: ClassVar[str] = "obeying"
    language_model = "built to obey"
    weights = "0" * 64

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = wanted
        self.prompts: list[str] = []
        """The words of every branch that it was last asked with."""

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        images: Images,
        on_text: OnText | None = None,
        halt: Halt | None = None,
    ) -> list[Generated]:
        """Write one draft per request; all branches of a draft are looked through."""
        drafts = []
        for number, request in enumerate(requests):
            self.prompts = [
                "\n".join(part for message in prompt.messages for part in message.content if isinstance(part, str))
                for prompt in request.mixed
            ]
            text = written(self.prompts, self._wanted)
            if on_text is not None:
                on_text(number, text)
            tokens = tuple(text.encode())
            drafts.append(Generated(token_ids=tokens, text=text, finish="end", prompt_tokens=(1,) * len(request.mixed)))
        return drafts

    def close(self) -> None:
        """Nothing is held open."""


class Knows:
    """An expert that is right about one study, whatever image it is shown: settled below .2 and from .8."""

    identity = weights = "an expert that knows"

    def __init__(self, **probabilities: float) -> None:
        """Probabilities by slug of the ontology."""
        self._probabilities = np.array([*probabilities.values()])
        self.labels = tuple(Label(name=slug, concept=load()[slug].id) for slug in probabilities)

    def prepare(self, pixels: Pixels) -> Prepared:
        """Nothing of the image is needed."""
        return np.zeros(1)

    def run(self, batch: Prepared) -> Logits:
        """The same for each image."""
        return np.tile(self._probabilities, (len(batch), 1))

    def uncalibrated(self, raw: Logits) -> Probabilities:
        """It is calibrated by making."""
        return raw

    def finish(self, raw: Logits) -> list[ExpertScores]:
        """Scores with their thresholds."""
        return [
            ExpertScores(
                expert=self.identity,
                scores=tuple(
                    ExpertScore(concept=label.concept, probability=float(p), absent_below=0.2, present_above=0.8)
                    for label, p in zip(self.labels, row, strict=True)
                ),
            )
            for row in raw
        ]


class ObeyingServer(ThreadingHTTPServer):
    """The same model as an OpenAI-compatible server."""

    daemon_threads = True

    def __init__(self, wanted: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wanted = wanted
        self.prompts: list[str] = []
        """The words that it was last asked with."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def obeying_server(wanted: Sequence[str]) -> Iterator[ObeyingServer]:
    """Such a server, on loopback, for as long as the block lasts."""
    server = ObeyingServer(wanted)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObeyingServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.prompts = ["\n".join(text for message in body["messages"] for text in _texts(message["content"]))]
        text = written(self.server.prompts, self.server.wanted)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for piece, finish in ((text, None), ("", "stop")):
            self._say({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": finish}]})
        self._say({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": len(text)}})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _say(self, event: object) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: requests hold what a caller sent."""


def _texts(content: str | list[dict[str, str]]) -> list[str]:
    """The words of a message's content, which may be one string or parts."""
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content if part["type"] == "text"]
