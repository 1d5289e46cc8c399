"""The tasks. A new one is a file beside this and a row in `TASKS`."""

from engine.tasks.adding_problem import AddingProblem
from engine.tasks.binary_addition import BinaryAddition
from engine.tasks.bit_count import BitCount
from engine.tasks.copy_memory import CopyMemory
from engine.tasks.parity import Parity
from engine.tasks.task import Task
from engine.tasks.temporal_order import TemporalOrder

TASKS: dict[str, Task] = {
    "binary_addition": BinaryAddition(),
    "bit_count": BitCount(),
    "adding_problem": AddingProblem(),
    "copy_memory": CopyMemory(),
    "temporal_order": TemporalOrder(),
    "parity": Parity(),
}
