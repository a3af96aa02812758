"""`/openapi.json`: what this server answers to whom, as OpenAPI describes it. It is a file, and is served as it is."""

from importlib.resources import files

from sentri_events.access import Access
from sentri_events.handlers.base import JSON
from sentri_events.handlers.files import Asset, FileHandler
from sentri_events.hub import Hub


class DescriptionHandler(FileHandler):
    """The same for everyone: no secret is in it."""

    def initialize(self, hub: Hub, access: Access, description: Asset) -> None:  # type: ignore[override]
        """`description` is what `read_description` gives."""
        super().initialize(hub, access)
        self._description = description

    def get(self) -> None:
        """The description; whoever has it asks each time whether it is still the same."""
        self.send(self._description, "no-cache")

    head = get


def read_description() -> Asset:
    """The file."""
    return Asset((files("sentri_events.handlers") / "openapi.json").read_bytes(), JSON)
