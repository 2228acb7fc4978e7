"""A data set, found, downloaded, read and checked; images that are no cells.

download.py    MedMNIST's cache, or its server -> a file with the right MD5
splits.py      find, read and check a file -> Splits; class weights
audit.py       Splits -> class balance and duplicates
divide.py      labels and groups -> splits that share no slide or patient
rehearse.py    one's own training split -> the same with earlier cells
gather.py      one's own photographs -> a file in MedMNIST's layout
ood_images.py  draws and cuts images that are no cells
"""
