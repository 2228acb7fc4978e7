"""The search for a better recipe, on KerasTuner. Needs the extra `tune`.

search_space.py  which of them a search may change, and how far
trial.py         recipe + TuningData (no test split) -> metrics of each epoch
plan.py          what is searched for, as the search and its workers know it
oracle.py        plan -> one of KerasTuner's oracles, made to outlive a kill and a lost worker
leaderboard.py   an oracle's trials -> the terminal, tuning.csv, recipe.json
plots.py         the same -> parallel coordinates, importance
chief.py         an oracle <-> workers on other machines
search.py        all of these: plan + TuningData -> a folder
command.py       `tune` with its options
"""
