"""A page to try a model on, in a browser: on Gradio. Needs the extra `demo`.

explain.py  a file -> answer, and what the network looked at
tile.py     that -> HTML
page.py     files in, tiles out: Gradio's Blocks
server.py   serves the page
"""
