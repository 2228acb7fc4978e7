"""The commands that ask people: what their own cells are, and how far two of them agree.

Neither needs TensorFlow. Each imports its step inside the function, so that `--help` stays quick.
"""

from pathlib import Path

from bloodkeras.cli.opening import check_port, need
from bloodkeras.cli.options import Export, Host, Microns, Port, export_folder
from bloodkeras.errors import BloodkerasError, UsageError


def label(
    photos: str,
    *,
    out: str,
    model: Export = "",
    classes: str = "",
    random: bool = False,
    microns_per_pixel: Microns = 0.0,
    host: Host = "127.0.0.1",
    port: Port = 7861,
) -> None:
    """Name your own cells on a page in the browser, those first that tell most; then calibrate.

    Every answer is in the table at once, which `judge` and `calibrate` take as --labels; the same
    command goes on with it. It works without internet (docs/label.md). Ctrl-C or SIGTERM stops it.
    Needs the extra label.

    Args:
        photos: A folder of photographs of single cells, searched to any depth.
        out: The table of the answers, .csv: file, label, and when it was said.
        model: The export that is to learn; by default robust-64.
        classes: Names that may be said, in the order of the keys 1 to 9, such as
            neutrophil,lymphocyte,blast; by default those of the export. New ones are labelled, but
            not calibrated.
        random: Ask in a random order: what a network is to be judged on, and thresholds are to be
            chosen on, must not be the hard cells alone.
    """
    need("label", "fastapi", "uvicorn", "onnx")
    check_port(port)
    from bloodkeras.images.framing import Framing
    from bloodkeras.labelling.server import label as run_label

    framing = Framing(microns_per_pixel)
    run_label(photos, out, export_folder(model), classes, random, framing, host, port)


def agree(first: str, second: str, *, out: str = "") -> None:
    """Say how far two people agree who labelled the same photographs: share, kappa, differences.

    Args:
        first: A CSV with the columns file and label, such as `label` writes.
        second: Another.
        out: Write the photographs on which both agree here, .csv: file and label.
    """
    from bloodkeras.labelling.agreement import agree as compare_tables
    from bloodkeras.labelling.agreement import render_text, write_agreed

    if out and not out.lower().endswith(".csv"):
        raise UsageError(f"--out {out}: expected a name that ends in .csv")
    if out and Path(out).exists():
        raise BloodkerasError(f"{out} is there already: choose another name")
    found = compare_tables(Path(first), Path(second))
    print(render_text(found, Path(first), Path(second)))
    if out:
        write_agreed(Path(out), found)
        print(f"\nwrote {out}: {len(found.same):,} photographs")
