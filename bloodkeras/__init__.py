"""BloodKeras: a small blood-cell classifier, from BloodMNIST to a checked ONNX file.

The map, in the order the data flows. A module imports only modules above it.

    errors.py       what a user is told, and the exit status that goes with it
    contract.py     facts: class names, shapes, tensor names, URL, MD5, licence
    interrupts.py   Ctrl-C and SIGTERM, which must not get lost
    recipe.py       choices: one frozen dataclass, the named recipes, typed overrides
    search_space.py  which of them a search may change, and how far

    runtime/        what a deployment installs: numpy, onnxruntime, Pillow; never TensorFlow
        refusal.py      a bad file -> one line that names it
        unsupported.py  a sound file that nothing here reads -> what it is
        decode.py       an image file of any kind -> its pictures, upright Pillow images
        scale.py        a photograph -> how much of it to keep, from the cell's size
        preprocess.py   a photograph -> uint8 (28, 28, 3), as MedMNIST did it
        folder.py       a folder -> its images, past what systems leave there
        progress.py     how far it is and when it ends: a bar, or a line now and then
        spreadsheet.py  a small CSV table that a person wrote -> rows
        class_names.py  a name as people write it -> a class
        prior.py        what classes can occur -> a weight a class
        exports.py      a name or a folder -> the folder of an export
        classifier.py   exports/<model> -> Classifier: labels, predict_proba, predict
        benchmark.py    predict_proba -> seconds, images a second, memory
        whole_file.py   a file that is whole or not there
        arrays.py       .npy and .npz -> images, a slice at a time
        pages.py        an image file -> its photograph, or one a page
        sources.py      files, folders, globs, lists -> a stream of images, read ahead
        formats.py      rows <-> CSV, JSON lines; Parquet
        table.py        rows -> a table that can be resumed
        printed.py      rows -> standard output
        copies.py       rows -> images in one folder a class
        page_style.py   the look of all pages
        page.py         rows -> one HTML page: counts, and the doubtful ones to see
        shift_score.py  do these images look like the training data?
        labelled.py     a folder, with a table or folders -> photographs with labels
        mistakes_page.py  wrong answers -> one HTML page
        laboratory.py   export + labelled photographs -> how good it is there
        graph.py        the last layer of an ONNX file, to read and to replace
        activation_map.py  an export -> what its network looked at
        fit.py          some tens of cells -> last layer, temperature, thresholds
        adapt.py        export + one's own cells -> an export calibrated on them
        score.py        all of these: images -> a table of answers

    scoring/        millions of images: partitions, here or on Ray; needs pyarrow, ray
        listing.py      a folder of images, or Parquet -> the list of what is in it
        lock.py         a file that only one process has
        plan.py         the list and a model -> partitions, written down
        reading.py      a partition -> its images, read ahead
        partition.py    a partition -> part-000123.parquet: what every worker does
        local.py        partitions on this machine, in one process or several
        ray_cluster.py  a Ray cluster, found or started here
        ray_engine.py   partitions on it, through Ray Data
        command.py      `score` with its options

    serving/        answers over HTTP, on the runtime and FastAPI; never TensorFlow
        options.py      names, folders, limits: what a server is told
        tensors.py      a request's body -> what it asks, or what is wrong with it
        reply.py        answers -> a reply's body
        photographs.py  photographs -> pixels, in threads
        batcher.py      requests that wait at the same time -> one batch
        audit_log.py    a line a request: what was asked and answered
        guard.py        who may ask, how much at once, how long a body may be
        served_model.py  an export behind the protocol
        app.py          the addresses of the protocol
        listener.py     a port, and a stop that is heeded
        server.py       starts workers, ends tidily

    synthetic.py    draws cells in the same layout: the offline demo and the tests' data
    demo/           a page to try a model on, on the runtime and Gradio; never TensorFlow
        explain.py      a file -> answer, and what the network looked at
        tile.py         that -> HTML
        page.py         files in, tiles out: Gradio's Blocks
        server.py       serves the page
    download.py     MedMNIST's cache, or its server -> a file with the right MD5
    data.py         find, read and check a file -> Splits; class weights
    audit.py        Splits -> class balance and duplicates
    stain.py        random layers: another laboratory's stain, light, optics, camera
    augment.py      recipe -> Keras random layers
    pipeline.py     Splits -> tf.data: train_dataset(), eval_dataset()
    checkpoint.py   a training's state after an epoch <-> a file that is whole or not there
    gaussian.py     features, labels -> a normal distribution a class
    colours.py      layers that look at an image's colours alone
    optimizers.py   the optimiser Keras lacks: Muon for convolutions
    layers.py       the layers Keras lacks; registers all that a saved model needs
    device.py       what TensorFlow computes on, and in which precision it trains
    models.py       name -> functional keras.Model; the table MODELS
    forecast.py     how long a training takes: before it, and in it
    keeper.py       watches the epochs: checkpoints, the best model, a loss that is no number
    start.py        begins a run folder, or takes one up again
    train.py        recipe + Splits -> run folder
    join.py         two runs -> a run of both in one: for images like training's, and all others
    metrics.py      (labels, probabilities) -> numbers, with bootstrap intervals
    evaluate.py     (predict_proba, split) -> Report
    foreign.py      draws and cuts images that are no cells
    foreign_score.py  scores that tell them from cells, and the choice of one
    calibrate.py    model + Splits -> temperature, thresholds, the chosen score
    held_out.py     recipe + Splits -> is a class noticed that was not in training?
    doubt.py        Classifier + Splits -> how far its verdicts can be trusted
    shifts.py       a Split as other laboratories might show it -> what is left of the accuracy
    quantise.py     fp32 graph + Splits -> int8 graph, if it loses little accuracy
    empty_batch.py  a graph that takes a batch of no images, too
    figures.py      Splits, history, Report -> PNG

    tuning/         the search for a better recipe; needs keras-tuner
        trial.py        recipe + TuningData (no test split) -> metrics of each epoch
        plan.py         what is searched for, as the search and its workers know it
        oracle.py       KerasTuner's oracles, made to outlive a kill and a lost worker
        strategies.py   plan -> hyperband, bayesian or random
        leaderboard.py  an oracle's trials -> the terminal, tuning.csv, recipe.json
        plots.py        the same -> parallel coordinates, importance
        chief.py        an oracle <-> workers on other machines
        search.py       all of these: plan + TuningData -> a folder
        command.py      `tune` with its options

    document.py     text, tables and figures -> one HTML page
    card.py         what an exported model is: card.json, MODEL_CARD.md, MODEL_CARD.html
    export.py       run folder -> runs/exports/<model>/, published only if it agrees with Keras
    report.py       every Report -> results.txt, results.json, report.html
    torch_twin.py   keras.Model -> the same in PyTorch, for the benchmark
    contenders.py   the ways to run a network: Keras, PyTorch, OpenVINO, ONNX fp32 and int8
    benchmark_table.py  rounds -> medians, ratios, a table
    benchmark.py    export + run -> all contenders side by side: runs/benchmark-<model>
    places.py       a word on the command line -> the run or export it stands for
    compare.py      runs and exports on the same images: is the difference more than luck?
    study.py        all of the above with its folders, in order and timed: `make all`
    command_line.py  fire, with its edges taken off
    __main__.py     the command table

The one seam between training and deployment is
`predict_proba(uint8 (N, 28, 28, 3)) -> float32 (N, 8)`: a Keras run and an exported
ONNX file both satisfy it, so the same `evaluate` judges both.

From Python: `bloodkeras.load("residual").predict("cell.jpg")`.
"""

import os

__version__ = "0.1.0"
__all__ = ["Classifier", "load"]

# Nothing leaves the machine. Some packages count their users, and read these variables when they
# are imported; this file is always run before that, in worker processes too. Whoever has set one
# himself is left alone.
_QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime 1.29 and newer: a device id, Microsoft's server
    "GRADIO_ANALYTICS_ENABLED": "False",  # and its look for a newer version
    "HF_HUB_DISABLE_TELEMETRY": "1",  # comes with Gradio
    "RAY_USAGE_STATS_ENABLED": "0",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)


def __getattr__(name: str):
    """Import what is public when it is asked for, so that importing the package stays instant."""
    if name in __all__:
        from bloodkeras.runtime import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
