"""Small parts of training: means, adapters, counting, loading ahead, logs."""

import json
import threading
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from train.bridge import BridgeStats
from train.config import BAGEL_7B, TINY
from train.ema import Ema
from train.flops import layer_parameters, pack_flops, peak
from train.groups import GEN, UND
from train.keyed import keyed_generator, keyed_normal
from train.loader import load_steps
from train.log import Log
from train.lora import LoraLinear, add_adapters, merged, reset_adapters
from train.meter import Meter
from train.model import Bagel
from train.optimizer import NarrowAdamW, make_optimizer
from train.parallel import World
from train.plan import Plan, SampleSize
from train.pretrained import write_tiny
from train.source import Place
from train.speed import PACKS
from train.stages import stage_preset
from train.tokenizer import ByteTokenizer
from train.validate import hold_out, share

CPU = World(0, 1, torch.device("cpu"))


def test_mean_of_weights_follows_them_and_can_take_their_place():
    weight = torch.nn.Parameter(torch.zeros(3))
    ema = Ema({"w": weight}, 0.5)
    with torch.no_grad():
        weight.fill_(1.0)
    for step in range(50):
        ema.update(step)
    torch.testing.assert_close(ema.means["w"], torch.ones(3))
    with torch.no_grad():
        weight.fill_(9.0)
    ema.apply()
    torch.testing.assert_close(weight.detach(), torch.ones(3))


def test_means_in_place_of_the_weights_leave_both_as_they_were():
    weight = torch.nn.Parameter(torch.tensor([0.1, 1e-30, 3.0]))
    ema = Ema({"w": weight}, 0.9)
    with torch.no_grad():
        weight.mul_(7.7)
    ema.update(3)
    raw, mean = weight.detach().clone(), ema.means["w"].clone()
    with ema.in_place():
        assert torch.equal(weight.detach(), mean)
    assert torch.equal(weight.detach(), raw)
    assert torch.equal(ema.means["w"], mean)


def test_fresh_adapters_change_nothing_and_merging_them_changes_nothing_more():
    model = Bagel(TINY)
    layer = model.language_model.model.layers[0].mlp
    x = torch.randn(5, 64)
    before = layer.gate_proj(x)
    add_adapters(model, {"und_layers"}, 20, rank=4, alpha=8)
    reset_adapters(model, seed=0)
    assert torch.equal(layer.gate_proj(x), before)
    assert isinstance(layer.gate_proj, LoraLinear)
    assert not isinstance(model.language_model.model.layers[0].mlp_moe_gen.gate_proj, LoraLinear)
    assert not isinstance(model.language_model.model.layers[19].mlp.gate_proj, LoraLinear)
    torch.nn.init.normal_(layer.gate_proj.lora_b)
    by_hand = before + x @ layer.gate_proj.lora_a.T @ layer.gate_proj.lora_b.T * 8 / 4  # alpha by rank
    torch.testing.assert_close(layer.gate_proj(x), by_hand, atol=1e-4, rtol=1e-4)
    name = "language_model.model.layers.0.mlp.gate_proj.weight"
    whole = merged(model, name, layer.gate_proj.weight)
    torch.testing.assert_close(torch.nn.functional.linear(x, whole), layer.gate_proj(x), atol=1e-4, rtol=1e-4)


def test_operations_are_those_of_the_facts():
    assert layer_parameters(BAGEL_7B) * 28 == pytest.approx(6.525e9, rel=2e-3)
    pack = PACKS["2 references and 1, 1024"]
    both, half = (
        pack_flops(BAGEL_7B, pack, trains) for trains in (("und_layers", "gen_layers"), ("und_layers",))
    )
    assert both == pytest.approx(1.21e15, rel=0.03)  # facts 3.9: 1.21 PFLOP for a 24.7k-token pack
    latents, targets, layer, kv = 5 * 4096, 2 * 4096, layer_parameters(BAGEL_7B), 2 * 3584 * 512
    last = latents * kv + targets * (layer - kv)  # of the last layer nothing else is run
    assert both - half == 2 * (27 * latents * layer + last)
    assert peak("NVIDIA H100 80GB HBM3") == 989e12
    assert peak("Some other card") is None


def test_what_is_left_out_of_a_pack_costs_nothing(samples):
    from train.batch import Noising, make_batch

    batches = [
        make_batch(samples[:3], TINY, ByteTokenizer(), Noising(key=(0,), image_dropout=chance))
        for chance in (0.0, 1.0)
    ]
    for batch in batches:
        assert batch.tokens == int((batch.layout.columns.doc >= 0).sum())
    whole, less = (pack_flops(BAGEL_7B, batch.samples, ("gen_layers",)) for batch in batches)
    gone = batches[0].tokens - batches[1].tokens
    assert whole - less > 4 * gone * 27 * layer_parameters(BAGEL_7B)


def test_loader_keeps_the_order_and_reads_ahead_on_threads():
    sizes = [SampleSize(key=str(n), tokens=4, pairs=16, targets=4) for n in range(12)]
    plan = Plan(sizes=sizes, budget=8, packs_per_step=2, seed=0)
    names = set()

    def make(step, number, pack):
        names.add(threading.current_thread().name.partition("_")[0])
        return step.number, number, pack.samples

    for rank in range(2):
        world = World(rank, 2, torch.device("cpu"))
        found = list(load_steps(plan, 3, 9, world, make, 2))
        assert [step.number for step, _ in found] == list(range(3, 9))
        for step, batches in found:
            assert batches == [(step.number, rank, step.packs[rank].samples)]
    assert names == {"loader"}


def test_loader_passes_errors_on_where_they_belong():
    sizes = [SampleSize(key="0", tokens=4, pairs=16, targets=4)]
    plan = Plan(sizes=sizes, budget=8, packs_per_step=1, seed=0)

    def make(step, _number, _pack):
        if step.number == 2:
            raise OSError("broken")
        return step.number

    steps = load_steps(plan, 0, 9, CPU, make, 2)
    assert [next(steps)[1] for _ in range(2)] == [[0], [1]]
    with pytest.raises(OSError, match="broken"):
        next(steps)


def test_meter_gives_means_per_step_and_bridge_statistics_per_reference():
    meter = Meter(CPU)
    stats = BridgeStats(
        torch.tensor([0.8, float("nan")]), torch.tensor([0.25, 1.0]), torch.tensor([0.0, 1.0])
    )
    for _ in range(2):
        meter.add_pack(torch.tensor(0.5), stats, tokens=10, flops=0.0)
        meter.add_pack(torch.tensor(1.0), None, tokens=30, flops=0.0)
        meter.add_step(0.1)
    values, is_stopped = meter.read(is_stopping=True)
    assert values["loss"] == 1.5
    assert values["bridge_relevance"] == pytest.approx(0.8)
    assert (values["bridge_keep_frac"], values["bridge_hidden_frac"]) == (0.625, 0.5)
    assert is_stopped
    again, is_stopped = meter.read(is_stopping=False)
    assert (again["loss"], is_stopped) == (0.0, False)


def test_log_is_json_and_tensorboard_and_only_the_first_rank_writes(tmp_path):
    with Log(tmp_path / "a", 0, is_written=True) as log:
        log.write("train", 3, {"loss": 1.5, "odd": float("nan")})
    assert json.loads((tmp_path / "a/log.jsonl").read_text()) == {
        "kind": "train",
        "step": 3,
        "loss": 1.5,
        "odd": None,
    }
    assert list((tmp_path / "a/tensorboard").iterdir())
    with Log(tmp_path / "b", 0, is_written=False) as log:
        log.write("train", 3, {"loss": 1.5})
    assert not (tmp_path / "b").exists()


def test_what_a_killed_run_told_of_steps_that_are_trained_again_is_hidden(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, steps in ((0, (1, 2, 3, 4)), (2, (3,))):
        with Log(tmp_path, first, is_written=True) as log:
            for step in steps:
                log.write("train", step, {"loss": float(10 * first + step)})
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/loss")
    assert [(event.step, event.value) for event in shown] == [(1, 1.0), (2, 2.0), (3, 23.0)]


def places(count):
    return [
        Place(key=f"k{n}", source=0, shard=0, row=n, text_tokens=1, sizes=((1, 1), (1, 1)))
        for n in range(count)
    ]


def test_held_out_samples_depend_on_keys_alone():
    keys = [f"k{number}" for number in range(100)]
    shuffled = list(keys)
    Random(1).shuffle(shuffled)
    held = hold_out(keys, 7)
    assert hold_out(shuffled, 7) == held
    assert len(set(held)) == 7
    assert hold_out(keys[:9], 7) == []


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_share_held_samples_evenly_and_count_each_once(size):
    parts = [share(World(rank, size, torch.device("cpu")), places(5)) for rank in range(size)]
    assert len({len(part) for part in parts}) == 1
    counted = [place.key for part in parts for place, is_counted in part if is_counted]
    assert sorted(counted) == [f"k{n}" for n in range(5)]
    assert share(CPU, []) == []


def test_optimizer_has_its_state_before_the_first_step():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = make_optimizer({"w": weight}, stage_preset("paper", "stage1_base"))
    assert set(optimizer.state[weight]) == {"step", "exp_avg", "exp_avg_sq"}
    plain = torch.optim.AdamW([other := torch.nn.Parameter(torch.ones(2))], 2e-5, (0.9, 0.95), 1e-15, 0.0)
    for parameter, used in ((weight, optimizer), (other, plain)):
        parameter.grad = torch.tensor([1.0, -3.0])
        used.step()
    assert torch.equal(weight, other)


def descend(moments):
    """Thirty steps down a bowl whose floor is at 1, 2, 3; the weights and the optimizer."""
    weight = torch.nn.Parameter(torch.zeros(3))
    stage = stage_preset("paper", "stage1_base").model_copy(
        update={"lr": 0.1, "weight_decay": 0.01, "eps": 1e-8}
    )
    used = make_optimizer({"w": weight}, stage, moments)
    for _ in range(30):
        weight.grad = weight.detach() - torch.tensor([1.0, 2.0, 3.0])
        used.step()
    return weight.detach(), used


def test_bfloat16_moments_take_half_the_memory_and_nearly_the_same_way():
    exact, _ = descend(torch.float32)
    found, narrow = descend(torch.bfloat16)
    (state,) = narrow.state.values()
    assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == torch.bfloat16
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02)


def test_the_narrow_step_is_adamw_s_own_where_nothing_is_narrow(monkeypatch):
    exact, _ = descend(torch.float32)
    monkeypatch.setattr("train.optimizer.AdamW", NarrowAdamW)
    found, used = descend(torch.float32)
    assert type(used) is NarrowAdamW
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)


def test_keyed_numbers_are_the_same_everywhere():
    assert keyed_normal((2,), 7, "train", 3, 1).tolist() == pytest.approx(
        torch.randn(2, generator=keyed_generator(7, "train", 3, 1)).tolist()
    )
    assert keyed_generator(7, "a").initial_seed() != keyed_generator(7, "b").initial_seed()


def test_untrained_tiny_model_predicts_zero(tmp_path):
    write_tiny(tmp_path, 0)
    assert not load_file(tmp_path / "model.safetensors")["llm2vae.weight"].any()


class Sharded(World):
    """One CPU process, under FSDP as a GPU is."""

    @property
    def is_sharded(self):
        return True


def test_bfloat16_under_fsdp_keeps_float32_masters_and_narrow_frozen_weights(tiny, samples):
    from train.batch import Noising, make_batch, to_device
    from train.build import build_model
    from train.config_files import read_config
    from train.dct import DctAutoencoder
    from train.loop import clip_gradients, pack_loss
    from train.parallel import joined_world, outside_forward
    from train.settings import TrainSettings
    from train.stages import Stage

    config = read_config(tiny)
    stage = Stage(
        name="x", trains=("gen_layers", "latent_projections"), data=("base",), steps=1, warmup_steps=0
    )
    run = TrainSettings(base=str(tiny), out="", data={}, device="cpu", checkpointing="attention")
    batch = make_batch(samples[:2], config, ByteTokenizer(), Noising(key=(0,)))
    inputs = to_device(batch, DctAutoencoder(), config, torch.device("cpu"), None)
    losses = []
    with joined_world("cpu"):
        for compute in (torch.float32, torch.bfloat16):
            model, parameters = build_model(
                run, stage, tiny, config, Sharded(0, 1, torch.device("cpu")), compute
            )
            torch.manual_seed(0)
            torch.nn.init.normal_(model.llm2vae.weight.to_local(), std=0.05)
            found = model(inputs)
            assert found.velocity_MC.dtype == compute
            losses.append(pack_loss(found, inputs, inputs.targets))
            losses[-1].backward()
            assert {p.grad.dtype for p in parameters.values()} == {torch.float32}
            frozen = {p.dtype for name, p in model.named_parameters() if name not in parameters}
            assert frozen == {compute}
            assert clip_gradients(parameters, 1.0) > 0
            with outside_forward(model), torch.no_grad():
                assert model.velocity(torch.zeros(2, 32, dtype=compute)).dtype == compute
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=0.05)


@pytest.mark.filterwarnings("ignore")  # of torch about itself, while it traces
@pytest.mark.parametrize("checkpointing", ["none", "attention"])
def test_all_layers_and_packs_share_one_compiled_graph(tiny, samples, checkpointing):
    from torch._dynamo.testing import CompileCounter

    from train.batch import Noising, make_batch, to_device
    from train.bridge_config import BridgeConfig
    from train.checkpointing import Checkpointing
    from train.dct import DctAutoencoder
    from train.pretrained import load_model

    model = load_model(tiny).requires_grad_(True)
    torch.nn.init.normal_(model.llm2vae.weight, std=0.05)
    bridge = BridgeConfig(relevance_layer=0, first_layer=1, last_layer=2, threshold=0.0)
    packs = [
        to_device(
            make_batch(samples[start : start + 2], model.config, ByteTokenizer(), Noising(key=(0,))),
            DctAutoencoder(),
            model.config,
            torch.device("cpu"),
            None,
        )
        for start in (0, 4, 9)
    ]
    with torch.no_grad():
        plain = [model(pack, bridge).velocity_MC for pack in packs]
    counter = CompileCounter()
    for layer in model.language_model.model.layers:
        layer.checkpointing = Checkpointing(checkpointing)
        layer.compile(dynamic=True, backend=counter, fullgraph=True)
    for pack, expected in zip(packs, plain, strict=True):
        found = model(pack, bridge).velocity_MC
        torch.testing.assert_close(found, expected)
        found.sum().backward()
    assert counter.frame_count == 2, "one for all layers, one for the last, which computes targets only"
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")  # of torch about itself, while it traces
@pytest.mark.parametrize("checkpointing", ["none", "full"])
def test_compiled_layers_under_fsdp_give_what_plain_ones_give_in_two_unbroken_graphs(
    tiny, samples, monkeypatch, checkpointing
):
    from torch._dynamo.testing import CompileCounter

    from train.batch import Noising, make_batch, to_device
    from train.build import build_model
    from train.config_files import read_config
    from train.dct import DctAutoencoder
    from train.loop import pack_loss
    from train.mot import MotLayer
    from train.parallel import joined_world
    from train.settings import TrainSettings
    from train.stages import Stage

    config, counter, as_built = read_config(tiny), CompileCounter(), MotLayer.compile
    monkeypatch.setattr(
        MotLayer, "compile", lambda layer, **how: as_built(layer, backend=counter, fullgraph=True, **how)
    )
    stage = Stage(name="x", trains=(*UND, *GEN), data=("base",), steps=1, warmup_steps=0)
    found = {}
    with joined_world("cpu"):
        for is_compiled in (False, True):
            run = TrainSettings(
                base=str(tiny), out="", data={}, checkpointing=checkpointing, is_compiled=is_compiled
            )
            world = Sharded(0, 1, torch.device("cpu"))
            model, parameters = build_model(run, stage, tiny, config, world, torch.bfloat16)
            torch.manual_seed(0)
            torch.nn.init.normal_(model.llm2vae.weight.to_local(), std=0.05)
            for start in (0, 4, 9):
                noising = Noising(key=(start,))
                batch = make_batch(samples[start : start + 2], config, ByteTokenizer(), noising)
                inputs = to_device(batch, DctAutoencoder(), config, world.device, None)
                pack_loss(model(inputs), inputs, inputs.targets).backward()
            found[is_compiled] = {name: weight.grad.full_tensor() for name, weight in parameters.items()}
    torch._dynamo.reset()
    assert all(torch.equal(found[True][name], gradient) for name, gradient in found[False].items())
    assert counter.frame_count == 2, "one for all layers and packs, one for the last layer"
