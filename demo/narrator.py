"""Tells what happens and keeps count of what did not happen as it should."""

import os
import sys

_PLAIN = {"bold": "", "dim": "", "green": "", "red": "", "cyan": "", "reset": ""}
_COLOUR = {
    "bold": "\033[1m",
    "dim": "\033[2m",
    "green": "\033[32m",
    "red": "\033[31m",
    "cyan": "\033[36m",
    "reset": "\033[0m",
}


class Narrator:
    def __init__(self):
        on_terminal = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._style = _COLOUR if on_terminal else _PLAIN
        self.outcomes = 0
        self.failures = 0

    def act(self, title):
        print("\n{bold}{cyan}{0}{reset}".format(title, **self._style))

    def tell(self, text):
        print("  {dim}{0}{reset}".format(text, **self._style))

    def outcome(self, good, sentence, otherwise=""):
        """Says what the server answered; an unexpected answer fails the demo."""
        self.outcomes += 1
        if good:
            print("  {green}ok{reset}      {0}".format(sentence, **self._style))
        else:
            self.failures += 1
            text = f"{sentence}: {otherwise}" if otherwise else sentence
            print("  {red}{bold}FAILED{reset}  {0}".format(text, **self._style))
        sys.stdout.flush()

    def summary(self):
        if self.failures:
            sentence = f"{self.failures} of {self.outcomes} outcomes were NOT as they should be"
            print("\n{red}{bold}FAILED: {0}{reset}".format(sentence, **self._style))
        else:
            sentence = f"all {self.outcomes} outcomes were as they should be"
            print("\n{green}{bold}{0}{reset}".format(sentence, **self._style))
