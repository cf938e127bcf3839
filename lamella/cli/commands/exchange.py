"""`push-dicom` and `pull-dicom`: revisions to peers, and what peers have into branches."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_dataset_flag, add_json_flag
from lamella.cli.output import print_json, print_lines, remark
from lamella.cli.progress import show_count
from lamella.cli.target import DEFAULT_DATASET, name_view, parse_target
from lamella.cli.usage import UsageError
from lamella.cli.workspace import run_on_repository
from lamella.errors import InvalidRequest
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.dimse_gateway.pulling import Outcome as Pulled
    from lamella.dimse_gateway.pushing import Outcome as Pushed
    from lamella.vcs.repository import Repository

_PUSH_DETAIL = """\
What the peer acknowledges is on record: a second push sends what is missing."""
_PULL_DETAIL = """\
QUERY are matching keys of studies, such as PatientID=P1 or StudyDate=20260101-. What the branch has
already is not brought again."""


def add_commands(family: Family) -> None:
    """Add the commands that exchange instances with peers."""
    parser = family.add_command(
        "push-dicom", "send a revision to a peer by C-STORE", run_push, detail=_PUSH_DETAIL
    )
    parser.add_argument("target", metavar="REVISION")
    parser.add_argument("peer", metavar="PEER")
    parser.add_argument("--study", metavar="UID", action="append", default=[], help="only these")
    parser.add_argument("--series", metavar="UID", action="append", default=[], help="only these")
    parser.add_argument("--all", action="store_true", help="also what was acknowledged before")
    add_dataset_flag(parser, "take REVISION as one of this dataset")
    add_json_flag(parser)
    parser = family.add_command(
        "pull-dicom", "bring studies of a peer into a branch", run_pull, detail=_PULL_DETAIL
    )
    parser.add_argument("peer", metavar="PEER")
    parser.add_argument("keys", metavar="QUERY", nargs="+")
    parser.add_argument("-b", "--branch", metavar="BRANCH", help="the branch (the default one)")
    parser.add_argument(
        "--move",
        metavar="AET",
        help="by C-MOVE to this AE title of ours, whose server runs, instead of C-GET",
    )
    add_dataset_flag(parser, "into this dataset (default)")
    add_json_flag(parser)


def run_push(arguments: argparse.Namespace, settings: Settings) -> int:
    """Send a revision to a peer; the last line on stdout is the sum."""
    target = parse_target(arguments.target, arguments.dataset)

    async def work(repository: Repository) -> Pushed:
        from lamella.dimse_gateway.peers import find_peer
        from lamella.dimse_gateway.pushing import Push, Sender, open_push_stock
        from lamella.dimse_gateway.tls import make_client_context
        from lamella.imaging.pool import DecoderPool

        read = repository.archive.database.read
        peer = await read(lambda c: find_peer(c, arguments.peer))
        dataset, revision = await read(lambda c: name_view(c, target))
        stock = await open_push_stock(
            repository, dataset, revision, arguments.study, arguments.series
        )
        tls = make_client_context(settings) if peer.is_tls else None
        decoders = DecoderPool()
        sender = Sender(settings.aet.strip(), decoders.decode_frame, tls)
        try:
            with show_count(f"sending to {peer.name}") as progress:
                push = Push(stock, peer, sender, progress, sends_all=arguments.all)
                return await push.run()
        finally:
            await decoders.close()

    outcome = run_on_repository(settings, work)
    for failure in outcome.failures:
        remark(f"failed: instance {failure.instance.sop_uid}: status {failure.status:04X}")
    if arguments.json:
        print_json(outcome.describe())
    else:
        print_lines([str(outcome)])
    return 1 if outcome.failures else 0


def run_pull(arguments: argparse.Namespace, settings: Settings) -> int:
    """Bring studies of a peer into a branch; the last line on stdout is the sum."""

    async def work(repository: Repository) -> Pulled:
        from lamella.dimse_gateway.ae_titles import AeTarget
        from lamella.dimse_gateway.peers import find_peer
        from lamella.dimse_gateway.pulling import Pull, Source, parse_keys
        from lamella.dimse_gateway.tls import make_client_context
        from lamella.vcs.refs import find_dataset

        try:
            keys = parse_keys(arguments.keys)
        except InvalidRequest as error:
            raise UsageError(error.detail) from error
        read = repository.archive.database.read
        peer = await read(lambda c: find_peer(c, arguments.peer))
        owner = await read(lambda c: find_dataset(c, arguments.dataset or DEFAULT_DATASET))
        target = AeTarget(owner.name, arguments.branch or owner.default_branch)
        tls = make_client_context(settings) if peer.is_tls else None
        source = Source(peer, settings.aet.strip(), tls)
        with show_count(f"bringing from {peer.name}") as progress:
            return await Pull(repository, target, source, progress, arguments.move).run(keys)

    outcome = run_on_repository(settings, work)
    if arguments.json:
        print_json(outcome.describe())
    else:
        print_lines([str(outcome)])
    return 1 if outcome.failed else 0
