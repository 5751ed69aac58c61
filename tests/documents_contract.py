"""What the docstrings of `world.Documents` promise, as tests that any folder of a configuration runs.

A module that tests one subclasses `DocumentsContract` under a name that begins with Test and defines the fixture `place`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shared.world import Documents


@dataclass(frozen=True)
class DocumentsPlace:
    """A configuration to try, empty. `settle`: time passes, so that what was written last is no longer being written."""

    documents: Documents
    write: Callable[[str, bytes], Awaitable[None]]
    drop: Callable[[str], Awaitable[None]]
    settle: Callable[[], Awaitable[None]]

    async def edit(self, **texts: str | None) -> None:
        """Files under rules/ by their stem."""
        for name, text in texts.items():
            if text is None:
                await self.drop(f"rules/{name}.yaml")
            else:
                await self.write(f"rules/{name}.yaml", text.encode())

    async def seen(self) -> dict[str, str] | None:
        """What has changed, once whoever wrote it is done."""
        await self.settle()
        found = await self.documents.changed()
        if found is None:  # at the second look it is settled
            found = await self.documents.changed()
        return None if found is None else dict(found)


class DocumentsContract:
    async def test_what_changed_is_told_once_and_whole(self, place: DocumentsPlace) -> None:
        await place.edit(a="a1", b="b1")
        assert await place.seen() == {"rules/a.yaml": "a1", "rules/b.yaml": "b1"}
        assert await place.seen() is None
        await place.edit(a="a2 is longer", b=None, c="c1")
        assert await place.seen() == {"rules/a.yaml": "a2 is longer", "rules/c.yaml": "c1"}
        assert await place.seen() is None

    async def test_a_change_that_is_being_written_waits_until_it_is_whole(self, place: DocumentsPlace) -> None:
        await place.edit(a="rules: []\n")
        assert await place.seen() is not None
        await place.edit(a="rul")
        assert await place.documents.changed() is None
        await place.edit(a="rules: [] # whole\n")
        assert await place.documents.changed() is None
        assert await place.seen() == {"rules/a.yaml": "rules: [] # whole\n"}

    async def test_the_first_look_waits_for_nobody(self, place: DocumentsPlace) -> None:
        await place.edit(a="a1")
        assert await place.documents.changed() == {"rules/a.yaml": "a1"}

    async def test_only_what_is_configuration_counts(self, place: DocumentsPlace) -> None:
        await place.edit(a="a1")
        assert await place.seen() is not None
        for name in ("README.md", "assessments/fraud.yaml", "schema/rules.schema.json", "rules/a.yaml.swp"):
            await place.write(name, b"text")
        assert await place.seen() is None

    async def test_one_text_is_read_as_it_is_now(self, place: DocumentsPlace) -> None:
        assert await place.documents.read("assessments/fraud.yaml") is None
        await place.write("assessments/fraud.yaml", "\ufefffallback: 人".encode())
        assert await place.documents.read("assessments/fraud.yaml") == "fallback: 人"
        await place.write("assessments/fraud.yaml", b"fallback: none")
        assert await place.documents.read("assessments/fraud.yaml") == "fallback: none"

    async def test_what_is_no_utf_8_is_still_told(self, place: DocumentsPlace) -> None:
        await place.write("rules/a.yaml", b"\xef\xbb\xbfrules: \xff")
        assert await place.seen() == {"rules/a.yaml": "rules: \udcff"}
