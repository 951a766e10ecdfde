#!/usr/bin/env python3
"""A COMMAND for `--lines` in Python. To copy from.

    loadbalancer --lines 3 -- python3 handler.py

A line in:   ID <tab> ATTEMPT <tab> INDEX <tab> TEXT
A line out:  ID <tab> ok   (or: retry, dead, each with <tab> REASON if you like; or: alive)
"""

import sys


class Never(Exception):
    """This message can never be done."""


def work(text, attempt):
    """The work itself. Here a text with a `!` is none that could ever be done, and one that begins with `busy` is
    not done at the first try."""
    if "!" in text:
        raise Never("it has a ! in it")
    if text.startswith("busy") and attempt == 1:
        raise TimeoutError("busy")


def one_line(error):
    """A reason must not hold a tab or the end of a line."""
    return " ".join(str(error).split())


# A text is UTF-8, whatever the locale says; and only "\n" ends a line.
sys.stdin.reconfigure(encoding="utf-8", newline="\n")
sys.stdout.reconfigure(encoding="utf-8", newline="\n")
answers = sys.stdout
# What a library prints is no answer.
sys.stdout = sys.stderr

for line in sys.stdin:
    message_id, attempt, _index, text = line.rstrip("\n").split("\t")
    try:
        work(text, int(attempt))
        answer = "ok"
    except Never as error:
        answer = f"dead\t{one_line(error)}"
    except Exception as error:  # perhaps it goes better next time
        answer = f"retry\t{one_line(error)}"
    # At once: the answer is waited for.
    print(message_id, answer, sep="\t", file=answers, flush=True)
# The end of the input: nothing is left to do.
