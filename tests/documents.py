"""The commands that the documentation gives, in the order in which somebody reads it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = re.findall(r"\b([a-z_]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
DOCUMENTS = ("README.md", *(f"docs/{page}" for page in PAGES), "CONTRIBUTING.md", "experiments/README.md")

PROGRAMS = ("python", "raystudy", "make", "ray", "pip", "wandb")
FEWEST_WORDS = 3
"""Of a command inside a sentence: `raystudy doctor` there is a name."""


def commands_of(document: str) -> list[str]:
    """Lines of bash blocks, what follows a prompt in transcripts, and whole commands inside sentences; in order."""
    text = (ROOT / document).read_text()
    found: list[tuple[int, str]] = []
    for block in re.finditer(r"^```(bash|text)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block[2].replace("\\\n", " ").splitlines():
            if block[1] == "bash" or line.startswith("$ "):
                found.append((block.start(), line.removeprefix("$ ")))
    prose = re.sub(r"^```.*?^```", lambda block: " " * len(block[0]), text, flags=re.DOTALL | re.MULTILINE)
    for span in re.finditer(r"`([^`]+)`", prose):
        words = span[1].split()
        if words[:1] and words[0] in PROGRAMS and len(words) >= FEWEST_WORDS:
            found.append((span.start(), " ".join(words)))
    lines = [re.sub(r"\s+#.*", "", line).strip() for _, line in sorted(found, key=lambda place: place[0])]
    return [re.sub(r"\s+", " ", line.removeprefix(".venv/bin/")) for line in lines if line]


def documented() -> dict[str, str]:
    """Each distinct command, with the first document that gives it."""
    places: dict[str, str] = {}
    for document in DOCUMENTS:
        for command in commands_of(document):
            places.setdefault(command, document)
    return places
