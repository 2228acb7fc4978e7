"""What a card says of where the weights come from."""

from bloodkeras.export.card import describe_training


def test_a_card_names_the_teachers():
    teacher = {"run": "residual-seed42", "weights_sha256": "ab" * 32, "image_side": 64}
    card = {
        "recipe": {"train_seed": 43, "train_epochs": 24},
        "training": {"teachers": [teacher]},
    }
    said = describe_training(card)
    assert said == (
        "seed 43, 24 epochs, taught by `residual-seed42` (64 pixels, weights `abababababab`)"
    )
    card["recipe"]["train_inherit"] = True
    assert describe_training(card) == f"{said}, begun with the first one's weights"
    del card["recipe"]["train_inherit"]
    del card["training"]["teachers"]  # as in cards of earlier versions
    assert describe_training(card) == "seed 43, 24 epochs"
