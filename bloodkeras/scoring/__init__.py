"""Millions of images, partition by partition, here or on a cluster. Needs pyarrow; `ray` too there.

listing.py      a folder of images, or Parquet -> the list of what is in it
lock.py         a file that only one process has
plan.py         the list and a model -> partitions, written down
reading.py      a partition -> its images, read ahead
partition.py    a partition -> part-000123.parquet: what every worker does
local.py        partitions on this machine, in one process or several
ray_cluster.py  a Ray cluster, found or started here
ray_engine.py   partitions on it, through Ray Data
command.py      `score` with its options
"""
