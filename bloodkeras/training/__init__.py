"""Recipe and images -> a run folder: augmentation, pipeline, networks, and the loop.

stain.py       random layers: another laboratory's stain, light, optics, camera
augment.py     recipe -> Keras random layers
pipeline.py    Splits -> tf.data: train_dataset(), eval_dataset()
checkpoint.py  a training's state after an epoch <-> a file that is whole or not there
optimizers.py  the optimiser Keras lacks: Muon for convolutions
layers.py      the layers Keras lacks; registers all that a saved model needs
device.py      what TensorFlow computes on, and in which precision it trains
models.py      architecture -> functional keras.Model; the table MODELS
forecast.py    how long a training takes: before it, and in it
callbacks.py   watches the epochs: checkpoints, the best model, a loss that is not a number
run_folder.py  begins a run folder, takes one up again, reads it back
distillation.py  what teachers say of the images that a student learns from
start.py       an export's weights -> a network that was just built
train.py       recipe + Splits -> run folder
"""
