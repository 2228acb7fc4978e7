"""A laboratory's own cells: how good an export is there, and an export calibrated on them.

shift_score.py     do these images look like the training data?
labels.py          a table, or folders -> what each photograph shows
labelled.py        a folder and what it shows -> photographs with labels
mistakes_page.py   wrong answers -> one HTML page
judge.py           export + labelled photographs -> how good it is there
judge_table.py     several exports on several folders -> one table
graph.py           the last layer of an ONNX file, to read and to replace
activation_map.py  an export -> what its network looked at
fit.py             some tens of cells -> last layer, temperature, thresholds
calibrate.py       export + one's own cells -> an export calibrated on them
"""
