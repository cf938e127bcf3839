"""A depot whose instances go to several branches, each by the first rule that fits it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lamella.archive.instances import Received
from lamella.dimse_gateway.ae_titles import AeTarget
from lamella.dimse_gateway.commands import StoreCommand
from lamella.dimse_gateway.delivery import Delivery
from lamella.dimse_gateway.depot import Depot
from lamella.dimse_gateway.routes import Route, Router
from lamella.vcs.judgement import Judgement
from lamella.vcs.repository import Repository


class RoutedDepot(Depot):
    """One depot for each rule that fits the association, and its own for the rest.

    Each makes commits of its own.
    """

    def __init__(
        self,
        repository: Repository,
        target: AeTarget,
        calling_ae_title: str,
        routes: Sequence[Route],
    ) -> None:
        super().__init__(repository, target, calling_ae_title)
        self._routes = routes
        self._branches = [
            Depot(repository, AeTarget(route.dataset, route.branch), calling_ae_title)
            for route in routes
        ]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return super().is_empty and all(one.is_empty for one in self._branches)

    @property
    def is_full(self) -> bool:
        """Whether to commit before more is taken."""
        return super().is_full or any(one.is_full for one in self._branches)

    async def commit(self) -> None:
        """Commit what is staged, of all branches.

        Raises:
            LamellaError: Some of it stays staged, for a later attempt.
        """
        await super().commit()
        for one in self._branches:
            await one.commit()

    async def _keep(self, command: StoreCommand, delivery: Delivery) -> tuple[Received, Judgement]:
        self.changed_at = time.monotonic()
        if not self._routes[0].attribute:
            return await self._branches[0]._keep(command, delivery)
        coercers = [await one._find_coercer(delivery) for one in self._branches]
        own = await self._find_coercer(delivery)
        router = Router(self._routes, [*coercers, own], self._author)
        delivery.intake.coercer = router
        received = await self._receive(command, delivery)
        if router.chosen < len(self._branches):
            return received, await self._branches[router.chosen]._stage(delivery, received)
        return received, await self._stage(delivery, received)
