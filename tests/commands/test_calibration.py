"""`raystudy calibrate` and what the plan says by it, on the smoke preset."""

from pathlib import Path

import pytest
import torch

from raystudy.cli import main
from raystudy.cluster.calibration import CALIBRATION_FILE
from raystudy.spec.presets import load_preset
from raystudy.training.calibration import measure_pretraining, measure_speed

SCRIPT = "experiments/schedule_length.py"


def test_speeds_are_measured_on_the_real_loop() -> None:
    preset = load_preset("smoke")
    speed = measure_speed(preset.base, torch.device("cpu"), iterations=3)
    assert 0.001 < speed.iteration_s < 20
    assert 0.001 < speed.evaluation_s < 60
    assert speed.memory_mib is None
    assert preset.pretraining is not None
    assert 0.001 < measure_pretraining(preset.pretraining, torch.device("cpu"), iterations=2) < 20


@pytest.mark.ray
def test_a_plan_has_its_price_once_the_hardware_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ray_cluster: None
) -> None:
    flags = ["--preset", "smoke", "--storage", str(tmp_path / "smoke")]
    assert main(["plan", SCRIPT, *flags]) == 0
    assert "Cost: not measured on this hardware; `raystudy calibrate" in capsys.readouterr().out
    assert main(["plan", SCRIPT, *flags, "--budget", "1gpuh"]) == 2
    assert "run `raystudy calibrate` with the same flags first" in capsys.readouterr().err
    assert main(["calibrate", SCRIPT, *flags, "--iterations", "3"]) == 0
    assert "device-hours" in capsys.readouterr().out
    assert (tmp_path / "smoke" / CALIBRATION_FILE).is_file()
    assert main(["calibrate", SCRIPT, *flags, "--iterations", "3"]) == 0
    assert "everything of this has been measured on this device already" in capsys.readouterr().out
    assert main(["plan", SCRIPT, *flags, "--seeds", "2", "--price-per-hour", "2.5", "--budget", "100h"]) == 0
    assert "at 2.5 an hour" in capsys.readouterr().out
    assert main(["plan", SCRIPT, *flags, "--seeds", "2", "--budget", "0.00001"]) == 2
    assert "after dropping seed 1, but the budget is 1e-05" in capsys.readouterr().err
    assert main(["plan", SCRIPT, *flags, "--budget", "much"]) == 2
    assert "must be device-hours such as 200gpuh" in capsys.readouterr().err


@pytest.mark.ray
def test_a_search_has_its_price_and_a_budget_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ray_cluster: None
) -> None:
    command = ["search", "experiments/small_data_search.py", "--preset", "smoke", "--storage", str(tmp_path / "smoke")]
    assert main([*command, "--plan", "--budget", "1h"]) == 2
    assert "give the same command with --calibrate first" in capsys.readouterr().err
    assert main([*command, "--calibrate", "--price-per-hour", "2.5"]) == 0
    printed = capsys.readouterr().out
    assert "Cost: at most" in printed
    assert "at 2.5 an hour" in printed
    assert main([*command, "--plan", "--trials", "4", "--budget", "1000h"]) == 0
    assert "8 trials (random 4, pretrained 4)" in capsys.readouterr().out
    assert main([*command, "--plan", "--budget", "0.0001h"]) == 2
    assert "one trial of each arm may take" in capsys.readouterr().err
