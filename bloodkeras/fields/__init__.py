"""Whole fields of view -> their white cells, cut out and counted. scikit-image, in the extra find.

nuclei.py        a field -> its white cells, by the stain of their nuclei
squares.py       a cell -> the square of the field that shows it as a network wants it
ruler.py         many fields -> how many micrometres a pixel shows
overlay.py       a field and its cells -> a picture of both
boxes.py         the table of the cells, which can be resumed
find.py          fields -> a folder of crops, the table, the pictures
differential.py  answers -> how many of each class, with intervals
count_script.py  the look and the script of the page
count_page.py    the same as a page, in which a click corrects an answer
count.py         fields -> all of these
"""
