"""Adds photograph.onnx to an export: of its own files, without its run and without any data.

Flow: takes an export's folder; gives the same with the file, and a card that describes it.
"""

import shutil
from pathlib import Path

import onnx

from bloodkeras import contract
from bloodkeras.answers.answer import Thresholds
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import new_export, write_checksums
from bloodkeras.export.photograph import image_side, with_photograph
from bloodkeras.named_types import Json
from bloodkeras.whole_file import write_json, write_text


def add_photograph(folder: Path) -> int:
    """Make photograph.onnx of an export's fp32 file, anew where there is one.

    The pages of an export that was calibrated stay as they are: they were written elsewhere.

    Returns:
        How many bytes it has.

    Raises:
        BloodkerasError: The folder is not a complete export, or cannot be written.
    """
    card = Classifier.load(Path(folder)).card
    with new_export(Path(folder)) as staging:
        for name in contract.EXPORT_FILES:
            if (Path(folder) / name).exists():
                shutil.copyfile(Path(folder) / name, staging / name)
        write_photograph(staging, card)
        write_json(staging / contract.CARD_FILE, card)
        if "calibrated_on" not in card:
            _rewrite_pages(card, staging)
        write_checksums(staging)
    size: int = card["photograph"]["bytes"]
    return size


def write_photograph(folder: Path, card: Json) -> None:
    """Write photograph.onnx beside the fp32 file, and what there is to say of it into the card."""
    network = onnx.load(folder / contract.MODEL_FILE)
    thresholds = Thresholds(**card.get("thresholds", {}))
    path = folder / contract.PHOTOGRAPH_FILE
    onnx.save(with_photograph(network, thresholds), path)
    side = image_side(network)
    card["photograph"] = {
        "input": f"{contract.PHOTOGRAPH_NAME}: uint8 (H, W, 3), RGB, as decoded; "
        f"{contract.SIDE_NAME}: int32 (1,), the side of the square to keep, 0 for the rule",
        "output": f"those of {contract.MODEL_FILE}, N = 1; {contract.VERDICT_NAME}: int32 (1,), "
        f"{', '.join(f'{n} {word}' for n, word in enumerate(contract.VERDICTS))}; "
        f"{contract.PIXELS_NAME}: uint8 ({side}, {side}, 3), what the network saw",
        "bytes": path.stat().st_size,
    }


def _rewrite_pages(card: Json, folder: Path) -> None:
    from bloodkeras.export.card import render_card, rewrite_page  # with much that draws

    page = folder / contract.MODEL_CARD_PAGE
    (folder / contract.MODEL_CARD_FILE).write_text(render_card(card), encoding="utf-8")
    if page.exists():
        write_text(page, rewrite_page(card, page.read_text(encoding="utf-8")))
