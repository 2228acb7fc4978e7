"""The command line: what is typed, checked before anything starts, and what is called for it.

options.py       a command's signature -> its options; words -> typed values
command_line.py  fire, with its edges taken off
opening.py       what comes before a step: TensorFlow without its notes, the data, the folders
laboratories.py  whose photographs are meant, and where the results of judging them go
making.py        the commands that make models, and the whole study
judging.py       those that say how good they are
answering.py     those that answer images
finding.py       those that find cells in whole fields and count them
labelling.py     those that ask people
"""
