"""A prompt as OpenAI-compatible servers take it: messages with images inside, finished text, or tokens.

In: a branch's prompt and the images' arrays. Out: the part of a request's body that holds the prompt, and the path it
goes to. What is checked here needs no server; how long a prompt is, and whether the model sees, is for the server to
say.
"""

import base64
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from generation.decoding.generator import BranchPrompt, Images
from prompts.message import ImageRef, Message
from retrieval.errors import InvalidPrompt
from retrieval.pixels import Pixels

CHAT: Final = "/v1/chat/completions"
"""Where messages go."""
TEXT: Final = "/v1/completions"
"""Where finished text and tokens go."""

_MARKUP: Final = re.compile(
    r"<\|[^<>|\n]{1,40}\|>"
    r"|</?(?:s|bos|eos|pad|unk|img|image|image_soft_token|(?:start|end)_of_(?:turn|image)|unused\d+)>"
    r"|<<\/?SYS>>|\[/?(?:INST|IMG|IMG_BREAK|IMG_END|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)
"""Control tokens of the model families in use. This side does not have the model's own list."""


def check_prompt(prompt: BranchPrompt, images: Images) -> None:
    """Raises InvalidPrompt for what no server would have to be asked about."""
    for message in prompt.messages:
        _refuse_markup(message, prompt)
    if prompt.text_images:
        raise InvalidPrompt(
            f"the prompt of branch {prompt.branch} is finished text with images, which servers do not take",
            fix="hand it in as messages: the server has the model's chat template",
        )
    for name in prompt.images:
        if name not in images:
            raise InvalidPrompt(
                f"branch {prompt.branch} names an image that was not handed in", fix="hand in one array for each name"
            )
        grey = images[name]
        if grey.ndim != 2 or not grey.size or not np.isfinite(grey).all():
            raise InvalidPrompt(f"an image of branch {prompt.branch} is not a grey image of finite numbers")


def body_of(prompts: Sequence[BranchPrompt], images: Images) -> list[tuple[str, dict[str, object]]]:
    """For each prompt the path it goes to and what stands for it in the body; each image is encoded once."""
    pictures = {name: data_url(images[name]) for name in dict.fromkeys(n for prompt in prompts for n in prompt.images)}
    return [
        (CHAT, {"messages": [_turn(message, pictures) for message in prompt.messages]})
        if prompt.messages
        else (TEXT, {"prompt": prompt.text or list(prompt.token_ids)})
        for prompt in prompts
    ]


def data_url(pixels: Pixels) -> str:
    """A grey image as a PNG of three equal channels of 8 bits, as every model's own processor gets it here, too."""
    grey = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    rows, columns = grey.shape
    lines = np.zeros((rows, 1 + 3 * columns), np.uint8)
    lines[:, 0] = 2  # PNG's filter "up": each row as its difference to the one above
    lines[:, 1:] = np.repeat(np.diff(grey, axis=0, prepend=np.zeros((1, columns), np.uint8)), 3, axis=1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    body = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(lines.tobytes(), 1)), _chunk(b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(body)).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _turn(message: Message, pictures: Mapping[str, str]) -> dict[str, object]:
    if all(isinstance(part, str) for part in message.content):
        # One text as such: templates of text models join strings, and vLLM turns it into parts where they want parts.
        return {"role": message.role, "content": "".join(part for part in message.content if isinstance(part, str))}
    return {
        "role": message.role,
        "content": [
            {"type": "image_url", "image_url": {"url": pictures[part.name]}}
            if isinstance(part, ImageRef)
            else {"type": "text", "text": part}
            for part in message.content
        ],
    }


def _refuse_markup(message: Message, prompt: BranchPrompt) -> None:
    """Words of a report or a request must never become the model's own control tokens."""
    for part in message.content:
        if isinstance(part, str) and (found := _MARKUP.search(part)):
            raise InvalidPrompt(
                f"a {message.role} message of branch {prompt.branch} holds the control token {found.group()!r}",
                fix="clean what comes from reports, tags and requests before it enters a prompt",
            )
