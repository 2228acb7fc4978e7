"""Millions of images, partition by partition, here or on a cluster. Needs pyarrow; `ray` too there.

`whole_file.py`, `listing.py`, `plan.py`, `reading.py`, `partition.py`, `local.py`,
`ray_cluster.py`, `ray_engine.py`, `command.py`, in the order of the flow; docs/scoring.md is for
those who run it.
"""
