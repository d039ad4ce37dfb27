"""Benchmarks: what the library costs, beside what a user would have otherwise.

`python -m benchmarks` measures everything and writes `RESULTS.md`; `streams` and `real_turns` are programs of
their own.
"""
