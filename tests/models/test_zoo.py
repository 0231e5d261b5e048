"""Models by name: shipped weights, bags, and what does not fit."""

from fractions import Fraction

import pytest
import torch

from edge.bundle import snr_db
from edge.checkpoints import save_checkpoint
from edge.compression.cost import macs_per_second, parameters
from edge.compression.prune import prune
from edge.errors import InputError
from edge.export.lower import lower
from edge.models.bag import Bag
from edge.models.htdemucs import HTDemucs, HTDemucsConfig
from edge.zoo import SHIPPED, load_model, recovered_weights

TINY = HTDemucsConfig(segment=Fraction(1), channels=4, bottom_channels=16, t_layers=1, t_heads=2, dconv_comp=2)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_load(name):
    model = load_model(name)
    assert model.shipped and model.task == ("enhance" if name == "enhancer" else "separate")
    assert "MIT" in model.weights_license and len(model.training_data) > 20
    for ratio in (0.0, 0.31, 0.5, 0.123):
        path = recovered_weights(model, ratio)
        assert path is None or path.is_file()


def test_a_bag_takes_each_source_from_its_own_network(tmp_path):
    paths = []
    for seed in range(4):
        torch.manual_seed(seed)
        paths.append(tmp_path / f"{seed}.safetensors")
        save_checkpoint(paths[-1], HTDemucs(TINY))
    with pytest.raises(InputError, match=r"which of 0\.safetensors, 1.* is for which source cannot be told"):
        load_model("htdemucs_ft", paths)
    one_each = [[int(i == k) for k in range(4)] for i in range(4)]
    (tmp_path / "bag.yaml").write_text(f"models: ['0', '1', '2', '3']\nweights: {one_each}\n")
    model = load_model("htdemucs_ft", [tmp_path / "bag.yaml"])
    bag = model.network
    assert isinstance(bag, Bag)
    mix = torch.randn(1, 2, 20000)
    with torch.inference_mode():
        stems = bag(mix)
        assert torch.equal(stems[:, 2], bag.models[2](mix)[:, 2])
        lowered = lower(bag, 20000, "onnx")(mix)
        assert snr_db(stems.numpy(), lowered.numpy()) > 100
    assert prune(bag, 0.5).model(mix).shape == stems.shape
    assert parameters(bag) == 4 * parameters(bag.models[0])
    assert macs_per_second(bag, 20000).layers == pytest.approx(4 * macs_per_second(bag.models[0], 20000).layers)
    with pytest.raises(InputError, match="4 checkpoint"):
        load_model("htdemucs_ft", paths[:2])
    with pytest.raises(InputError, match="another model"):
        load_model("htdemucs_6s", paths[:1])
    with pytest.raises(InputError, match="another model"):
        load_model("enhancer", paths[:1])


def test_unknown_name():
    with pytest.raises(InputError, match="unknown model"):
        load_model("spleeter")
