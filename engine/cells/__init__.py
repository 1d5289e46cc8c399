"""The recurrent cells, in the order of their history. A new one is a file beside this and a row in `CELLS`."""

from engine.cells.cell import Cell
from engine.cells.gru import GRU
from engine.cells.gru_reset_after import ResetAfterGRU
from engine.cells.lstm import LSTM
from engine.cells.lstm_cec import CarouselLSTM
from engine.cells.lstm_io import InputOutputLSTM
from engine.cells.lstm_peephole import PeepholeLSTM
from engine.cells.rnn import SimpleRNN

CELLS: dict[str, type[Cell]] = {
    "rnn": SimpleRNN,
    "lstm_cec": CarouselLSTM,
    "lstm_io": InputOutputLSTM,
    "lstm": LSTM,
    "lstm_peephole": PeepholeLSTM,
    "gru": GRU,
}


def cell_of(config) -> type[Cell]:
    """Return the class of a run's cell: the GRU has a variant."""
    return ResetAfterGRU if config.reset_after else CELLS[config.cell]
