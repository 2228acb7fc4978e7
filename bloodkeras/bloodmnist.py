"""BloodMNIST: the data set that everything means unless it is told of another.

Flow: gives the value `BLOODMNIST`, the same at other sides, and what is known of its classes beside
the images: how people write them, and how common they are in blood. No other module knows a class
name or the side.
Sources: MedMNIST v2 (Yang et al. 2023, doi:10.1038/s41597-022-01721-8), package medmnist 3.0.2
    (`medmnist.INFO["bloodmnist"]`, which `tests/test_dataset.py` compares with this file); the
    photographs are the PBC set (Acevedo et al. 2020, doi:10.1016/j.dib.2020.105474). Shares in
    healthy blood: Orfanakis et al. 1970, American Journal of Clinical Pathology 53, 647.
"""

from pathlib import Path

from bloodkeras.dataset import DataSet

CLASS_NAMES = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "immature granulocyte",  # myelocytes, metamyelocytes and promyelocytes
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
)
NUCLEATED_RED, PLATELET = "erythroblast", "platelet"  # they are no white cells
SPLIT_SIZES = {"train": 11_959, "val": 1_712, "test": 3_421}
MD5S = {  # of MedMNIST's files, by the side of their images
    28: "7053d0359d879ad8a5505303e11de1dc",
    64: "2b94928a2ae4916078ca51e05b6b800b",
    128: "adace1e0ed228fccda1f39692059dd4c",
    224: "b718ff6835fcbdb22ba9eacccd7b2601",
}


def bloodmnist(side: int) -> DataSet:
    """Return BloodMNIST with images of that side; where none are published, without a file."""
    file = f"bloodmnist{f'_{side}' if side != min(MD5S) else ''}.npz" if side in MD5S else ""
    return DataSet(
        name="BloodMNIST",
        class_names=CLASS_NAMES,
        image_side=side,
        licence="CC BY 4.0",
        credits=(
            "Photographs: Acevedo et al., A dataset of microscopic peripheral blood cell images "
            "for development of automatic recognition systems, Data in Brief 30, 2020, "
            "doi:10.1016/j.dib.2020.105474.",
            "BloodMNIST: Yang et al., MedMNIST v2, Scientific Data 10, 2023, "
            "doi:10.1038/s41597-022-01721-8.",
        ),
        limits="It has seen normal cells of healthy donors only, from one hospital, one analyser "
        "and one stain. Leukaemic blasts and every other abnormal cell are outside its eight "
        "classes, and it will call them one of the eight all the same.",
        file_name=file,
        url=f"https://zenodo.org/records/10519652/files/{file}?download=1" if file else "",
        md5=MD5S.get(side, ""),
    )


BLOODMNIST = bloodmnist(min(MD5S))


def runs_of(runs: Path, dataset: DataSet) -> Path:
    """Return where runs and results of a data set belong, below the folder of all runs.

    BloodMNIST at another side than 28 has a folder of its own there, named by the side: a model
    is called the same at every side.
    """
    return runs / str(dataset.image_side) if _of_another_size(dataset) else runs


def export_name(model: str, dataset: DataSet) -> str:
    """Return what an export of a model is called: residual, and of 64 pixels residual-64."""
    return f"{model}-{dataset.image_side}" if _of_another_size(dataset) else model


def _of_another_size(dataset: DataSet) -> bool:
    return dataset.name == BLOODMNIST.name and dataset.image_side != BLOODMNIST.image_side


# White cells in a cubic millimetre, means of 291 healthy adults (Orfanakis 1970), and a trace of
# what such blood hardly holds: a clear one is still named, but unsure (MAY_OCCUR in prior.py).
HEALTHY_BLOOD = {
    "neutrophil": 3650,
    "lymphocyte": 2500,
    "monocyte": 430,
    "eosinophil": 150,
    "basophil": 30,
    "immature granulocyte": 10,
    "erythroblast": 10,
    "platelet": 10,
}

# Abbreviations of laboratories, and of the file names of published sets of cells; without blanks,
# in small letters. What may mean two classes is in AMBIGUOUS instead.
ABBREVIATIONS = {
    "basophil": "ba bas baso basophile basophilicgranulocyte basophilgranulocyte",
    "eosinophil": "eo eos eosino eosinophile eosinophilicgranulocyte eosinophilgranulocyte",
    "erythroblast": "erb ebo nrbc normoblast nucleatedredbloodcell nucleatedredcell nucleatedrbc",
    "immature granulocyte": "ig my mmy pmy mmz pmo immgran immaturegran myelocyte metamyelocyte "
    "promyelocyte",
    "lymphocyte": "ly lym lyt lymph lympho",
    "monocyte": "mo mon mono",
    "neutrophil": "ne neu neut neutro neutrophile neutrophilicgranulocyte neutrophilgranulocyte "
    "pmn sne bne ngs ngb seg segment segmented segmentedneutrophil segmentedcell "
    "neutrophilsegmented segmentedgranulocyte band bandneutrophil bandcell bandform "
    "neutrophilband stab stabcell stabneutrophil",
    "platelet": "plt pl plat thrombocyte thrombo",
}
AMBIGUOUS = {
    "b": "basophil or band neutrophil",
    "e": "eosinophil or erythroblast",
    "g": "any granulocyte",
    "gran": "any granulocyte",
    "granulocyte": "any granulocyte",
    "m": "monocyte or myelocyte",
    "n": "neutrophil or normoblast",
    "p": "platelet or promyelocyte",
}


def unnamed(class_names: tuple[str, ...], image_side: int) -> DataSet:
    """Return the data set of a file that tells no more: of MedMNIST's, and of earlier exports."""
    if class_names == CLASS_NAMES:
        return bloodmnist(image_side)
    return DataSet("an unnamed data set", class_names, image_side)
