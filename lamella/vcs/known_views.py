"""Views that were resolved lately, for as long as nothing has been committed since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.archive.database import Database
from lamella.vcs.cache import LeastRecent

if TYPE_CHECKING:
    from lamella.vcs.view import View

VIEW_CACHE_ENTRIES = 1024


class KnownViews:
    """Resolved revisions by dataset and what was typed.

    All that a resolution depends on is in the database: refs and their log, which commits there
    are, the default branch. (An instant that lay in the past still does.) So while the database
    has the version that it had before the view was read, the view is what anybody would read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._views: LeastRecent[tuple[str, str | None], tuple[int, View]] = LeastRecent(
            VIEW_CACHE_ENTRIES
        )

    def find(self, dataset: str, revision: str | None, version: int | None) -> View | None:
        """Return the view, or None if it has to be resolved.

        Args:
            dataset: Name of the dataset.
            revision: As typed; None for the default branch.
            version: The database's, read just now.
        """
        known = self._views.get((dataset, revision))
        return known[1] if known is not None and known[0] == version else None

    def keep(self, dataset: str, revision: str | None, version: int | None, view: View) -> None:
        """Remember a view.

        Args:
            dataset: Name of the dataset.
            revision: As typed; None for the default branch.
            version: The database's before the transaction that read the view began.
            view: What that transaction found.
        """
        if version is not None:
            self._views.put((dataset, revision), (version, view))
