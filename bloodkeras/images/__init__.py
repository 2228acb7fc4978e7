"""A file of any kind -> uint8 pixels as the network was shown. numpy, Pillow; never TensorFlow.

refusal.py      a bad file -> one line that names it
unsupported.py  a sound file that nothing here reads -> what it is
synthetic.py    cells drawn in the layout of BloodMNIST: the offline demo and the tests' data
decode.py       an image file of any kind -> its pictures, upright Pillow images
framing.py      a photograph -> how much of it to keep, from the cell's size
preprocess.py   a photograph -> uint8 (S, S, 3), as MedMNIST did it
folder.py       a folder -> its images, past what systems leave there
arrays.py       .npy and .npz -> images, a slice at a time
sources.py      files (all their pages), folders, globs, lists -> a stream of images, read ahead
red_cells.py    how much light a frame takes -> diameters of the red cells in it
scale.py        many photographs -> how many micrometres their pixels show, by red cells and nuclei
frames.py       photographs -> one image: as the network sees them, beside BloodMNIST's
"""
