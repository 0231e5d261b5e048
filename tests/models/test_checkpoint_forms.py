"""Every form in which HT Demucs networks are saved: the stems are demucs' by name, or it is refused.

The networks are small, seeded and random; the reference is `demucs.apply.apply_model` with the settings that the
network was built with.
"""

import argparse
import io
import json
import zipfile
from collections import OrderedDict, defaultdict
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from demucs_networks import KARAOKE, build, by_demucs, mixture, package, separate
from safetensors.torch import save_file

from edge.bundle import snr_db
from edge.checkpoints import Stated, load_any
from edge.errors import InputError
from edge.interface import separation_interface
from edge.models.architectures import architecture_of
from edge.zoo import load_model

demucs = pytest.importorskip("demucs.htdemucs")
omegaconf = pytest.importorskip("omegaconf")

TOLD = dict(sources=KARAOKE, samplerate=44100, segment=0.4, t_heads=4, freq_emb=0.2)


def without(content, *keys):
    return {key: value for key, value in content.items() if key not in keys}


def prefixed(model, prefix):
    return {prefix + key: value for key, value in model.state_dict().items()}


def training(model, /, **over):
    """The configuration that demucs' trainer has, and keeps in its checkpoints."""
    _, kwargs = model._init_args_kwargs
    network = {k: v for k, v in kwargs.items() if k != "segment"}
    dset = dict(sources=list(model.sources), channels=model.audio_channels, samplerate=model.samplerate, segment=0.1)
    return {"dset": dset, "model_segment": None, "model": "htdemucs", "htdemucs": network, **over}


def trainer(model, best=True):
    worse = {key: value + 0.1 for key, value in model.state_dict().items()}
    return {
        "state": worse if best else model.state_dict(),
        "best_state": model.state_dict() if best else None,
        "optimizer": torch.optim.Adam(model.parameters()).state_dict(),
        "history": [{"train": defaultdict(float, loss=np.float64(0.5))}],
        "args": omegaconf.OmegaConf.create(training(model)),
        "ema_batch_0": {"state": worse, "count": 3},
    }


def mss_config(model, **over):
    """A YAML of Music-Source-Separation-Training, with the tag of Python that its files have."""
    _, kwargs = model._init_args_kwargs
    network = "".join(f"  {k}: {v}\n" for k, v in kwargs.items() if k not in ("segment", "sources"))
    return (
        f"audio:\n  chunk_size: 44100\ntraining:\n  segment: 0.4\n  samplerate: {model.samplerate}\n  channels: 2\n"
        f"  instruments: {json.dumps(list(model.sources))}\n  lr: 9.0e-05\n"
        "augmentations:\n  mixup_probs: !!python/tuple\n    - 0.2\n    - 0.02\n"
        f"model: htdemucs\nhtdemucs:\n  num_subbands: 1\n  channels_time:\n  dconv_init: 1e-3\n{network}"
    )


def saved(content, **options):
    def write(model, folder):
        torch.save(content(model), folder / "m.th", **options)
        return folder / "m.th", Stated()

    return write


def bare(content, suffix=".th", config=None, state=None, **given):
    """A file without settings, and what is said about it."""

    def write(model, folder):
        path = folder / f"m{suffix}"
        tensors = content(model)
        save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
        source = None
        if config is not None:
            source = folder / ("c.json" if config(model).startswith("{") else "c.yaml")
            source.write_text(config(model))
        return path, Stated(str(source) if source else None, given, state)

    return write


def released(model, folder, klass="demucs.htdemucs.HTDemucs", dtype=torch.float32):
    """As demucs 4.1 fetches them: safetensors with the constructor's arguments as JSON in the metadata."""
    args, kwargs = model._init_args_kwargs

    def encoded(value):
        if isinstance(value, Fraction):
            return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
        return value

    metadata = {
        "klass": klass,
        "args": json.dumps(list(args)),
        "kwargs": json.dumps({k: encoded(v) for k, v in kwargs.items()}),
    }
    save_file({k: v.to(dtype) for k, v in model.state_dict().items()}, folder / "abc.safetensors", metadata)
    return folder / "abc.safetensors", Stated()


def lightning(model, prefix="model.", **more):
    state = OrderedDict(prefixed(model, prefix)) | {"loss.window": torch.ones(8)}
    return {"state_dict": state, "epoch": 3, "pytorch-lightning_version": "2.0", "callbacks": {}, **more}


def keyword_args(model):
    args, kwargs = model._init_args_kwargs
    return json.dumps({"sources": args[0], **kwargs}, default=float)


def state_dict(model):
    return model.state_dict()


def compiled_parts(model):
    return {key.replace(".0.", ".0._orig_mod.", 1): value for key, value in model.state_dict().items()}


FORMS = {
    "package": saved(package),
    "package_half": saved(lambda m: package(m, state={k: v.half() for k, v in m.state_dict().items()})),
    "package_bf16": saved(lambda m: package(m, state={k: v.bfloat16() for k, v in m.state_dict().items()})),
    "package_double": saved(lambda m: package(m, state={k: v.double() for k, v in m.state_dict().items()})),
    "package_legacy": saved(package, _use_new_zipfile_serialization=False),
    "package_protocol_4": saved(package, pickle_protocol=4),
    "package_without_args": saved(lambda m: without(package(m, args=(), kwargs=all_kwargs(m)), "args")),
    "package_without_klass": saved(lambda m: without(package(m), "klass")),
    "package_class_of_a_fork": saved(lambda m: package(m, klass=HTDemucs)),
    "package_unknown_keys": saved(lambda m: package(m, version=3, notes=SimpleNamespace(a=1))),
    "package_module_prefix": saved(lambda m: package(m, state=prefixed(m, "module."))),
    "whole_module": saved(lambda m: m),
    "trainer": saved(trainer),
    "trainer_without_best": saved(lambda m: trainer(m, best=False)),
    "trainer_best_th": saved(lambda m: package(m, state={k: v.clone() for k, v in m.state_dict().items()})),
    "released_safetensors": released,
    "released_safetensors_half": lambda m, d: released(m, d, dtype=torch.float16),
    "bare_flags": bare(state_dict, **TOLD),
    "bare_json": bare(state_dict, config=keyword_args),
    "bare_demucs_yaml": bare(state_dict, config=lambda m: omegaconf.OmegaConf.to_yaml(training(m))),
    "bare_mss_yaml": bare(state_dict, config=mss_config),
    "bare_released_name_and_flags": lambda m, d: (
        bare(state_dict)(m, d)[0],
        Stated("htdemucs", TOLD),
    ),
    "bare_legacy": lambda m, d: (
        torch.save(m.state_dict(), d / "l.pt", _use_new_zipfile_serialization=False) or d / "l.pt",
        Stated(None, TOLD),
    ),
    "bare_safetensors": bare(state_dict, ".safetensors", **TOLD),
    "safetensors_prefix": bare(lambda m: prefixed(m, "model."), ".safetensors", **TOLD),
    "parameters_not_tensors": bare(lambda m: dict(m.named_parameters()), **TOLD),
    "lightning": bare(lightning, ".ckpt", **TOLD),
    "lightning_nested_prefix": bare(lambda m: lightning(m, "model._orig_mod."), ".ckpt", **TOLD),
    "lightning_hyperparameters": saved(
        lambda m: lightning(m, hyper_parameters={**json.loads(keyword_args(m)), **TOLD, "lr": 1e-4})
    ),
    "lightning_training_config": saved(lambda m: lightning(m, hyper_parameters={"config": training(m)})),
    "model_state_dict": bare(lambda m: {"model_state_dict": m.state_dict(), "epoch": 1}, **TOLD),
    "model": bare(lambda m: {"model": m.state_dict(), "args": argparse.Namespace(lr=1)}, **TOLD),
    "ema": bare(lambda m: {"ema": prefixed(m, "ema_model."), "step": torch.tensor(3)}, **TOLD),
    "params": bare(lambda m: {"params": m.state_dict()}, **TOLD),
    "data_parallel": bare(lambda m: prefixed(m, "module."), **TOLD),
    "compiled": bare(lambda m: prefixed(m, "_orig_mod."), **TOLD),
    "compiled_parts": bare(compiled_parts, **TOLD),
    "ema_beside_raw": bare(
        lambda m: {"model": {k: v + 1 for k, v in state_dict(m).items()}, "ema": m.state_dict()}, state="ema", **TOLD
    ),
    "deep": bare(lambda m: {"checkpoint": {"net": {"generator": prefixed(m, "module.")}}}, **TOLD),
    "wrapped_module_whole": saved(torch.nn.DataParallel),
    "whole_module_within": saved(lambda m: {"model": m, "epoch": 3}),
    "whole_module_legacy": saved(lambda m: m, _use_new_zipfile_serialization=False),
    "package_within": saved(lambda m: {"net": package(m), "epoch": 3}),
    "bag_of_one_whole": saved(lambda m: bag_of(m)),
    "one_of_two_packages": lambda m, d: (
        saved(lambda m: {"a": package(build(t_heads=2)), "b": package(m)})(m, d)[0],
        Stated(state="b.state"),
    ),
    "package_omegaconf": saved(lambda m: package(m, args=(), kwargs=omegaconf.OmegaConf.create(numbers(m, float)))),
    "package_omegaconf_sources": saved(lambda m: package(m, args=(omegaconf.OmegaConf.create(KARAOKE),))),
    "package_numpy": saved(lambda m: package(m, args=(), kwargs=numbers(m, np.float64))),
    "package_numpy_protocol_4": saved(lambda m: package(m, args=(), kwargs=numbers(m, np.float64)), pickle_protocol=4),
    "mixed_precision": bare(
        lambda m: {k: v.double() if i % 2 else v for i, (k, v) in enumerate(state_dict(m).items())}, **TOLD
    ),
    "own_arguments_beside": saved(lambda m: {"state_dict": state_dict(m), "model_args": json.loads(keyword_args(m))}),
}


class HTDemucs(demucs.HTDemucs):
    """As a fork has it: a class of the same name elsewhere."""


def all_kwargs(model):
    args, kwargs = model._init_args_kwargs
    return {"sources": list(args[0]), **kwargs}


def numbers(model, kind):
    return {key: kind(v) if isinstance(v, Fraction) else v for key, v in all_kwargs(model).items()}


def bag_of(model):
    from demucs.apply import BagOfModels

    return BagOfModels([model])


def by_us(network, mix):
    c, forward = network.config, architecture_of(network).forward
    names = [f"s{i}" for i in range(len(c.sources))]
    interface = separation_interface(names, c.samplerate, c.audio_channels, c.segment_samples)
    stems = separate(interface, lambda inputs: [forward(network, inputs[0][0])[None]], mix.numpy())
    return dict(zip(c.sources, stems, strict=True))


def assert_same_stems(model, network, least=70.0):
    mix = mixture(model)
    expected, got = by_demucs(model, mix), by_us(network, mix)
    assert set(got) == set(expected)
    for name, stem in expected.items():
        assert snr_db(stem, got[name]) >= least, name


@pytest.mark.parametrize("form", FORMS)
def test_stems_equal_those_of_demucs_by_name(tmp_path, form):
    model = build()
    path, stated = FORMS[form](model, tmp_path)
    network, metadata = load_any(path, "htdemucs", stated)
    assert_same_stems(model, network, 30 if "bf16" in form else 50 if "half" in form else 70)
    origin = metadata["origin"]
    assert origin["file"] == path.name and json.dumps(origin)
    assert metadata["weights_license"] == "as given by the provider of the checkpoint"


@pytest.mark.parametrize(
    "over",
    [
        {"audio_channels": 1},
        {"samplerate": 48000},
        {"segment": 0.373},  # no whole number of samples
        {"segment": "13/40"},
        {"sources": ["lead vocals", "kick/snare", "Ünder", "a", "b"]},
        {"sources": ["vocals"]},
        {"depth": 3, "bottom_channels": 0},
        {"depth": 2, "channels": 8, "growth": 3, "bottom_channels": 0, "t_layers": 1},
        {"t_layers": 0, "bottom_channels": 0},
        {"t_heads": 2, "t_cross_first": True, "t_hidden_scale": 2.5},
        {"freq_emb": 0, "nfft": 1024, "depth": 3, "bottom_channels": 0},
        {"freq_emb": 0.7, "emb_scale": 3, "nfft": 2048},
        {"dconv_mode": 0},
        {"dconv_mode": 2, "dconv_depth": 1, "dconv_comp": 3},
        {"kernel_size": 4, "stride": 2, "depth": 3, "bottom_channels": 0},
        {"context": 0, "context_enc": 1},
        {"t_max_period": 500.0, "t_weight_pos_embed": 0.4},
    ],
    ids=lambda over: ",".join(f"{k}={v}" for k, v in over.items())[:60],
)
def test_any_network_of_the_family(tmp_path, over):
    built = {k: Fraction(v) if v == "13/40" else v for k, v in over.items() if k != "sources"}
    model = build(over.get("sources", KARAOKE), **built)
    torch.save(package(model), tmp_path / "m.th")
    assert_same_stems(model, load_any(tmp_path / "m.th")[0])


GAPS = {
    "nothing": ({}, "--sources a,b --sample-rate X --segment X --heads X --freq-emb X"),
    "no_heads": (without(TOLD, "t_heads"), "t_heads"),
    "no_segment": (without(TOLD, "segment"), "segment"),
    "no_rate": (without(TOLD, "samplerate"), "samplerate"),
    "no_sources": (without(TOLD, "sources"), "sources"),
    "no_embedding_weight": (without(TOLD, "freq_emb"), "freq_emb"),
    "too_many_sources": ({**TOLD, "sources": ["a", "b", "c"]}, "separates 2 sources, but 3"),
    "heads_do_not_divide": ({**TOLD, "t_heads": 5}, "t_heads=5"),
    "sources_twice": ({**TOLD, "sources": ["a", "a"]}, "each once"),
}


@pytest.mark.parametrize("gap", GAPS)
def test_what_a_bare_file_does_not_tell_is_asked_for(tmp_path, gap):
    given, message = GAPS[gap]
    path, stated = bare(state_dict, **given)(build(), tmp_path)
    with pytest.raises(InputError) as caught:
        load_any(path, "htdemucs", stated)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def other_network(module, klass, **settings):
    return getattr(pytest.importorskip(f"demucs.{module}"), klass)(["a", "b"], **settings)


def zip_without_data(model, folder):
    with zipfile.ZipFile(folder / "m.th", "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.")
    return folder / "m.th", Stated()


def metadata_without_json(model, folder):
    save_file(model.state_dict(), folder / "m.safetensors", {"klass": "demucs.htdemucs.HTDemucs", "kwargs": "{"})
    return folder / "m.safetensors", Stated()


def torchscript(model, folder):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / "m.pt"))
    return folder / "m.pt", Stated()


REFUSED = {
    "two_networks": (bare(lambda m: {"a": state_dict(m), "b": state_dict(build(dconv_mode=0))}), "--state"),
    "unknown_state": (bare(state_dict, state="ema"), "no network 'ema'"),
    "hybrid_v3": (saved(lambda m: package(other_network("hdemucs", "HDemucs", channels=4))), "Hybrid Demucs (v3)"),
    "hybrid_v3_bare": (bare(lambda m: other_network("hdemucs", "HDemucs", channels=4).state_dict()), "Hybrid Demucs"),
    "demucs_v2": (saved(lambda m: package(other_network("demucs", "Demucs", channels=4))), "Demucs (v2)"),
    "demucs_v2_bare": (bare(lambda m: other_network("demucs", "Demucs", channels=4).state_dict()), "Demucs (v2)"),
    "v3_safetensors": (lambda m, d: released(m, d, klass="demucs.hdemucs.HDemucs"), "Hybrid Demucs (v3)"),
    "quantized": (saved(lambda m: package(m, state={"__quantized": True, "quantized": []})), "DiffQ"),
    "subbands": (saved(lambda m: package(m, kwargs={**all_kwargs(m), "num_subbands": 4})), "num_subbands=4"),
    "unknown_setting": (saved(lambda m: package(m, kwargs={**all_kwargs(m), "t_rope": True})), "t_rope=True"),
    "post_norm": (saved(lambda m: package(m, kwargs={**all_kwargs(m), "t_norm_first": False})), "t_norm_first"),
    "deeper_than_frequencies": (saved(lambda m: package(m, kwargs={**all_kwargs(m), "depth": 5})), "norm_starts"),
    "contradiction": (
        lambda m, d: (saved(package)(m, d)[0], Stated(None, {"t_heads": 8})),
        "the file says t_heads=4, not 8",
    ),
    "contradiction_of_a_default": (
        lambda m, d: (saved(package)(m, d)[0], Stated(None, {"freq_emb": 0.3})),
        "the file says freq_emb=0.2, not 0.3",
    ),
    "folder": (lambda m, d: (d, Stated()), "a folder, not a checkpoint file"),
    "no_json": (metadata_without_json, "'kwargs' in its metadata is no JSON"),
    "eight_bits": (
        bare(lambda m: {k: v.to(torch.float8_e5m2) for k, v in state_dict(m).items()}, ".safetensors", **TOLD),
        "float8",
    ),
    "bag_of_two_whole": (saved(lambda m: torch.nn.ModuleList([m, build(depth=3)])), "say which with --state NAME"),
    "wrong_config": (bare(state_dict, config=lambda m: mss_config(build(channels=16))), "size mismatch"),
    "config_of_v3": (bare(state_dict, config=lambda m: json.dumps(training(m, model="hdemucs"))), "hdemucs"),
    "config_without_settings": (bare(state_dict, config=lambda m: "a: 1\n"), "no settings"),
    "config_interpolation": (
        bare(state_dict, config=lambda m: json.dumps(training(m, htdemucs={"channels": "${x.y}"}))),
        "write the value itself",
    ),
    "torchscript": (torchscript, "TorchScript"),
    "empty_archive": (zip_without_data, "not a readable PyTorch checkpoint"),
    "integers": (bare(lambda m: {k: v.to(torch.int8) for k, v in state_dict(m).items()}, **TOLD), "floating-point"),
    "lacks_a_layer": (bare(lambda m: without(state_dict(m), "decoder.0.conv_tr.weight"), **TOLD), "decoder.0.conv_tr"),
    "one_more_layer": (bare(lambda m: {**state_dict(m), "extra.weight": torch.ones(2)}, **TOLD), "extra.weight"),
    "infinite": (bare(lambda m: {k: v / 0 for k, v in state_dict(m).items()}, **TOLD), "NaN or Inf"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_by_what_it_is(tmp_path, kind):
    write, message = REFUSED[kind]
    path, stated = write(build(), tmp_path)
    with pytest.raises(InputError) as caught:
        load_any(path, "htdemucs", stated)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_released_file_has_the_released_licence_and_others_have_not(tmp_path):
    model = build()
    torch.save(package(model), tmp_path / "955717e8-8726e21a.th")
    torch.save(package(model), tmp_path / "mine.th")
    assert "scientific" in load_any(tmp_path / "955717e8-8726e21a.th")[1]["weights_license"]
    assert "scientific" not in load_any(tmp_path / "mine.th")[1]["weights_license"]
    assert load_any(tmp_path / "mine.th", stated=Stated(license="CC0"))[1]["weights_license"] == "CC0"
    assert load_model("own", [tmp_path / "mine.th"]).weights_license == "as given by the provider of the checkpoint"


# ---- bags


def members(folder, count, sources=("a", "b"), names=None, **over):
    models = []
    for seed in range(count):
        model = build(list(sources), **over)
        torch.manual_seed(seed)
        for value in model.parameters():
            value.data += 0.02 * torch.randn(value.shape)
        models.append(model)
        torch.save(package(model), folder / f"{names[seed] if names else f'm{seed}'}.th")
    return models


@pytest.mark.parametrize(
    ("count", "weights"),
    [(2, None), (3, [[1, 0], [0, 2], [1, 1]]), (1, [[0.5, 3]]), (2, [[1, 0], [0, 1]]), (2, [[1, 1], [0, 0]])],
)
def test_a_bag_by_yaml_equals_demucs(tmp_path, count, weights):
    from demucs.apply import BagOfModels

    models = members(tmp_path, count)
    lines = [f"models: [{', '.join(f'm{i}' for i in range(count))}]"]
    lines += [f"weights: {json.dumps(weights)}"] if weights else []
    (tmp_path / "bag.yaml").write_text("\n".join([*lines, "segment: 0.3\n"]))
    loaded = load_model("mine", [tmp_path / "bag.yaml"])
    assert loaded.network.config.segment_samples == int(0.3 * 44100)
    assert_same_stems(BagOfModels(models, weights, segment=0.3), loaded.network)
    assert len(loaded.origin) == count


def test_members_of_a_bag_are_told_by_their_signatures(tmp_path):
    models = members(tmp_path, 2)
    (tmp_path / "bag.yaml").write_text("models: [m1, m0]\nweights: [[1, 0], [0, 1]]\n")
    apart = tmp_path / "apart"
    apart.mkdir()
    (tmp_path / "bag.yaml").rename(apart / "bag.yaml")
    loaded = load_model("mine", [tmp_path / "m0.th", apart / "bag.yaml", tmp_path / "m1.th"])
    mix = mixture(models[0])
    expected = [by_demucs(models[1], mix)["a"], by_demucs(models[0], mix)["b"]]
    assert snr_db(np.stack(expected), np.stack(list(by_us(loaded.network, mix).values()))) > 70


def test_the_fine_tuned_four_are_put_in_order_by_their_signatures(tmp_path):
    names = ["04573f0d-f3cf25b2", "92cfc3b6-ef3bcb9c", "d12395a8-e57c48e6", "f7e0c4bc-ba3fe64a"]  # as shells list them
    sources = ["drums", "bass", "other", "vocals"]
    models = members(tmp_path, 4, sources, names)
    loaded = load_model("htdemucs_ft", [tmp_path / f"{name}.th" for name in names])
    mix = mixture(models[0])
    expected = [by_demucs(models[3 - i], mix)[source] for i, source in enumerate(sources)]
    assert snr_db(np.stack(expected), np.stack(list(by_us(loaded.network, mix).values()))) > 70


@pytest.mark.parametrize(
    ("yaml", "over", "message"),
    [
        ("models: [m0, m9]", {}, "m9"),
        ("models: [m0, other]", {"sources": ["b", "a"]}, "sources"),
        ("models: [m0, other]", {"samplerate": 48000}, "samplerate"),
        ("models: [m0, other]", {"segment": 2}, "segment_samples"),
        ("models: [m0, other]", {"audio_channels": 1}, "audio_channels"),
        ("models: [m0, m0]\nweights: [[1, 0]]", {}, "weights"),
        ("models: [m0]\nweights: [[0, 1]]", {}, "weight above 0"),
        ("models: [m0]\nweights: 3", {}, "lists of numbers"),
        ("weights: [[1, 1]]", {}, "no bag of models"),
        ("models: [", {}, "neither YAML nor JSON"),
    ],
)
def test_bags_that_cannot_be_are_refused(tmp_path, yaml, over, message):
    members(tmp_path, 1)
    torch.save(package(build(**{"sources": ["a", "b"], **over})), tmp_path / "other.th")
    (tmp_path / "bag.yaml").write_text(yaml)
    with pytest.raises(InputError) as caught:
        load_model("mine", [tmp_path / "bag.yaml"])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_several_files_without_a_yaml_are_refused(tmp_path):
    members(tmp_path, 2)
    with pytest.raises(InputError, match="YAML"):
        load_model("mine", [tmp_path / "m0.th", tmp_path / "m1.th"])


def test_a_file_that_is_no_member_is_refused(tmp_path):
    members(tmp_path, 2)
    (tmp_path / "bag.yaml").write_text("models: [m0]\n")
    with pytest.raises(InputError, match=r"m1\.th is no member"):
        load_model("mine", [tmp_path / "bag.yaml", tmp_path / "m0.th", tmp_path / "m1.th"])


def test_a_member_whose_name_gives_another_checksum_is_damaged(tmp_path):
    members(tmp_path, 1, names=["abc-00000000"])
    (tmp_path / "bag.yaml").write_text("models: [abc]\n")
    with pytest.raises(InputError, match="SHA-256"):
        load_model("mine", [tmp_path / "bag.yaml"])


def test_nothing_of_a_file_is_run_whatever_its_protocol(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    for options in ({}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}):
        torch.save({"state": build().state_dict(), "bomb": Bomb()}, tmp_path / "m.th", **options)
        load_any(tmp_path / "m.th", stated=Stated(None, TOLD))
    buffer = io.BytesIO()
    torch.save(Bomb(), buffer)
    (tmp_path / "b.th").write_bytes(buffer.getvalue())
    with pytest.raises(InputError):
        load_any(tmp_path / "b.th")
    assert not (tmp_path / "ran").exists()
