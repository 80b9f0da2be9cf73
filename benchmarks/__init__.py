"""Compares the cost of a guarded stream with a bare Starlette one: `python -m benchmarks`, or `scripts/bench`.

Each contender is a server process of its own with the same generator: a bare `StreamingResponse`, streamguard in its
forms, others. One load process at a time requests streams from one of them over raw sockets. It keeps every byte with
its arrival time, and only afterwards checks that each stream held every event once and in order. A cell that fails this
check is reported as invalid and has no figures. Linux only: CPU time is read from other processes' CPU clocks.
"""
