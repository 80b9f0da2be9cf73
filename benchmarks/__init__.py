"""What a guarded stream costs against a bare Starlette one: `python -m benchmarks`, or `scripts/bench`.

Three uvicorn processes serve the same generator: a bare `StreamingResponse`, streamguard on memory, streamguard on
Redis. One load process at a time, on raw sockets, asks one of them for streams, keeps every byte with the time it
came, and only afterwards checks that each stream held every event once and in order. A cell that fails this check is
reported as invalid and has no figures. Linux only: CPU time is read from other processes' CPU clocks.
"""
