"""Answers over HTTP: the Open Inference Protocol v2, on FastAPI. Needs the extra `serve`.

options.py       names, folders, limits: what a server is told
tensors.py       a request's body -> what it asks, or what is wrong with it
reply.py         answers -> a reply's body
photographs.py   photographs -> pixels, in threads
batcher.py       requests that wait at the same time -> one batch
audit_log.py     what was asked and answered, one line for each request
guard.py         who may ask, how much at once, how long a body may be
served_model.py  an export behind the protocol
app.py           the addresses of the protocol
listener.py      a port, and a stop that is heeded
server.py        starts workers, ends tidily
"""
