"""What the stand-in server knows of artifacts: versions with their files, and which runs used them."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ServedArtifact:
    """One version of an artifact."""

    name: str
    kind: str
    digest: str
    metadata: dict[str, Any]
    aliases: list[str]
    logged_by: str
    """The run; empty when it was declared as an input only."""

    files: dict[str, bytes] = field(default_factory=dict)
    is_committed: bool = False
    used_by: set[str] = field(default_factory=set)


class ArtifactAnswers:
    """Answers to operations on artifacts. The same content under the same name is the same version, as in W&B."""

    url: str

    def __init__(self) -> None:
        self.artifacts: dict[str, ServedArtifact] = {}
        """By id."""

    def _on_artifacttype(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"].split(":")[0]
        kinds = [artifact.kind for artifact in self.artifacts.values() if artifact.name == name]
        return {"project": {"artifact": {"artifactType": {"name": kinds[0]}} if kinds else None}}

    def _on_createartifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables["input"]
        name, digest = given["artifactCollectionName"], given["digest"]
        identity = f"{name}-{digest}"
        artifact = self.artifacts.setdefault(
            identity,
            ServedArtifact(
                name=name,
                kind=given["artifactTypeName"],
                digest=digest,
                metadata=json.loads(given.get("metadata") or "{}"),
                aliases=[alias["alias"] for alias in given["aliases"]],
                logged_by=given.get("runName") or "",
            ),
        )
        state = "COMMITTED" if artifact.is_committed else "PENDING"
        sequence = {"id": f"sequence-{name}", "latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": identity, "state": state, "artifactSequence": sequence}}}

    def _on_createartifactmanifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"createArtifactManifest": {"artifactManifest": self._manifest(variables["artifactID"])}}

    def _on_updateartifactmanifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        identity = variables["artifactManifestID"].removeprefix("manifest-")
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(identity)}}

    def _manifest(self, identity: str) -> dict[str, Any]:
        name = "wandb_manifest.json"
        url = f"{self.url}/artifact/{identity}/{name}"
        file = {"id": f"file-{identity}", "name": name, "displayName": name, "uploadUrl": url, "uploadHeaders": []}
        return {"id": f"manifest-{identity}", "file": file}

    def _on_createartifactfiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables.get("input", variables)["artifactFiles"]
        nodes = [
            {
                "id": f"file-{number}",
                "name": file["name"],
                "displayName": file["name"],
                "uploadUrl": f"{self.url}/artifact/{file['artifactID']}/{file['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "storagePath": None,
                "artifact": {"id": file["artifactID"]},
            }
            for number, file in enumerate(given)
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _on_commitartifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        identity = variables["artifactID"]
        artifact = self.artifacts[identity]
        artifact.is_committed = True
        return {"commitArtifact": {"artifact": {"id": identity, "digest": artifact.digest}}}

    def _on_useartifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables["input"]
        self.artifacts[given["artifactID"]].used_by.add(given["runName"])
        return {"useArtifact": {"artifact": self._content(given["artifactID"])}}

    def _on_artifactbyid(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"artifact": self._content(variables["id"])}

    def _content(self, identity: str) -> dict[str, Any]:
        artifact = self.artifacts[identity]
        return {
            "__typename": "Artifact",
            "id": identity,
            "artifactSequence": {
                "__typename": "ArtifactSequence",
                "id": f"sequence-{artifact.name}",
                "name": artifact.name,
                "project": None,
            },
            "versionIndex": 0,
            "artifactType": {"name": artifact.kind},
            "description": None,
            "metadata": json.dumps(artifact.metadata),
            "ttlDurationSeconds": -1,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": sum(len(content) for content in artifact.files.values()),
            "digest": artifact.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": "0",
            "fileCount": len(artifact.files),
            "createdAt": "2020-01-01T00:00:00Z",
            "updatedAt": None,
            "aliases": [],
        }
