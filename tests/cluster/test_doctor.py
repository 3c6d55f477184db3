"""The doctor finds what is wrong, and finds nothing wrong where all is well."""

from pathlib import Path

import pytest

from raystudy.cli import main
from raystudy.cluster import doctor
from raystudy.cluster.doctor import check_cluster_file, check_machine

ROOT = Path(__file__).resolve().parent.parent.parent
OUR_FILES = ("cluster.yaml", "clusters/on-prem.yaml", "clusters/gcp.yaml", "clusters/kuberay.yaml")


def states(path: Path) -> dict[str, str]:
    return {check.name: check.state for check in check_cluster_file(path)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a token that is for its owner alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray" / "auth_token"
    token.write_text("a" * 64)
    token.chmod(0o600)
    return tmp_path


def test_this_machine_can_train(tmp_path: Path) -> None:
    found = {check.name: check for check in check_machine(tmp_path / "runs")}
    assert {check.state for check in found.values()} <= {"ok", "warning"}
    assert found["python"].state == found["torch"].state == found["gpu"].state == "ok"
    assert all(check.mend for check in found.values() if check.state != "ok")


@pytest.mark.parametrize("name", OUR_FILES)
def test_our_own_files_lack_nothing_but_the_users_lines(home: Path, name: str) -> None:
    found = states(ROOT / name)
    assert found["secrets"] == found["token"] == "ok"


def test_lines_that_were_not_edited_are_named(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cluster.yaml"
    text = (ROOT / "cluster.yaml").read_text()
    copy.write_text(text)
    check = next(check for check in check_cluster_file(copy) if check.name == "cluster.yaml")
    wanted = [str(n) for n, line in enumerate(text.splitlines(), 1) if "ami-EDIT" in line or "sg-EDIT" in line]
    assert check.state == "problem"
    assert check.found == f"EDIT is still in line {', '.join(wanted)}"
    copy.write_text(text.replace("ami-EDIT", "ami-0123").replace("sg-EDIT", "sg-0123"))
    assert states(copy)["cluster.yaml"] == "ok"


def test_a_secret_in_the_file_is_seen(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cluster.yaml"
    copy.write_text((ROOT / "cluster.yaml").read_text() + "\n# export WANDB_API_KEY=0123456789\n")
    assert states(copy)["secrets"] == "problem"


def test_a_cluster_without_token_is_a_problem(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cluster.yaml"
    copy.write_text((ROOT / "cluster.yaml").read_text().replace("RAY_AUTH_MODE=token", "RAY_LOG=1"))
    assert states(copy)["token"] == "problem"
    (home / ".ray" / "auth_token").chmod(0o644)
    found = {check.name: check for check in check_cluster_file(ROOT / "cluster.yaml")}
    assert found["token"].mend.startswith("chmod 600")
    (home / ".ray" / "auth_token").unlink()
    assert "ray get-auth-token --generate" in next(
        check.mend for check in check_cluster_file(ROOT / "cluster.yaml") if check.name == "token"
    )


def test_a_local_cluster_gets_the_warning_about_its_autoscaler(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_UP_enable_autoscaler_v2", raising=False)
    assert states(ROOT / "clusters/on-prem.yaml")["autoscaler"] == "warning"
    monkeypatch.setenv("RAY_UP_enable_autoscaler_v2", "0")
    assert "autoscaler" not in states(ROOT / "clusters/on-prem.yaml")


def test_a_kubernetes_cluster_needs_a_token_and_our_ray(home: Path, tmp_path: Path) -> None:
    text, copy = (ROOT / "clusters/kuberay.yaml").read_text(), tmp_path / "kuberay.yaml"
    copy.write_text(text.replace("authOptions: {mode: token}", "").replace('rayVersion: "', 'rayVersion: "0'))
    found = states(copy)
    assert (found["token"], found["ray version"], found["kuberay.yaml"]) == ("problem", "problem", "problem")
    copy.write_text(text.replace("image: EDIT/", "image: registry.example/"))
    assert set(states(copy).values()) == {"ok"}


@pytest.mark.parametrize("content", ["a: [", "max_workers: 3", ""])
def test_what_is_no_cluster_file_is_said_to_be_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.yaml").write_text(content)
    assert states(tmp_path / "other.yaml") == {"other.yaml": "problem"}
    assert states(tmp_path / "none.yaml") == {"none.yaml": "problem"}


def test_an_account_is_asked_who_it_is() -> None:
    class Answers:
        def get_caller_identity(self) -> dict[str, str]:
            return {"Arn": "arn:aws:iam::1:user/somebody"}

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("Unable to locate credentials")

    good = doctor._aws_account("us-west-2", lambda *_, **__: Answers())
    bad = doctor._aws_account("us-west-2", refuse)
    assert (good.state, good.found) == ("ok", "arn:aws:iam::1:user/somebody in us-west-2")
    assert (bad.state, bad.found) == ("problem", "Unable to locate credentials")


@pytest.mark.parametrize(
    ("check", "word"),
    [
        (doctor._temporary_folder("/very" * 20), "RAY_TMPDIR"),
        (doctor._open_files(256), "ulimit"),
        (doctor._shared_memory(Path("/proc/none")), "--shm-size"),
    ],
)
def test_what_is_too_small_comes_with_its_mend(check: doctor.Check, word: str) -> None:
    assert check.state in ("warning", "problem")
    assert word in check.mend


def test_a_storage_that_cannot_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    check = doctor._disk(tmp_path / "runs" / "demo")
    assert (check.state, check.found) == ("problem", f"{tmp_path} cannot be written")


def test_the_command_says_how_it_went(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--storage", str(tmp_path)]) == 0
    assert "No problem found" in capsys.readouterr().out
    assert main(["doctor", str(tmp_path / "none.yaml"), "--data", str(tmp_path)]) == 1
    assert "problems" in capsys.readouterr().out
