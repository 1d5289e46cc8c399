"""The recurrent cells. A new one is a file beside this and a row in `CELLS`."""

from engine.cells.rnn import SimpleRNN

CELLS = {"rnn": SimpleRNN}
