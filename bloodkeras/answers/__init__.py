"""Pixels -> answers -> tables, copies, pages. numpy, onnxruntime and Pillow, never TensorFlow.

spreadsheet.py  a small CSV table that a person wrote -> rows
class_names.py  a name as people write it -> a class
prior.py        what classes can occur -> one weight for each class
exports.py      a name or a folder -> the folder of an export
export_folder.py  an export's folder: is it whole, and a new one published whole
session.py      an ONNX file -> onnxruntime's session, the one way to open it
answer.py       probabilities -> verdicts, and how good they are
classifier.py   exports/<model> -> Classifier: labels, predict_proba, predict
origin.py       which network answers, and how it is asked: what a job is resumed with
formats.py      rows <-> CSV, JSON lines; Parquet
table.py        rows -> a table that can be resumed
printed.py      rows -> standard output
copies.py       rows -> images in one folder a class
page_style.py   the look of all pages
html_page.py    rows -> one HTML page: counts, and the doubtful ones to see
predict.py      all of these: images -> a table of answers
"""
