"""Type of a flag: a whole number from 1."""

import argparse


def positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1")
    return int(text)
