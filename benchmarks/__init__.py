"""The targets of docs/performance.md, each a ratio against what one would write or use instead.

Every server is a process of its own on loopback. The sides of a ratio run in the same rounds, in alternating
order: absolute figures of different machines or runs are not comparable.
"""
