"""Predictions and labels -> numbers and figures, for runs and exports alike.

metrics.py      (labels, probabilities) -> numbers, with bootstrap intervals
evaluate.py     (predict_proba, split) -> Report
doubt.py        Classifier + Splits -> how far its verdicts can be trusted
corruptions.py  a Split as other laboratories might show it -> what is left of the accuracy
figures.py      Splits, history, Report -> PNG
"""
