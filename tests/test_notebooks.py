"""The notebook runs from top to bottom, on the embedded data."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "your_data.ipynb"


def cells(kind: str) -> list[str]:
    content = json.loads(NOTEBOOK.read_text())
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind]


def test_the_notebook_is_kept_without_its_outputs() -> None:
    content = json.loads(NOTEBOOK.read_text())
    assert [cell for cell in content["cells"] if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.ray
def test_the_notebook_runs_from_top_to_bottom(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    names: dict[str, Any] = {}
    for number, source in enumerate(cells("code")):
        exec(compile(source, f"cell {number}", "exec"), names)
    assert names["outcome"].is_complete
    assert len(names["curves"].axes[0].lines) == len(names["plan"].trials) == 4
    assert names["written"].path.is_file()
    assert "4 trials in 6 segments" in capsys.readouterr().out
