//! Verdicts read off the matrix: as the program gives them, for every pod, with the policies and rules behind them.
