"""A person at the viewer: pages to open on a revision, and what to look for in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

import numpy as np

from tests.browser.browser import Browser
from tests.browser.specimens import CT_STUDY
from tests.browser.viewer_site import Site

REVISIONS = ["branch", "tag", "commit"]


@dataclass
class Desk:
    """A person at a viewer: the branch has the inverted stack, tag and commit the first one.

    Attributes:
        names: What each kind of revision is called in a path.
    """

    browser: Browser
    site: Site
    names: dict[str, str]

    def open_list(self, revision: str, **filters: str) -> None:
        """Open the study list of a revision."""
        query = urlencode({**filters, "datasources": revision})
        self.browser.do("open", url=f"{self.site.url}/?{query}")

    def open_study(self, study_uid: str, revision: str = "branch", query: str = "") -> None:
        """Open a study of a revision."""
        self.site.exchanges.clear()
        url = f"{self.site.url}/viewer/{revision}?StudyInstanceUIDs={study_uid}{query}"
        self.browser.do("open", url=url)

    def read_roots(self) -> set[str]:
        """Return the revisions that the viewer asked, as the paths say them."""
        return {path.split("/")[3] for _, path, _ in self.site.exchanges}

    def open_stack(self, revision: str) -> np.ndarray:
        """Open the CT study and return its first slice as it is shown."""
        self.open_study(CT_STUDY, revision)
        return self.browser.wait_for_picture(f"stack-{revision}", shows_rings)


def shows_rings(picture: np.ndarray) -> bool:
    """Tell whether a picture has light and dark in the middle, as the phantom does."""
    grey = find_middle(picture)
    return bool(grey.size and grey.std() > 40)


def find_middle(picture: np.ndarray) -> np.ndarray:
    """Return the grey levels of the middle of a picture, where no text is laid over it."""
    rows, columns, _ = picture.shape
    middle = picture[rows // 4 : -rows // 4, columns // 3 : -columns // 3]
    return middle.mean(axis=2)


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two pictures show different things."""
    return bool(np.abs(find_middle(one) - find_middle(other)).mean() > 5)
