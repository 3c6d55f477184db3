"""The images install what was tested, from files that exist, and hold no secret; no engine is needed to see that."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER"}


def steps(path: Path) -> list[tuple[str, list[str]]]:
    """Instruction and words of every step."""
    text = re.sub(r"\\\n\s*", " ", path.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], shlex.split(line)[1:]) for line in lines]


def pinned(package: str) -> str:
    """The tested version."""
    found = re.search(rf"(?m)^{package}==(.+)$", (ROOT / "constraints.txt").read_text())
    assert found is not None
    return found[1]


def test_there_is_an_image_for_gpus_and_one_without() -> None:
    assert [path.stem for path in FILES] == ["cpu", "cuda"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_step_is_one_that_we_know_and_copies_what_exists(path: Path) -> None:
    assert {name for name, _ in steps(path)} <= KNOWN
    copies = [[word for word in words if not word.startswith("--")] for name, words in steps(path) if name == "COPY"]
    assert copies
    for *sources, _target in copies:
        assert all((ROOT / source).exists() for source in sources)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_image_installs_the_tested_versions_as_the_cluster_files_do(path: Path) -> None:
    (install,) = [words for name, words in steps(path) if name == "RUN" and "pip" in words]
    assert install[install.index("-c") + 1] == "constraints.txt"
    assert install[install.index("-e") + 1] == ".[aws]"
    assert "~/raystudy[aws]" in (ROOT / "cluster.yaml").read_text()


def test_the_base_images_have_the_tested_ray_and_python() -> None:
    bases = {path.stem: next(words[0] for name, words in steps(path) if name == "FROM") for path in FILES}
    assert bases["cuda"] == f"rayproject/ray:{pinned('ray')}-py311-gpu"
    assert bases["cpu"].startswith("python:3.11-")
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_secret_is_built_in_and_nobody_runs_as_root(path: Path) -> None:
    assert not re.search(r"(?i)key|token|secret|password", " ".join(word for _, words in steps(path) for word in words))
    is_rays = steps(path)[0][1][0].startswith("rayproject/")  # whose user is ray
    assert is_rays or ("USER", ["ray"]) in steps(path)


def test_what_git_ignores_stays_out_of_the_image() -> None:
    ignored = {line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().split()}
    wanted = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()} - {".coverage"}
    assert wanted | {".git"} <= ignored
