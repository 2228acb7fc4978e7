"""Answers over HTTP: the Open Inference Protocol v2, on FastAPI. Needs the extra `serve`.

`options.py`, `tensors.py`, `reply.py`, `photographs.py`, `batcher.py`, `audit_log.py`,
`guard.py`, `served_model.py`, `app.py`, `listener.py`, `server.py`, in the order of
the flow; docs/serving.md is for those who run it.
"""
