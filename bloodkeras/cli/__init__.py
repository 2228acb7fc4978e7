"""The command line and its manners.

command_line.py  fire, with its edges taken off
"""
