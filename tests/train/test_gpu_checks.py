"""The checks that want a GPU run tiny on a CPU, fail where something is wrong, and say so in JSON lines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fake_released import write_released
from train import gpu_checks
from train.beside import load_released
from train.config import ConfigError


def run(capsys, *arguments):
    code = gpu_checks.main(["--device", "cpu", "--repeats", "1", *arguments])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(autouse=True)
def released_modules_go_again():
    before = set(sys.modules)
    yield
    for name in [name for name in sys.modules if name not in before and name.split(".")[0] == "modeling"]:
        del sys.modules[name]


# What a GPU machine with torch and transformers may lack of what the project asks for.
LACKING = ("aiohttp", "jinja2", "onnxruntime", "pydantic", "ray", "rich", "scipy", "sklearn", "tenacity",
           "tensorboard", "typer", "vllm", "webdataset")  # fmt: skip


def test_a_machine_without_the_rest_of_the_project_s_packages_runs_all_but_the_miniature():
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({LACKING!r}))\n"
        "from train.gpu_checks import main\n"
        "sys.exit(main(['--device', 'cpu', '--repeats', '1', '--only', 'flex', 'vit', 'slice', 'miniature']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["check"] for line in lines} == {"machine", "flex", "vit", "slice", "miniature"}, done.stderr
    assert [line["error"] for line in lines if "error" in line] == [
        "ModuleNotFoundError: import of pydantic halted; None in sys.modules"
    ]


def test_flex_speed_and_a_miniature_run_pass_on_a_cpu(capsys):
    code, lines = run(capsys, "--only", "flex", "vit", "slice", "miniature")
    assert code == 0, lines
    by_check = {}
    for line in lines:
        by_check.setdefault(line["check"], []).append(line)
    assert set(by_check) == {"machine", "flex", "vit", "slice", "miniature"}
    off, on, _ = by_check["slice"]
    assert (off["bridge"], on["bridge"]) == (False, True)
    assert off["tokens_per_s"] > 0
    run_line, time_line = by_check["miniature"]
    assert len(run_line["losses"]) == 6
    assert run_line["apart_after_a_stop"] == 0
    assert run_line["pictures"] == 2
    assert time_line["seconds"] > 0


@pytest.mark.parametrize("is_whole", [True, False])
def test_layers_beside_a_checkout_are_equal_only_where_both_obey_the_bridge(capsys, tmp_path, is_whole):
    write_released(tmp_path / "released", sees_the_bridge=is_whole)
    code, lines = run(capsys, "--only", "beside", "--released", str(tmp_path / "released"))
    assert code == (0 if is_whole else 1), lines
    off, on = (line for line in lines if "pack" in line)
    assert off["output_apart"] < 1e-5
    assert off["gradient_apart"] < 1e-5
    assert off["times_as_fast"] > 0
    assert (on["output_apart"] < 1e-5) is is_whole


def test_a_check_that_breaks_is_a_line_and_the_others_still_run(capsys, monkeypatch):
    def broken(options):
        yield {"half": 1}
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setitem(gpu_checks.CHECKS, "slice", broken)
    code, lines = run(capsys, "--only", "slice", "flex")
    assert code == 1
    assert {"check": "slice", "is_passed": False, "error": "OutOfMemoryError: too much"} in lines
    assert any(line["check"] == "flex" and line.get("is_passed") for line in lines)


def test_a_folder_without_the_released_code_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"qwen2_navit\.py: expected the released layer code, got no file"):
        load_released(tmp_path, in_float32=True)
