"""Images that are no chest radiograph, to hold the gate to its word: drawn from nothing, or real ones spoilt.

Two doors. `off_scope_images` draws blanks, patterns, pages, scenes and procedural look-alikes of other radiology (a
hand, a knee, a skull, a CT slice, an ultrasound fan ...). `corrupted` spoils a chest image handed in at run time so
that nobody could draft from it. Both answer the same for the same seed. The look-alikes are soft shapes, easier than a
real hand or knee: a gate that lets them pass is bad, one that stops them is not thereby proven. A mirrored, turned or
inverted chest is still a chest radiograph, so `turned` is kept apart.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import affine_transform, gaussian_filter, zoom

Grey = NDArray[np.uint8]
Plane = NDArray[np.floating]
SIDE = 384
"""Rows and columns of a drawing before some are cut to another shape."""
_Y, _X = (np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + 0.5) / SIDE


def _grey(plane: NDArray[np.floating]) -> Grey:
    return np.asarray(255 * np.clip(plane, 0, 1), np.uint8)


def _cloud(rng: np.random.Generator, slope: float) -> Plane:
    """1/f^slope noise, mean 0, deviation 1: 0 is white noise, 1 pink, 2 and more clouds."""
    f = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    f[0, 0] = 1.0
    plane = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) / f**slope, (SIDE, SIDE))
    return np.asarray((plane - plane.mean()) / plane.std(), np.float32)


def _disc(x: float, y: float, rx: float, ry: float, soft: float = 0.04) -> Plane:
    """A soft ellipse, 1 inside; centre and radii in fractions of the side."""
    r = np.hypot((_X - x) / rx, (_Y - y) / ry)
    return np.asarray(np.clip((1 - r) / soft, 0, 1), np.float32)


def _ring(x: float, y: float, rx: float, ry: float, wall: float) -> Plane:
    return _disc(x, y, rx, ry) - _disc(x, y, rx * (1 - wall), ry * (1 - wall))


def _bone(x0: float, y0: float, x1: float, y1: float, width: float) -> Plane:
    """A long bone: a bright cortex around a darker marrow, thicker at both ends."""
    dx, dy = x1 - x0, y1 - y0
    t = np.clip(((_X - x0) * dx + (_Y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
    d = np.hypot(_X - x0 - t * dx, _Y - y0 - t * dy) / (width * (1 + 0.5 * (2 * t - 1) ** 4))
    return np.asarray(np.clip((1 - d) / 0.1, 0, 1) * (0.6 + 0.4 * np.clip(d, 0, 1) ** 4), np.float32)


def _exposed(rng: np.random.Generator, plane: Plane) -> Plane:
    """What a detector makes of it: laid somewhat askew, with scatter, texture, grain and another exposure."""
    angle, scale = rng.normal(0, 0.15), rng.uniform(0.7, 1.15)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = SIDE / 2
    plane = affine_transform(plane, turn, middle - turn @ (middle + rng.uniform(-30, 30, 2)), order=1, mode="nearest")
    soft = gaussian_filter(plane, float(rng.uniform(0.6, 2.0))) + 0.1 * gaussian_filter(plane, 20)
    soft = soft * (1 + 0.05 * _cloud(rng, 1.2)) + rng.normal(0, 0.015, plane.shape)
    return np.asarray(soft * rng.uniform(0.75, 1.1) + rng.uniform(0, 0.06), np.float32)


def _blank(rng: np.random.Generator) -> Plane:
    return np.full((SIDE, SIDE), rng.choice([0.0, 0.0, 0.5, 1.0]), np.float32) + rng.normal(0, 0.004, (SIDE, SIDE))


def _gradient(rng: np.random.Generator) -> Plane:
    angle, radial = rng.uniform(0, 6.3), np.hypot(_X - rng.uniform(0.3, 0.7), _Y - rng.uniform(0.3, 0.7))
    return np.asarray(rng.choice([radial * 1.4, 0.5 + 0.6 * ((_X - 0.5) * np.cos(angle) + (_Y - 0.5) * np.sin(angle))]))


def _noise(rng: np.random.Generator) -> Plane:
    return 0.5 + 0.2 * _cloud(rng, float(rng.choice([0.0, 0.5, 1.0, 1.5, 2.0])))


def _page(rng: np.random.Generator) -> Plane:
    page = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(page)
    words = [
        "the",
        "patient",
        "was",
        "seen",
        "in",
        "clinic",
        "today",
        "and",
        "reports",
        "no",
        "new",
        "symptoms",
        "since",
        "discharge",
    ]
    for y in range(int(rng.integers(8, 60)), SIDE - 20, int(rng.integers(13, 24))):
        if rng.random() < 0.85:
            pen.text((int(rng.integers(10, 30)), y), " ".join(rng.choice(words, int(rng.integers(2, 13)))), fill=20)
    plane = np.asarray(page, np.float32) / 255
    return plane if rng.random() < 0.7 else 1 - plane


def _scene(rng: np.random.Generator) -> Plane:
    """A photograph's grey: sky, hills, boxes, with a lens's fall-off."""
    horizon = 0.35 + 0.2 * rng.random() + 0.04 * _cloud(rng, 2.0)[0][None]
    plane = np.where(horizon > _Y, 0.8 - 0.4 * _Y, 0.35 + 0.1 * _cloud(rng, 1.0)).astype(np.float32)
    for _ in range(int(rng.integers(2, 9))):
        x, y, w, h = rng.uniform(0, 0.9), rng.uniform(0.2, 0.9), rng.uniform(0.03, 0.3), rng.uniform(0.03, 0.4)
        box = (np.abs(_X - x) < w / 2) & (np.abs(_Y - y) < h / 2)
        plane = np.where(box, rng.random() + 0.05 * _cloud(rng, 1.0), plane)
    return np.asarray(gaussian_filter(plane, 0.8) * (1.1 - 0.6 * np.hypot(_X - 0.5, _Y - 0.5)), np.float32)


def _checkerboard(rng: np.random.Generator) -> Plane:
    n, low = int(rng.integers(2, 24)), rng.uniform(0, 0.4)
    return np.asarray(low + (0.95 - low) * ((np.floor(_X * n) + np.floor(_Y * n)) % 2), np.float32)


def _stripes(rng: np.random.Generator) -> Plane:
    angle = rng.uniform(0, 3.14)
    wave = np.sin((_X * np.cos(angle) + _Y * np.sin(angle)) * 6.283 * rng.uniform(2, 40))
    return np.asarray(0.5 + 0.45 * (wave if rng.random() < 0.5 else np.sign(wave)), np.float32)


def _hand(rng: np.random.Generator) -> Plane:
    plane, bones = 0.3 * _disc(0.5, 0.68, 0.2, 0.2), np.zeros((SIDE, SIDE), np.float32)
    for finger, tip in enumerate(np.array([0.42, 0.16, 0.1, 0.15, 0.26]) + rng.uniform(-0.02, 0.02, 5)):
        x1, x0 = 0.14 + 0.18 * finger, 0.36 + 0.07 * finger
        plane = np.maximum(plane, 0.3 * np.clip(3 * _bone(x0, 0.7, x1, tip, 0.045), 0, 1))
        joints = [(x0 + (x1 - x0) * t, 0.7 + (tip - 0.7) * t) for t in (0.0, 0.38, 0.42, 0.66, 0.7, 0.95)]
        for (ax, ay), (bx, by) in zip(joints[::2], joints[1::2], strict=True):
            bones = np.maximum(bones, _bone(ax, ay, bx, by, 0.018))
    for x in (0.44, 0.55):
        plane = np.maximum(plane, 0.3 * (_disc(x, 0.95, 0.1, 0.25)))
        bones = np.maximum(bones, _bone(x, 0.82, x, 1.1, 0.03))
    return _exposed(rng, plane + 0.5 * bones)


def _knee(rng: np.random.Generator) -> Plane:
    lean, gap = rng.uniform(-0.06, 0.06), rng.uniform(0.012, 0.03)
    flesh = 0.32 * _disc(0.5, 0.5, rng.uniform(0.24, 0.34), 0.9, 0.2)
    bones = np.maximum(_bone(0.5 + lean, -0.2, 0.5, 0.44, 0.085), _bone(0.5, 0.56 + gap, 0.5 - lean, 1.2, 0.075))
    for x in (0.41, 0.59):
        bones = np.maximum(bones, np.maximum(_disc(x, 0.44, 0.1, 0.07, 0.2), _disc(x, 0.56 + gap, 0.1, 0.045, 0.2)))
    return _exposed(rng, flesh + 0.45 * np.maximum(bones, _bone(0.68, 0.64, 0.66, 1.2, 0.028)))


def _spine(rng: np.random.Generator) -> Plane:
    plane, bend = 0.45 * _disc(0.5, 0.5, 0.34, 0.9, 0.3), rng.uniform(-0.12, 0.12)
    for y in np.arange(-0.05, 1.05, rng.uniform(0.12, 0.17)).tolist():
        x = 0.5 + bend * math.sin(3.1 * y)
        plane = plane + 0.3 * _disc(x, y, 0.11, 0.055, 0.25) + 0.12 * _ring(x, y, 0.03, 0.02, 0.5)
        plane = plane + 0.1 * _disc(x - 0.15, y, 0.08, 0.015, 0.5) + 0.1 * _disc(x + 0.15, y, 0.08, 0.015, 0.5)
    return _exposed(rng, plane)


def _skull(rng: np.random.Generator) -> Plane:
    plane = (
        0.4 * _disc(0.5, 0.42, 0.34, 0.38)
        + 0.4 * _ring(0.5, 0.42, 0.34, 0.38, 0.08)
        + 0.35 * _disc(0.5, 0.8, 0.2, 0.17)
    )
    for x in (0.37, 0.63):
        plane = plane - 0.25 * _disc(x, 0.5, 0.09, 0.075) + 0.3 * _ring(x, 0.5, 0.09, 0.075, 0.2)
    plane = plane - 0.2 * _disc(0.5, 0.6, 0.045, 0.09)
    teeth = (np.abs(_Y - 0.79) < 0.045) * (np.abs(_X - 0.5) < 0.13) * (np.sin(_X * rng.uniform(150, 220)) > -0.4)
    return _exposed(rng, plane + 0.25 * teeth)


def _pelvis(rng: np.random.Generator) -> Plane:
    plane = 0.4 * _disc(0.5, 0.55, 0.5, 0.62, 0.2) + 0.25 * _disc(0.5, 0.3, 0.09, 0.2, 0.3)
    for side in (-1, 1):
        plane = (
            plane
            + 0.25 * _disc(0.5 + side * 0.24, 0.34, 0.17, 0.2, 0.1)
            + 0.25 * _disc(0.5 + side * 0.31, 0.62, 0.06, 0.06)
        )
        plane = plane + 0.25 * _bone(0.5 + side * 0.31, 0.62, 0.5 + side * 0.38, 1.1, 0.06)
        plane = plane + 0.25 * _ring(0.5 + side * 0.12, 0.76, 0.1, 0.08, 0.35)
    return _exposed(rng, plane)


def _abdomen(rng: np.random.Generator) -> Plane:
    plane = 0.5 * _disc(0.5, 0.5, 0.46, 0.62, 0.3)
    for y in np.arange(0.0, 0.8, 0.14).tolist():
        plane = plane + 0.22 * _disc(0.5, y, 0.075, 0.05, 0.3)
    for _ in range(int(rng.integers(6, 16))):
        x, y, r = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.85), rng.uniform(0.03, 0.08)
        plane = plane - 0.2 * _disc(x, y, r, r * rng.uniform(0.6, 1.4), 0.4)
    return _exposed(rng, plane + 0.2 * _disc(0.2, 0.95, 0.16, 0.2, 0.2) + 0.2 * _disc(0.8, 0.95, 0.16, 0.2, 0.2))


def _ct_slice(rng: np.random.Generator) -> Plane:
    plane = 0.55 * _disc(0.5, 0.5, 0.44, rng.uniform(0.28, 0.36)) + 0.1 * _ring(0.5, 0.5, 0.44, 0.33, 0.08)
    if rng.random() < 0.5:  # head: a bright ring; otherwise a body with organs
        plane = 0.4 * _disc(0.5, 0.5, 0.32, 0.4) + 0.6 * _ring(0.5, 0.5, 0.32, 0.4, 0.1)
        plane = plane - 0.2 * (_disc(0.45, 0.47, 0.03, 0.09) + _disc(0.55, 0.47, 0.03, 0.09))
    else:
        plane = (
            plane
            + 0.15 * _disc(0.33, 0.45, 0.18, 0.16)
            + 0.4 * _disc(0.5, 0.66, 0.06, 0.06)
            - 0.5 * _disc(0.62, 0.36, 0.1, 0.05)
        )
        plane = (
            plane
            + 0.1 * (_disc(0.36, 0.6, 0.06, 0.08) + _disc(0.64, 0.6, 0.06, 0.08))
            + 0.4 * _ring(0.5, 0.95, 0.5, 0.12, 0.1)
        )
    return plane + rng.normal(0, 0.03, plane.shape)


def _ultrasound(rng: np.random.Generator) -> Plane:
    depth, angle = np.hypot(_X - 0.5, _Y + 0.05), np.arctan2(_X - 0.5, _Y + 0.05)
    fan = (depth > 0.14) & (depth < 0.98) & (np.abs(angle) < rng.uniform(0.5, 0.8))
    speckle = np.abs(gaussian_filter(rng.standard_normal((SIDE, SIDE)), (1, 2.5))) * 3
    for _ in range(int(rng.integers(1, 5))):
        speckle = speckle * (
            1
            - 0.9
            * _disc(rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.8), rng.uniform(0.04, 0.16), rng.uniform(0.04, 0.12))
        )
    return np.asarray(fan * speckle * (0.7 - 0.35 * depth), np.float32)


def _mammogram(rng: np.random.Generator) -> Plane:
    plane = 0.45 * _disc(0.0, 0.5, rng.uniform(0.45, 0.75), rng.uniform(0.36, 0.46), 0.12)
    plane = plane * (1 + 0.35 * np.clip(_cloud(rng, 1.4), -1, 2)) + 0.4 * _disc(0.0, 0.0, 0.25, 0.45, 0.15)
    return _exposed(rng, plane if rng.random() < 0.5 else plane[:, ::-1])


def _teeth(rng: np.random.Generator) -> Plane:
    plane = 0.3 + 0.08 * _cloud(rng, 1.3)
    for x in np.arange(-0.05, 1.1, rng.uniform(0.16, 0.24)).tolist():
        for side in (-1, 1):
            crown, root = 0.5 + side * 0.13, 0.5 + side * 0.34
            tooth = np.maximum(_disc(x, crown, 0.085, 0.11, 0.15), _bone(x, crown, x + 0.02, root, 0.04))
            plane = np.maximum(plane, 0.75 * tooth) - 0.2 * _disc(x, crown + side * 0.06, 0.02, 0.09, 0.3)
    return _exposed(rng, plane - 0.3 * (np.abs(_Y - 0.5) < 0.015))


def _screenshot(rng: np.random.Generator) -> Plane:
    screen = Image.new("L", (SIDE, SIDE), int(rng.integers(20, 240)))
    pen = ImageDraw.Draw(screen)
    pen.rectangle((0, 0, SIDE, 22), fill=int(rng.integers(40, 220)))
    for row in range(2):
        for column in range(int(rng.integers(2, 4))):
            x, y = 10 + column * 125, 34 + row * 175
            pen.rectangle((x, y, x + 115, y + 160), fill=int(rng.integers(0, 256)), outline=128)
            for line in range(int(rng.integers(0, 9))):
                pen.text((x + 5, y + 5 + 15 * line), "Field: value 12.4", fill=int(rng.integers(0, 256)))
    return np.asarray(screen, np.float32) / 255


DRAWN: dict[str, Callable[[np.random.Generator], Plane]] = {
    "blank": _blank, "gradient": _gradient, "noise": _noise, "page": _page, "scene": _scene,
    "checkerboard": _checkerboard, "stripes": _stripes, "hand": _hand, "knee": _knee, "spine": _spine,
    "skull": _skull, "pelvis": _pelvis, "abdomen": _abdomen, "ct_slice": _ct_slice, "ultrasound": _ultrasound,
    "mammogram": _mammogram, "teeth": _teeth, "screenshot": _screenshot,
}  # fmt: skip
"""What can be drawn, in turn; each is a function of the random generator alone."""


def off_scope_images(count: int = 200, seed: int = 0) -> Iterator[tuple[str, Grey]]:
    """`count` drawn images with the name of their kind, every kind equally often, one in three cut to another shape."""
    kinds = list(DRAWN)
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        kind = kinds[number % len(kinds)]
        image = _grey(DRAWN[kind](rng))
        trim = int(rng.integers(0, SIDE // 6)) if number % 3 == 0 else 0
        yield kind, image[:, trim : SIDE - trim] if rng.random() < 0.5 else image[trim : SIDE - trim]


CORRUPTIONS = (
    "shuffled_blocks", "drowned_in_noise", "blacked_out", "extreme_crop", "extreme_blur", "sheared", "stretched",
    "mosaic", "rows_permuted", "two_levels",
)  # fmt: skip
"""Ways to spoil a chest radiograph until nobody could draft from it."""


def corrupted(image: Grey, kind: str, seed: int = 0) -> Grey:
    """The image spoilt in one of the CORRUPTIONS; the severity is drawn from the seed."""
    rng = np.random.default_rng((seed, CORRUPTIONS.index(kind)))
    rows, columns = image.shape
    match kind:
        case "shuffled_blocks":
            n = int(rng.choice([3, 4, 6, 8]))
            h, w = rows // n, columns // n
            blocks = image[: n * h, : n * w].reshape(n, h, n, w).transpose(0, 2, 1, 3).reshape(n * n, h, w)
            blocks = blocks[rng.permutation(n * n)]
            return np.ascontiguousarray(blocks.reshape(n, n, h, w).transpose(0, 2, 1, 3).reshape(n * h, n * w))
        case "drowned_in_noise":  # signal to noise, as a ratio of deviations, below 0.3
            plane = image / 255
            noise = rng.normal(0, plane.std() / rng.uniform(0.1, 0.3), image.shape)
            noisy = plane + noise
            return _grey((noisy - noisy.min()) / np.ptp(noisy))
        case "blacked_out":  # more than 85 % is black; what is left is one window
            share = float(np.sqrt(rng.uniform(0.03, 0.13)))
            out, (h, w) = np.zeros_like(image), (int(rows * share), int(columns * share))
            y, x = int(rng.integers(0, rows - h)), int(rng.integers(0, columns - w))
            out[y : y + h, x : x + w] = image[y : y + h, x : x + w]
            return out
        case "extreme_crop":  # 5 % of the area, from within the body
            h, w = int(rows * 0.05**0.5), int(columns * 0.05**0.5)
            y, x = int(rng.uniform(0.15, 0.6) * rows), int(rng.uniform(0.15, 0.6) * columns)
            return np.asarray(Image.fromarray(image[y : y + h, x : x + w]).resize((columns, rows)), np.uint8)
        case "extreme_blur":
            return _grey(gaussian_filter(image / 255, rng.uniform(0.1, 0.2) * min(rows, columns)))
        case "sheared":  # each row pushed sideways, round the edge, by up to its own height
            push = (np.arange(rows) * rng.uniform(0.6, 1.0) * rng.choice([-1, 1])).astype(int)
            return np.asarray(image[np.arange(rows)[:, None], (np.arange(columns)[None] + push[:, None]) % columns])
        case "stretched":  # 5 : 1, as a strip
            factors = (0.2, 1.0) if rng.random() < 0.5 else (1.0, 0.2)
            return _grey(zoom(image / 255, factors, order=1))
        case "mosaic":
            n = int(rng.integers(3, 7))
            return np.tile(image[::n, ::n], (n, n))
        case "rows_permuted":
            return np.asarray(image[rng.permutation(rows)])
        case _:  # two_levels
            return np.where(image > np.quantile(image, rng.uniform(0.3, 0.7)), 255, 0).astype(np.uint8)


def turned(image: Grey, how: str) -> Grey:
    """A chest radiograph wrongly shown: `inverted`, `quarter_turn` or `half_turn`; worth a warning, never counted."""
    turns = {"inverted": 255 - image, "quarter_turn": np.rot90(image), "half_turn": np.rot90(image, 2)}
    return np.ascontiguousarray(turns[how])
