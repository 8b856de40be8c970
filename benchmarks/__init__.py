"""The goals of docs/performance.md, measured side by side with what one would write instead.

``make bench`` prints them. Every server is a process of its own on loopback, every ratio comes from rounds in
which both sides ran, in alternating order, and no absolute figure is compared with another machine's.
"""
