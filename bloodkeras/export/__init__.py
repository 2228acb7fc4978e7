"""A run -> a checked ONNX file, its int8 twin, and a card.

gaussian.py     features, labels -> a normal distribution a class
colours.py      a layer that looks at the colours of an image alone
ood_score.py    scores that tell images of no cell from cells, and the choice of one
calibration.py  model + Splits -> temperature, thresholds, the chosen score
half_weights.py fp32 graph -> the same in half the bytes
quantise.py     fp32 graph + Splits -> int8 graph, if it loses little accuracy
empty_batch.py  a graph that takes a batch of no images, too
nodes.py        ONNX nodes, written as numpy writes arithmetic
resize_graph.py  Pillow's resize, as nodes
jpeg_graph.py   the JPEG round trip, as nodes
framing_graph.py  how much of a photograph is kept, as nodes
photograph.py   a network -> one with all that is done to a photograph in its graph
document.py     text, tables and figures -> one HTML page
card.py         what an exported model is: card.json, MODEL_CARD.md, MODEL_CARD.html
add_photograph.py  an export -> the same with photograph.onnx, by its own files alone
publish.py      run folder -> runs/exports/<model>/, published only if it agrees with Keras
"""
