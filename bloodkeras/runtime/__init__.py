"""What a deployment installs: numpy, onnxruntime and Pillow, and nothing of the training side.

Flow: takes exports/<model>/ and photographs; gives labels and probabilities.
"""
