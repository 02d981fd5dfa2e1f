"""Experts by name, as an operator writes them.

    xrv:FOLDER                                a DenseNet of torchxrayvision, as `xrv_densenet.write_folder` writes it
    zero-shot:transformers:HUB_ID_OR_FOLDER   MedSigLIP and other encoders of images and texts
    zero-shot:open_clip:HUB_ID_OR_FOLDER      BiomedCLIP and others in open_clip's format

The calibration is the file beside the weights unless another is named; an encoder from a hub's cache has none beside
it. torch is imported only when an expert is loaded.
"""

from pathlib import Path
from typing import Literal

from generation.experts.calibration import Named, calibration_for
from generation.experts.expert import Expert
from generation.experts.zero_shot import ZeroShot, weights_of
from retrieval.encoders.encoder import Encoder, ImageTextEncoder
from retrieval.encoders.named import load
from retrieval.errors import MissingDependency, UnsupportedModel


def load_expert(
    name: str,
    *,
    calibration: Named = "beside",
    device: str = "cpu",
    network: Literal["off", "on"] = "off",
) -> Expert:
    """Load one expert.

    Raises MissingWeights, UnsafeWeights, UnsupportedModel, CalibrationMismatch, and MissingDependency without the extra
    `models`.
    """
    kind, _, where = name.partition(":")
    if kind == "zero-shot" and where:
        return _zero_shot(where, calibration, load(where, device=device, network=network))
    if kind == "xrv" and where:
        try:
            from generation.experts.xrv_densenet import load_xrv  # noqa: PLC0415

            return load_xrv(Path(where), device=device, calibration=calibration)
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"{name!r} needs {error.name}, which is not installed", fix="pip install 'prelim[models]'"
            ) from error
    raise UnsupportedModel(
        f"{name!r} names no expert",
        fix="write xrv:FOLDER, zero-shot:transformers:FOLDER or zero-shot:open_clip:FOLDER (or a hub id in place of "
        "the encoder's folder)",
    )


def _zero_shot(where: str, calibration: Named, encoder: Encoder) -> ZeroShot:
    if not isinstance(encoder, ImageTextEncoder):
        raise UnsupportedModel(f"{where!r} reads no text", fix="name an encoder of images and texts, such as MedSigLIP")
    folder = Path(where.partition(":")[2])
    fitted = calibration_for(weights_of(encoder), calibration, folder if folder.is_dir() else None)
    return ZeroShot(encoder, fitted)
