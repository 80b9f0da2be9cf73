"""Texts and reasonings in a translated stream: their starts, deltas and ends."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from ..partial_json import Part, text_of

__all__ = ["Spans", "document", "sources"]

Key = tuple[Hashable, ...]


class Spans:
    """The spans of one stream. A key's first item groups spans of which one is open at a time; its second is `text` or
    `reasoning`."""

    def __init__(self) -> None:
        self._open: dict[Hashable, tuple[Key, str]] = {}
        self._count = 0
        self._urls: set[str] = set()

    def say(self, key: Key, text: str, provider_metadata: Part | None = None) -> Iterator[Part]:
        """The parts of one more piece of text. Text of another kind ends the span before."""
        if not text:
            return
        group, kind = key[0], str(key[1])
        current = self._open.get(group)
        if current is None or current[0] != key:
            yield from self.end(group)
            current = (key, self.next_id())
            self._open[group] = current
            start: Part = {"type": f"{kind}-start", "id": current[1]}
            if provider_metadata is not None:
                start["providerMetadata"] = provider_metadata
            yield start
        yield {"type": f"{kind}-delta", "id": current[1], "delta": text}

    def end(self, group: Hashable, provider_metadata: Part | None = None) -> Iterator[Part]:
        """The end of the group's open span, if one is open."""
        current = self._open.pop(group, None)
        if current is not None:
            end: Part = {"type": f"{current[0][1]}-end", "id": current[1]}
            if provider_metadata:
                end["providerMetadata"] = provider_metadata
            yield end

    def is_open(self, group: Hashable) -> bool:
        """Whether the group has an open span."""
        return group in self._open

    def next_id(self) -> str:
        """An id that nothing else in this stream has."""
        self._count += 1
        return f"s{self._count}"

    def is_new(self, url: str) -> bool:
        """Whether a source was not named before. It is known from now on."""
        if url in self._urls:
            return False
        self._urls.add(url)
        return True


def sources(spans: Spans, citation: Part) -> Iterator[Part]:
    """The source that a citation of a page names, once for each address."""
    url, title = text_of(citation, "url"), text_of(citation, "title")
    if url and spans.is_new(url):
        yield {"type": "source-url", "sourceId": spans.next_id(), "url": url, **({"title": title} if title else {})}


def document(spans: Spans, title: str, filename: str, media_type: str) -> Iterator[Part]:
    """The source that a citation of a document names, once for each document."""
    name = title or filename
    if name and spans.is_new(f"document {name}"):
        named: Part = {"filename": filename} if filename else {}
        yield {"type": "source-document", "sourceId": spans.next_id(), "mediaType": media_type, "title": name, **named}
