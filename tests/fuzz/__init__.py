"""Hostile inputs for every command: `python -m tests.fuzz`, or `make fuzz`.

Every input is one mutation of intact material (:mod:`.material`), drawn by a seed (:mod:`.kinds`), and goes to the main
function of a real command in a process of its own (:mod:`.running`). The answer must be a result, a listed reason, or
one line with exit status 2 (:mod:`.verdicts`).
"""
