"""The one AE title of the settings."""

from __future__ import annotations

import pytest

from lamella.dimse_gateway.ae_titles import AeTarget, ConfiguredAeTitles
from lamella.settings import Settings


@pytest.mark.parametrize("called", ["ARCHIVE", "ARCHIVE ", " ARCHIVE"])
async def test_configured_title_is_the_default_branch(called: str) -> None:
    titles = ConfiguredAeTitles(Settings(aet="ARCHIVE"))
    assert await titles.resolve_ae_title(called) == AeTarget("default", "main")


@pytest.mark.parametrize("called", ["archive", "ARCHIV", "", "LAMELLA"])
async def test_other_titles_are_unknown(called: str) -> None:
    assert await ConfiguredAeTitles(Settings(aet="ARCHIVE")).resolve_ae_title(called) is None
