"""A page to try a model on, in a browser: on Gradio. Needs the extra `demo`.

`explain.py`, `tile.py`, `page.py`, `server.py`, in the order of the flow; docs/demo.md is for those
who use it.
"""
