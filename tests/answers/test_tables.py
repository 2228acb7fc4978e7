"""Tables as spreadsheets save them, names as people write them, and a folder for each class."""

import codecs
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_export import build_export

from bloodkeras.answers.class_names import class_name
from bloodkeras.answers.prior import read_prior
from bloodkeras.bloodmnist import ABBREVIATIONS, AMBIGUOUS, CLASS_NAMES
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.laboratory.labelled import read_labelled
from bloodkeras.laboratory.labels import read_table

ROOT = Path(__file__).parents[2]
NEUTROPHIL = CLASS_NAMES.index("neutrophil")


def table(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def places(folder: Path, text: str | bytes) -> dict[str, int]:
    return read_table(table(folder, text), CLASS_NAMES)


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(BloodkerasError) as caught:
        places(folder, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- how the file is written ----------------------------------------------------------------------

WANTED = {"a.png": 0, "zelle_\u00e4.png": 6}
TEXT = "file,label\na.png,basophil\nzelle_\u00e4.png,neutrophil\n"
AS_SAVED = {
    "UTF-8": TEXT.encode(),
    "UTF-8 with its mark": TEXT.encode("utf-8-sig"),
    "UTF-16 LE": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "UTF-16 BE": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "UTF-32 LE": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    "Unicode text, as Excel calls it": TEXT.replace(",", "\t").encode("utf-16"),
    "CSV of Excel in Germany": TEXT.replace(",", ";").replace("\n", "\r\n").encode("cp1252"),
    "line ends of an old Mac": TEXT.replace("\n", "\r").encode(),
    "no line end at the end": TEXT.strip().encode(),
    "tabs": TEXT.replace(",", "\t").encode(),
    "sep=;": b"sep=;\r\n" + TEXT.replace(",", ";").encode(),
    "SEP=, with its mark": b"\xef\xbb\xbfSEP=,\n" + TEXT.encode(),
    "sep= and a tab": b"sep=\t\n" + TEXT.replace(",", "\t").encode(),
    "sep=|": b"sep=|\n" + TEXT.replace(",", "|").encode(),
    '"sep=;" in quotes': b'"sep=;"\n' + TEXT.replace(",", ";").encode(),
    "empty rows": ("\n\n" + TEXT.replace("\n", "\n,\n\n ,  \n")).encode(),
    "empty columns": TEXT.replace("\n", ",,,\n").encode(),
    "an empty column in front": ("," + TEXT.replace("\n", "\n,")).encode(),
    "blanks": TEXT.replace(",", " ,\t ").encode(),
    "quotes": '"file", "label"\n"a.png", "basophil"\n"zelle_\u00e4.png","neutrophil"\n'.encode(),
    "capitals": TEXT.replace("file,label", "FILE,Label").encode(),
    "other columns": TEXT.replace("\n", ',"x, y\nand z"\n').encode(),
    "a comma in a semicolon's header": TEXT.replace(",", ";")
    .replace("label\n", "label;a, b, c, d\n")
    .encode(),
    "other names": TEXT.replace("file,label", "File name,Class").encode(),
    "names with _": TEXT.replace("file,label", "image_path,cell_type").encode(),
    "label before class": "file,label,class\na.png,0,PLT\nzelle_\u00e4.png,6.0,x".encode(),
}


@pytest.mark.parametrize("content", AS_SAVED.values(), ids=AS_SAVED)
def test_a_table_is_read_however_a_spreadsheet_saved_it(tmp_path, content):
    assert places(tmp_path, content) == WANTED


def test_what_had_to_be_supposed_is_said(tmp_path, capsys):
    places(tmp_path, AS_SAVED["CSV of Excel in Germany"])
    assert "is no UTF-8: read as Windows-1252" in capsys.readouterr().err
    places(tmp_path, AS_SAVED["UTF-16 LE"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04\x14\x00", "workbook; save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "workbook"),
        (TEXT.encode("utf-16-le"), "zero bytes"),
        (codecs.BOM_UTF16_LE + b"f\0i", "no utf-16-le text"),
        (b"file,label\n\x81\x8d.png,1\n", "no UTF-8 text; save it as"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "zero bytes"),
        (b"sep=;\nfile,label\na.png,1\n", "must have the columns file and label"),
        (b"file,filename,path\na,b,c\n", "must have the columns"),
        (b"image,path,label\na,b,1\n", "must have the columns"),  # which one is meant?
        (b"file,label\n,,\n\n", "holds no row"),
        (b"file,label\na.png,\n", "line 2: no label for a.png"),
        (b"sep=,\n\nfile,label\na.png,1\n\nb.png,9\n", "line 6: label 9"),
        (b'file,label\na.png,1\n"b.png,1\nc.png,1\n', "line 3, is no CSV"),  # no row is swallowed
        (b'file,x,label\na.png,"two\nlines",1\nb.png,,zebra\n', "line 4: unknown class"),
    ],
)
def test_what_is_no_such_table_is_one_line(tmp_path, content, message):
    assert message in refusal(tmp_path, content)


@pytest.mark.parametrize("name", ["blankrows.csv", "utf16.csv"])
def test_tables_that_went_wrong(real_data, name):
    path = real_data.parent / "cases" / "csv-labels" / name
    if not path.is_file():
        pytest.skip("needs cases/csv-labels beside the real data")
    found = read_table(path, CLASS_NAMES)
    assert found["BA_128084.jpg"] == 0
    assert len(found) > 10


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("class;weight\nNEU;1\nPLT;0,5\n", 0.5),
        ("class\tweight\nbands\t1\nplatelets\t,5\n", 0.5),
        ("sep=;\nClass;Weight;\nneutrophil;1.000,0;\nplatelet;500;\n", 0.5),
        ('class,weight\nneutrophil,"1,000"\nplatelet,500\n', 0.5),
        ('class,weight\nneutrophil,1\nplatelet,"0,5"\n', 0.5),
        ("class;weight\nneutrophil;1,000\nplatelet;0,125\n", 0.125),
        ("label,percent\nneutrophil,80 %\nplatelet,20%\n", 0.25),
        ("class;weight\nneutrophil;80,0 %\nplatelet;0,2\n", 0.25),
        ("class,weight\nneutrophil,1e3\nplatelet,5e2\n,\n", 0.5),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_weights_go_through_the_same_reader(tmp_path, text, weight, encoding):
    path = table(tmp_path, text.encode(encoding))
    by_class = read_prior("", str(path), CLASS_NAMES).by_class
    assert by_class == pytest.approx({"neutrophil": 1, "platelet": weight})


@pytest.mark.parametrize("weight", ["1,2,3", "1;2", "0,5,", "many", "%", "-1", "1.2.3", "", "x%"])
def test_what_is_no_weight_is_refused(tmp_path, weight):
    path = table(tmp_path, f'class,weight\nplatelet,1\nneutrophil,"{weight}"\n')
    with pytest.raises(BloodkerasError, match="number from 0 up"):
        read_prior("", str(path), CLASS_NAMES)


# --- names of classes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("NEU", "neutrophil"),
        ("Neutros", "neutrophil"),
        ("bands", "neutrophil"),
        ("SNE", "neutrophil"),
        ("BNE", "neutrophil"),
        ("segmented", "neutrophil"),
        ("Band-Neutrophils", "neutrophil"),
        ("neutrophil_segmented", "neutrophil"),
        ("ig", "immature granulocyte"),
        ("IG", "immature granulocyte"),
        ("MMY", "immature granulocyte"),
        ("MY", "immature granulocyte"),
        ("PMY", "immature granulocyte"),
        ("Myelocytes", "immature granulocyte"),
        ("Imm. Granulocytes", None),
        ("imm. gran.", "immature granulocyte"),
        ("LYM", "lymphocyte"),
        ("ly", "lymphocyte"),
        ("Lymphs", "lymphocyte"),
        ("MONO", "monocyte"),
        ("Mo", "monocyte"),
        ("EOS", "eosinophil"),
        ("Eo", "eosinophil"),
        ("BASO", "basophil"),
        ("BA", "basophil"),
        ("ERB", "erythroblast"),
        ("NRBC", "erythroblast"),
        ("nRBCs", "erythroblast"),
        ("Normoblasts", "erythroblast"),
        ("PLT", "platelet"),
        ("PLTS", "platelet"),
        ("Thrombocytes", "platelet"),
    ],
)
def test_common_abbreviations_are_understood(written, meant):
    if meant:
        assert class_name(written, CLASS_NAMES) == meant
    else:
        with pytest.raises(UsageError, match="did you mean 'immature granulocyte'"):
            class_name(written, CLASS_NAMES)


@pytest.mark.parametrize("written", ["b", "E", "m", "N", "p", "Granulocytes", "gran"])
def test_what_may_mean_two_classes_is_refused(tmp_path, written):
    assert "may mean" in refusal(tmp_path, f"file,label\na.png,{written}\n")


@pytest.mark.parametrize(
    "written",
    [
        "blast",
        "RBC",
        "erythrocyte",
        "WBC",
        "myeloblast",
        "smudge",
        "monoblast",
        "band/seg",
        "x",
        "8",
        "-1",
        "1.5",
    ],
)
def test_what_is_no_class_is_refused_with_its_line(tmp_path, written):
    assert "t.csv, line 3: " in refusal(tmp_path, f"file,label\na.png,1\nb.png,{written}\n")


def test_no_abbreviation_means_two_classes():
    words = [word for words in ABBREVIATIONS.values() for word in words.split()]
    assert len(words) == len({*words, *AMBIGUOUS}) - len(AMBIGUOUS)
    assert set(ABBREVIATIONS) == set(CLASS_NAMES)
    with pytest.raises(UsageError, match="unknown class"):
        class_name("NEU", ("lymphocyte", "monocyte"))  # of a network that has no neutrophils


def test_what_was_understood_is_said_once(tmp_path, capsys):
    rows = "".join(f"{n}.png,NEU\n" for n in range(12)) + "x.png,ig\ny.png,Neutrophils\nz.png,6\n"
    assert places(tmp_path, "file,label\n" + rows)["0.png"] == NEUTROPHIL
    said = capsys.readouterr().err
    assert said == ("understood NEU as neutrophil (12 rows), ig as immature granulocyte (1 row)\n")


# --- paths in a table -----------------------------------------------------------------------------

COMPOSED, DECOMPOSED = "Pr\u00e4parat_\u00e9.png", "Pra\u0308parat_e\u0301.png"


@pytest.fixture
def photos(tmp_path):
    """Two photographs, one of them below another folder."""
    folder = tmp_path / "study" / "photos"
    (folder / "slide 1").mkdir(parents=True)
    for name in ("a.png", "slide 1/b.png"):
        Image.new("RGB", (28, 28), "red").save(folder / name)
    return folder


def labelled(photos: Path, *names: str, at: Path | None = None):
    rows = "".join(f"{name},{number}\n" for number, name in enumerate(names))
    path = table(at or photos.parent, "file,label\n" + rows)
    return read_labelled(str(photos), str(path), CLASS_NAMES)


@pytest.mark.parametrize(
    "name",
    [
        "slide 1/b.png",
        "./slide 1/b.png",
        "slide 1//b.png",
        "photos/slide 1/b.png",
        "slide 1\\b.png",
        ".\\slide 1\\b.png",
        "photos\\slide 1\\b.png",
        "ABSOLUTE",
        "C:\\Users\\Ann\\Photos\\slide 1\\b.png",
        "/home/ann/photos/slide 1/b.png",
        "slide 1/B.PNG",
        "../photos/slide 1/b.png",
        "\\\\server\\share\\photos\\slide 1\\b.png",
    ],
)
def test_however_a_table_spells_a_path_it_is_that_file(photos, name):
    name = str(photos / "slide 1" / "b.png") if name == "ABSOLUTE" else name
    found = labelled(photos, "a.png", name)
    assert found.labels.tolist() == [0, 1]
    assert found.unlabelled == 0


def test_a_table_may_lie_elsewhere_and_be_called_from_elsewhere(photos, tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    found = labelled(photos, "../study/photos/a.png", at=tmp_path / "tables")
    assert (len(found), found.unlabelled) == (1, 1)
    monkeypatch.chdir(tmp_path)
    found = read_labelled(
        "study/photos", table(tmp_path, "file,label\nstudy/photos/a.png,0\n"), CLASS_NAMES
    )
    assert (len(found), found.unlabelled) == (1, 1)


@pytest.mark.parametrize(("on_disk", "in_table"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
@pytest.mark.parametrize("before", ["", "photos/", "/Users/ann/photos/"])
def test_a_name_that_a_mac_decomposed_is_found(photos, on_disk, in_table, before):
    assert unicodedata.normalize("NFC", DECOMPOSED) == COMPOSED
    (photos / "a.png").rename(photos / on_disk)
    found = labelled(photos, before + in_table, "slide 1/b.png")
    assert len(found) == 2
    assert found.unlabelled == 0


@pytest.mark.parametrize(
    "again", ["A.png", "photos/a.png", ".\\a.png", "ABSOLUTE", "C:\\x\\photos\\a.png"]
)
def test_a_file_that_is_named_twice_is_refused_however_it_is_spelt(photos, again):
    again = str(photos / "a.png") if again == "ABSOLUTE" else again
    with pytest.raises(BloodkerasError, match=r"twice"):
        labelled(photos, "a.png", again)


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that differ in case only")
def test_letters_of_another_size_are_no_guess(photos):
    shutil.copy(photos / "a.png", photos / "A.png")
    assert len(labelled(photos, "a.png", "A.png")) == 2
    shutil.copy(photos / "slide 1/b.png", photos / "slide 1/B.png")
    with pytest.raises(BloodkerasError, match=r"1 of the 1 files .* not in .*B\.Png"):
        labelled(photos, "slide 1/B.Png")


@pytest.mark.parametrize(
    "name",
    ["b.png", "/elsewhere/b.png", "D:\\b.png", "slide 1", "a", "x" * 300 + ".png", "slide 2/b.png"],
)
def test_a_file_of_the_same_name_elsewhere_is_not_meant(photos, name):
    """Or a cell of another slide would get the label."""
    with pytest.raises(BloodkerasError, match=r"1 of the 2 files that .* names are not in"):
        labelled(photos, "a.png", name)


# --- a folder for each class ----------------------------------------------------------------------


@pytest.fixture
def sorted_photos(tmp_path):
    folder = tmp_path / "sorted"
    names = {
        "NEU": 3,
        "bands": 2,
        "immature_granulocyte": 1,
        "Lymphocytes/slide 1": 2,
        "unsure": 2,
        "foreign": 1,
        "Lymphocytes/@eaDir": 1,
        ".hidden": 1,
    }
    rng = np.random.default_rng(0)
    for name, count in names.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (28, 28, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "empty folder").mkdir()
    Image.new("RGB", (28, 28)).save(folder / "beside.png")
    return folder


def test_a_folder_for_each_class_is_a_labelled_set(sorted_photos, capsys):
    found = read_labelled(str(sorted_photos), "", CLASS_NAMES)
    counts = dict(zip(*np.unique(found.labels, return_counts=True), strict=True))
    assert counts == {NEUTROPHIL: 5, 3: 1, 4: 2}
    assert "Lymphocytes/slide 1/0.png" in found.files
    assert found.unlabelled == 4
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "understood NEU as neutrophil (3 images), bands as neutrophil (2 images)"
    left = "without a label, so left out: 1 beside the folders, 1 in foreign/, 2 in unsure/"
    assert said[1] == f"bloodkeras: {left}"
    assert said[2].startswith("bloodkeras: passed over 2 folders of a system's or hidden: ")


@pytest.mark.parametrize("name", ["Neutrofils", "blasts", "e", "0", "train"])
def test_a_folder_that_is_no_class_is_refused(sorted_photos, name):
    shutil.copytree(sorted_photos / "NEU", sorted_photos / name)
    with pytest.raises(BloodkerasError, match=f"the folder .*{name}: .*rename it, move it out"):
        read_labelled(str(sorted_photos), "", CLASS_NAMES)


def test_no_folder_of_a_class_is_refused(photos):
    (photos / "slide 1").rename(photos / "unsure")
    with pytest.raises(BloodkerasError, match="no folder with images that is named by a class"):
        read_labelled(str(photos), "", CLASS_NAMES)


def run(folder: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "bloodkeras", *words],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env=environment,
        timeout=120,
    )
    assert done.returncode == status, done.stderr
    return done


def test_what_sort_into_writes_can_be_read_back(tmp_path):
    """And a folder named as a table's is another place for results."""
    build_export(tmp_path / "export")
    (tmp_path / "cells").mkdir()
    for name, colour in (("a", "red"), ("b", "lime"), ("c", "#010101"), ("d", "blue")):
        Image.new("RGB", (28, 28), colour).save(tmp_path / "cells" / f"{name}.png")
    run(tmp_path, "predict", "cells", "--model", "export", "--sort-into", "sorted")
    assert len(list((tmp_path / "sorted").glob("*/*.png"))) == 4
    (tmp_path / "sorted" / "unsure").mkdir()
    (found,) = (tmp_path / "sorted").glob("*/c.png")
    found.rename(tmp_path / "sorted" / "unsure" / "c.png")
    done = run(tmp_path, "judge", "export", "--photos", "sorted")
    assert "3 photographs of sorted, 1 more have no label" in done.stdout
    assert "without a label, so left out: 1 in unsure/" in done.stderr
    (found,) = (tmp_path / "runs").glob("onnx-*/photos-sorted/photos.json")
    assert json.loads(found.read_text(encoding="utf-8"))["all_classes"]["accuracy"] == 1
    assert "is not a folder" in run(tmp_path, "judge", "export", "--photos", "x", status=2).stderr
    assert "--photos" in run(tmp_path, "judge", "export", "--labels", "x", status=2).stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_a_name_that_is_no_text_is_no_obstacle(tmp_path):
    build_export(tmp_path / "export")
    (tmp_path / "cells" / "EOS").mkdir(parents=True)
    Image.new("RGB", (28, 28), "red").save(tmp_path / "cells/EOS/a.png")
    os.rename(tmp_path / "cells/EOS/a.png", os.fsencode(tmp_path / "cells/EOS") + b"/\xe4.png")
    run(tmp_path, "judge", "export", "--photos", "cells")
