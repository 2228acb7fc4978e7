"""Answers over HTTP: the Open Inference Protocol v2, on kserve. Needs the extra `serve`.

`options.py`, `tensors.py`, `batcher.py`, `audit_log.py`, `served_model.py`, `guard.py`, `app.py`,
`server.py`, in the order of the flow; docs/serving.md is for those who run it.
"""
