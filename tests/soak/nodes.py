"""The processes of an installation of many nodes, each of which is killed and comes again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep

from tests.harness.server import RunningServer, find_free_port, launch_server

RETRY_S = 0.5


class Node:
    """One `lamella serve` or `worker` under a watchman: whatever ends it, it is started again.

    It keeps its ports and its data folder, as a service does.

    Args:
        name: Of the node.
        folder: Its own.
        settings: `LAMELLA_*` by lower-case name.
        launch: Starts it.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        settings: Mapping[str, str],
        launch: Callable[..., RunningServer] = launch_server,
    ) -> None:
        self.name = name
        self.http = f"http://127.0.0.1:{find_free_port()}"
        self.log: list[str] = []
        self._folder = folder
        self._launch = launch
        self._settings = {**settings, "http": self.http.removeprefix("http://")}
        if settings.get("dimse") != "off":
            self._settings["dimse"] = f"127.0.0.1:{find_free_port()}"
        self._server: RunningServer | None = None
        self._stop = threading.Event()
        self._watchman = threading.Thread(target=self._watch, name=f"watch {name}")

    @property
    def dimse_port(self) -> int:
        """Its DIMSE port."""
        return int(self._settings["dimse"].rpartition(":")[2])

    @property
    def is_up(self) -> bool:
        """Whether it has told that it is ready, and lives."""
        server = self._server
        return server is not None and server.process.poll() is None

    def start(self) -> None:
        """Start it, and again whenever it ends."""
        self._watchman.start()

    def wait_until_up(self, timeout_s: float) -> None:
        """Return once it is ready.

        Raises:
            AssertionError: It does not come up.
        """
        end = monotonic() + timeout_s
        while not self.is_up:
            assert monotonic() < end, f"{self.name} does not start: {self.log[-20:]}"
            sleep(0.1)

    def kill(self) -> None:
        """Kill it (SIGKILL), if it is up."""
        if self.is_up:
            assert self._server is not None
            self._server.process.kill()
            self._server.process.wait()

    def stop(self) -> None:
        """Stop it for good (SIGTERM); it must end well."""
        self._stop.set()
        self._watchman.join()
        if self._server is not None and self._server.process.poll() is None:
            assert self._server.stop() == 0, self.log[-20:]
        self._let_go()

    def abandon(self) -> None:
        """Kill it for good, after a test has failed."""
        self._stop.set()
        if self._watchman.ident is not None:
            self._watchman.join()
        self.kill()
        self._let_go()

    def _watch(self) -> None:
        while not self._stop.wait(RETRY_S if self.is_up else 0):
            if self.is_up:
                continue
            self._let_go()
            try:
                self._server = self._launch(self._folder, **self._settings)
            except AssertionError as error:  # what it stands on is away
                self.log.append(str(error))
                self._stop.wait(RETRY_S)

    def _let_go(self) -> None:
        if self._server is not None:
            self._server.process.wait()
            self.log += self._server.errors
            self._server.close_streams()
            self._server = None
