"""The ways to run a network, side by side.

timing.py        predict_proba -> seconds, images a second, memory
engines.py       the ways to run a network: Keras, PyTorch, OpenVINO, ONNX fp32 and int8
table.py         rounds -> medians, ratios, a table
side_by_side.py  export + run -> all engines side by side: runs/benchmark-<model>
"""
