"""The whole flow in order, and what compares its results.

held_out.py  recipe + Splits -> is a class noticed that was not in training?
report.py    every Report -> results.txt, results.json, report.html
targets.py   a word on the command line -> the run or export it stands for
compare.py   runs and exports on the same images: is the difference more than luck?
study.py     all of the above with its folders, in order and timed: `make all`
"""
