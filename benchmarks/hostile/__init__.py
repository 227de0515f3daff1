"""Hostile input: seeded, structured mutations of every format that is read, and what becomes of each.

    python -m benchmarks.hostile --cases 10000 [--seed S] [--jobs N]

Each trial spoils one file of a tiny case and runs the whole program on it, in
a worker process with a time limit. It must end in a status of the documented
table with one line on stderr and nothing written, or be accepted; and what is
accepted with other masks must be what an independent reader of that format
makes of the file (see `benchmarks.hostile.oracle`).
"""
