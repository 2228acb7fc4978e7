"""The precision of a training: what the processor is quick in, said, written down and kept to."""

import json
import shutil

import keras
import pytest

from bloodkeras.errors import BloodkerasError
from bloodkeras.recipe import override, write_recipe
from bloodkeras.recipes import RECIPES
from bloodkeras.training import device
from bloodkeras.training.run_folder import begun_in, conditions, finished_run, load_run, take_up
from bloodkeras.training.train import train

WITH = frozenset({"avx2", "avx512f", "avx512_bf16"})
WITHOUT = frozenset({"avx2", "fma"})
TWO_EPOCHS = {"epochs": "2", "batch_size": "200", "width": "0.25", "precision": "auto"}
ONE_EPOCH = TWO_EPOCHS | {"epochs": "1"}


@pytest.fixture(autouse=True)
def no_limits(monkeypatch):
    """A machine without a GPU and without variables that change what oneDNN may use."""
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    for name in ("ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS"):
        monkeypatch.delenv(name, raising=False)
    device.warn_of_slow.cache_clear()


def processor_with(monkeypatch, found):
    monkeypatch.setattr(device, "instructions", lambda: found)
    device.warn_of_slow.cache_clear()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (WITH, "mixed_bfloat16"),
        (frozenset({"avx512f", "amx_bf16"}), "mixed_bfloat16"),
        (WITHOUT, "float32"),
        (frozenset({"avx512f", "avx512_vnni"}), "float32"),  # emulated: twice as slow
        (frozenset({"asimd", "bf16"}), "float32"),  # ARM: nobody measured it
        (frozenset(), "float32"),
    ],
)
def test_auto_is_what_the_processor_is_quick_in(monkeypatch, found, expected):
    processor_with(monkeypatch, found)
    assert device.choose_precision("auto") == expected
    assert device.choose_precision("float32") == "float32"
    assert device.choose_precision("mixed_bfloat16") == "mixed_bfloat16"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ONEDNN_MAX_CPU_ISA", "AVX2", "float32"),
        ("ONEDNN_MAX_CPU_ISA", "avx512_core", "float32"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", "mixed_bfloat16"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX", "mixed_bfloat16"),
        ("ONEDNN_MAX_CPU_ISA", "ALL", "mixed_bfloat16"),
        ("TF_ENABLE_ONEDNN_OPTS", "0", "float32"),
        ("TF_ENABLE_ONEDNN_OPTS", "1", "mixed_bfloat16"),
    ],
)
def test_what_onednn_may_not_use_does_not_count(monkeypatch, name, value, expected):
    processor_with(monkeypatch, WITH)
    monkeypatch.setenv(name, value)
    assert device.choose_precision("auto") == expected


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"compute_capability": (8, 0)}, "mixed_bfloat16"),
        ({"compute_capability": (9, 0)}, "mixed_bfloat16"),
        ({"compute_capability": (7, 5)}, "float32"),
        ({}, "float32"),
    ],
)
def test_a_gpu_counts_instead_of_the_processor(monkeypatch, details, expected):
    import tensorflow as tf

    processor_with(monkeypatch, WITHOUT if expected != "float32" else WITH)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert device.choose_precision("auto") == expected


def detected_on(monkeypatch, system: str, machine: str, brand: str) -> frozenset[str]:
    from archspec.cpu import detect

    monkeypatch.setattr(detect.platform, "system", lambda: system)
    monkeypatch.setattr(detect.platform, "machine", lambda: machine)
    said = {"machdep.cpu.brand_string": brand}
    monkeypatch.setattr(detect, "_darwin_sysctl_data", lambda: said)
    detect._machine.cache_clear()
    try:
        return device.instructions.__wrapped__()
    finally:
        detect._machine.cache_clear()


def test_every_system_is_asked_in_its_own_way(monkeypatch):
    import platform

    assert detected_on(monkeypatch, "Darwin", "arm64", "Apple M3") == frozenset()
    assert detected_on(monkeypatch, "Plan9", "vax", "") == frozenset()
    monkeypatch.undo()
    if platform.machine() in ("x86_64", "AMD64"):
        here = device.instructions.__wrapped__()
        there = detected_on(monkeypatch, "Windows", "AMD64", "")
        for name in ("avx2", *device.BFLOAT16_INSTRUCTIONS):
            assert (name in there) >= (name in here)  # Linux leaves out what it has switched off


def test_bfloat16_by_hand_without_the_instructions_is_warned_of_once(monkeypatch, capsys):
    processor_with(monkeypatch, WITHOUT)
    device.warn_of_slow("float32")
    assert capsys.readouterr().err == ""
    for _ in range(2):
        device.warn_of_slow("mixed_bfloat16")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "slow" in said
    assert "--precision auto" in said
    processor_with(monkeypatch, WITH)
    device.warn_of_slow("mixed_bfloat16")
    assert capsys.readouterr().err == ""


def test_the_large_recipes_ask_the_processor_and_the_small_ones_do_not():
    """simple and deeper reproduce a study, the same on any processor; tiny gains nothing."""
    found = {name: recipe.train_precision for name, recipe in RECIPES.items()}
    assert found == {
        "simple": "float32",
        "deeper": "float32",
        "tiny": "float32",
        "residual": "auto",
        "robust": "auto",
    }


@pytest.mark.parametrize(("found", "chosen"), [(WITH, "mixed_bfloat16"), (WITHOUT, "float32")])
def test_a_run_says_what_was_chosen(monkeypatch, drawn, tmp_path, capsys, found, chosen):
    processor_with(monkeypatch, found)
    recipe = override(RECIPES["simple"], ONE_EPOCH)
    run = load_run(train(recipe, drawn, tmp_path / "run"))
    assert run.recipe.train_precision == "auto"
    assert run.info["precision"] == run.precision == chosen
    assert "slow" not in capsys.readouterr().err
    # Finished is finished, on another processor too, and by its own name.
    processor_with(monkeypatch, WITH ^ found | WITHOUT)
    assert finished_run(tmp_path / "run", recipe, drawn)
    by_hand = override(recipe, {"precision": chosen})
    assert finished_run(tmp_path / "run", by_hand, drawn)
    other = {"mixed_bfloat16": "float32", "float32": "mixed_bfloat16"}[chosen]
    assert not finished_run(tmp_path / "run", override(recipe, {"precision": other}), drawn)


@pytest.fixture(scope="module")
def begun_in_bfloat16(drawn, tmp_path_factory):
    """A run of two epochs, begun where bfloat16 is quick and left after the first."""
    from bloodkeras.training import callbacks as keeper

    def stop(self, epoch, logs=None):
        before(self, epoch, logs)
        raise KeyboardInterrupt

    folder, before = tmp_path_factory.mktemp("begun") / "run", keeper.Keeper.on_epoch_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper.Keeper, "on_epoch_end", stop)
        patch.setattr(device, "has_quick_bfloat16", lambda: True)
        with pytest.raises(KeyboardInterrupt):
            train(override(RECIPES["simple"], TWO_EPOCHS), drawn, folder)
    return folder


def test_a_run_goes_on_in_the_precision_it_began_in(
    monkeypatch, drawn, tmp_path, capsys, begun_in_bfloat16
):
    folder = tmp_path / "run"
    shutil.copytree(begun_in_bfloat16, folder)
    recipe = override(RECIPES["simple"], TWO_EPOCHS)
    processor_with(monkeypatch, WITHOUT)
    with pytest.raises(BloodkerasError, match="--precision 'mixed_bfloat16', not 'float32'"):
        train(override(recipe, {"precision": "float32"}), drawn, folder, resume=True)
    train(recipe, drawn, folder, resume=True)
    assert f"{folder} began in mixed_bfloat16 and goes on in it" in capsys.readouterr().err
    run = load_run(folder)
    assert run.precision == "mixed_bfloat16"
    assert len(run.history["loss"]) == 2
    saved = keras.saving.load_model(folder / "model.keras", compile=False)
    assert saved.layers[2].compute_dtype == "bfloat16"


def test_a_run_of_an_earlier_version_names_its_precision_in_the_recipe(
    monkeypatch, drawn, tmp_path, begun_in_bfloat16
):
    """It was begun when a recipe still said mixed_bfloat16: auto goes on with it."""
    folder = tmp_path / "run"
    shutil.copytree(begun_in_bfloat16, folder)
    recipe = override(RECIPES["simple"], TWO_EPOCHS)
    write_recipe(override(recipe, {"precision": "mixed_bfloat16"}), folder / "recipe.json")
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del info["precision"]
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    processor_with(monkeypatch, WITHOUT)
    assert begun_in(folder) == "mixed_bfloat16"
    state = take_up(folder, recipe, drawn, info | conditions(True))
    assert state.epochs == 1
