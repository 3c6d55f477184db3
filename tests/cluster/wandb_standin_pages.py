"""What the stand-in server knows of saved workspaces and reports, and of runs that are looked up and deleted."""

import base64
from typing import Any


class PageAnswers:
    """Answers to operations of wandb-workspaces and of wandb's public API."""

    def __init__(self) -> None:
        self.views: dict[str, dict[str, Any]] = {}
        """Workspaces, by id."""

        self.reports: dict[str, dict[str, Any]] = {}
        """By id."""

    # Workspaces

    def _on_upsertview2(self, variables: dict[str, Any]) -> dict[str, Any]:
        inserted = "id" not in variables
        identity = f"view-{len(self.views)}" if inserted else variables["id"]
        self.views[identity] = {**variables, "id": identity}
        return {"upsertView": {"view": {"id": identity, "name": variables["name"]}, "inserted": inserted}}

    def _on_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        found = [view for view in self.views.values() if view["name"] == variables["viewName"]]
        nodes = [{"node": {key: view[key] for key in ("id", "displayName", "spec")}} for view in found]
        return {"project": {"allViews": {"edges": nodes}}}

    # Reports

    def _on_projectinternalid(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "project", "internalId": "1"}}

    def _on_getprojects(self, variables: dict[str, Any]) -> dict[str, Any]:
        node = {"__typename": "Project", "id": "project", "name": "p", "entityName": variables["entity"]}
        node |= {"createdAt": "2020-01-01T00:00:00", "isBenchmark": False, "user": None}
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": [{"node": node}]}}

    def _on_upsertview(self, variables: dict[str, Any]) -> dict[str, Any]:
        inserted = not variables.get("id")
        identity = variables.get("id") or base64.b64encode(f"View:{len(self.reports)}".encode()).decode()
        self.reports[identity] = {**variables, "id": identity}
        return {"upsertView": {"view": self._report(identity), "inserted": inserted}}

    def _on_specificreport(self, variables: dict[str, Any]) -> dict[str, Any]:
        identity = variables["reportId"]
        return {"view": self._report(identity) if identity in self.reports else None}

    def _report(self, identity: str) -> dict[str, Any]:
        kept = self.reports[identity]
        project = {"id": "project", "name": kept["projectName"], "entityName": kept["entityName"]}
        shown = {key: kept[key] for key in ("id", "type", "name", "displayName", "description", "spec")}
        return {**shown, "project": project, "createdAt": "2020-01-01T00:00:00", "updatedAt": "2020-01-01T00:00:00"}
