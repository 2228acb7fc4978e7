"""A page on which a person names cells, those first that tell most. Needs the extra `label`.

order.py        features and answers -> whom to ask about next
table.py        what was said, on disk after every answer
cells.py        a folder -> photographs, and what a network makes of each
state.py        how far it is: what is asked, what was said
calibration.py  the answers so far -> a new export
picture.py      a photograph -> a large picture of its cell
page.py         the page; what it does in the browser is page.js
app.py          the addresses behind the page
server.py       serves it
agreement.py    two people's tables -> how far they agree
"""
