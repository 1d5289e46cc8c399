"""The tasks a network can be asked to learn. A new one is a file beside this and a row in `TASKS`."""

from engine.tasks.binary_addition import BinaryAddition

TASKS = {"binary_addition": BinaryAddition()}
