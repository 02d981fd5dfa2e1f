"""Drawn image-report pairs, so that the demo and the tests run anywhere.

These are drawings, not radiographs: a body outline, two lungs, ribs, a heart, a spine, and up to two findings, with a
report in radiology's words that says exactly what was drawn. They carry no anatomy worth learning. What is true of
them is known exactly, and a seed gives the same bytes again. A physically based simulator is to replace this file.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 256
"""Rows and columns of a drawing."""
FINDINGS = ("cardiomegaly", "right effusion", "left effusion", "right opacity", "left opacity", "pacemaker")
_Y, _X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE

_SENTENCES: dict[str, tuple[str, ...]] = {
    "cardiomegaly": ("The heart is enlarged.", "There is moderate cardiomegaly."),
    "right effusion": ("There is a right pleural effusion.", "Right-sided pleural effusion is present."),
    "left effusion": ("There is a left pleural effusion.", "Left-sided pleural effusion is present."),
    "right opacity": ("There is an airspace opacity in the right lung.", "Right lung airspace opacity."),
    "left opacity": ("There is an airspace opacity in the left lung.", "Left lung airspace opacity."),
    "pacemaker": ("A left-sided pacemaker is in place.", "Left chest pacemaker is noted."),
}
_NORMAL: dict[str, tuple[str, ...]] = {
    "heart": ("The heart size is normal.", "Heart size is within normal limits."),
    "pleura": ("There is no pleural effusion or pneumothorax.", "No pleural effusion or pneumothorax is seen."),
    "lungs": ("The lungs are clear.", "Both lungs are clear."),
}
_INDICATIONS = ("Cough.", "Shortness of breath.", "Chest pain.", "Preoperative examination.")


@dataclass(frozen=True)
class Drawing:
    """One drawn study."""

    frontal: NDArray[np.uint8]
    """SIDE x SIDE grey; the patient's right is on the left of the image, as radiographs are shown."""
    findings: tuple[str, ...]
    """What was drawn, from FINDINGS."""
    indication: str
    report: str
    """Full report text with headings."""


def _disc(x: float, y: float, rx: float, ry: float, softness: float = 0.02) -> NDArray[np.float32]:
    """A soft ellipse: 1 inside, 0 outside, in fractions of the image."""
    r = np.sqrt(((_X - x) / rx) ** 2 + ((_Y - y) / ry) ** 2)
    return np.asarray(np.clip((1 - r) / softness * min(rx, ry), 0, 1), np.float32)


def _body(rng: np.random.Generator, width: float) -> NDArray[np.float32]:
    """A chest without findings, brightness 0 to 1."""
    image = 0.75 * _disc(0.5, 0.62, 0.46 * width, 0.62) + 0.02
    for x in (0.31, 0.69):
        lung = _disc(0.5 + (x - 0.5) * width, 0.47, 0.15 * width, 0.34, 0.05)
        image -= 0.5 * lung
        for rib in range(7):
            y = 0.2 + 0.085 * rib + 0.10 * np.abs(_X - 0.5)
            image += 0.07 * lung * np.exp(-(((_Y - y) / 0.012) ** 2))
    image += 0.15 * np.exp(-(((_X - 0.5) / 0.035) ** 2)) * (_Y > 0.1)
    return np.asarray(image + 0.02 * rng.standard_normal() * (_Y - 0.5), np.float32)


def draw(seed: int) -> Drawing:
    """One study; the same seed gives the same study."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(FINDINGS), size=int(rng.choice([0, 1, 1, 2])), replace=False)
    findings = tuple(FINDINGS[i] for i in sorted(chosen))
    width = float(rng.uniform(0.92, 1.06))
    image = _body(rng, width)
    heart = (1.5 if "cardiomegaly" in findings else 1.0) * float(rng.uniform(0.92, 1.08))
    image = np.maximum(image, 0.72 * _disc(0.54, 0.66, 0.125 * heart, 0.15, 0.06))
    for side, x in (("right", 0.31), ("left", 0.69)):
        if f"{side} effusion" in findings:
            level = float(rng.uniform(0.60, 0.68)) - 0.25 * np.abs(_X - x)
            image = np.maximum(image, 0.7 * _disc(x, 0.55, 0.16, 0.34) * np.clip((_Y - level) / 0.02, 0, 1))
        if f"{side} opacity" in findings:
            image += 0.4 * _disc(x + rng.uniform(-0.04, 0.04), rng.uniform(0.3, 0.5), 0.08, 0.09, 0.4)
    if "pacemaker" in findings:
        image = np.maximum(image, 0.98 * _disc(0.78, 0.2, 0.05, 0.04))
    image += rng.normal(0, 0.015, image.shape)
    grey = (255 * np.clip(image * rng.uniform(0.9, 1.05), 0, 1)).astype(np.uint8)

    sentences = [str(rng.choice(_SENTENCES[f])) for f in findings]
    normal = [
        ("heart", "cardiomegaly" not in findings),
        ("pleura", not any("effusion" in f for f in findings)),
        ("lungs", not any("opacity" in f for f in findings)),
    ]
    sentences += [str(rng.choice(_NORMAL[topic])) for topic, shown in normal if shown]
    impression = "; ".join(findings).capitalize() + "." if findings else "No acute cardiopulmonary abnormality."
    indication = str(rng.choice(_INDICATIONS))
    report = f"INDICATION: {indication}\n\nFINDINGS: {' '.join(sentences)}\n\nIMPRESSION: {impression}"
    return Drawing(grey, findings, indication, report)


def write_studies(folder: Path, studies: int, seed: int = 0) -> Path:
    """Draw `studies` studies as PNG files with a manifest beside them; returns the manifest's path."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.jsonl"
    defaults = {
        "source": "Prelim drawings",
        "licence": "CC0-1.0",
        "deidentified": {"attested_by": "prelim-evaluate draw", "method": "drawn; no patient exists"},
    }
    with manifest.open("w", encoding="utf-8") as out:
        out.write(json.dumps({"prelim_manifest": 1, "defaults": defaults}) + "\n")
        for number in range(studies):
            drawing = draw(seed + number)
            name = f"images/{seed + number:06d}.png"
            Image.fromarray(drawing.frontal).save(folder / name)
            row = {
                "case_id": f"drawn-{seed + number:06d}",
                "patient_key": f"drawn-patient-{seed + number:06d}",
                "study_instance_uid": f"drawn-study-{seed + number:06d}",
                "images": [{"path": name, "view": "PA"}],
                "report": {"text": drawing.report},
                "labels": list(drawing.findings),
            }
            out.write(json.dumps(row) + "\n")
    return manifest
