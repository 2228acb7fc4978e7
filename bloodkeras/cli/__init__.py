"""The command line: what is typed, checked before anything starts, and what is called for it.

options.py       a command's signature -> its options; words -> typed values
command_line.py  fire, with its edges taken off
opening.py       what comes before a step: TensorFlow without its notes, the data, the folders
making.py        the commands that make models, and the whole study
laboratories.py  whose photographs are judged, and where the results go
judging.py       those that say how good they are
answering.py     those that answer images
labelling.py     those that ask people
"""
