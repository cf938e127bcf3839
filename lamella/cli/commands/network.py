"""`aet` and `peer`: AE titles that stand for revisions, and who is called by which name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_dataset_flag, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines, print_table
from lamella.cli.target import name_view, parse_target
from lamella.cli.workspace import run_on_repository
from lamella.errors import AlreadyExists, InvalidRequest
from lamella.settings import Address, Settings, parse_address

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lamella.dimse_gateway.ae_titles import AeTitle
    from lamella.dimse_gateway.peers import Peer
    from lamella.dimse_gateway.routes import Route
    from lamella.vcs.repository import Repository

_AET_DETAIL = """\
On a branch, peers store to it and query it as it stands; on a tag or commit they query and
retrieve a frozen release. A running server knows a new AE title at once."""

_ROUTE_DETAIL = """\
The first rule that fits an instance decides where it is stored; without one it goes to what its
AE title stands for. AE titles and patterns may have * and ?."""


def add_commands(family: Family) -> None:
    """Add the commands about AE titles and peers."""
    _add_aet_commands(
        family.add_family("aet", "name revisions by AE titles", "add|list|delete|route"),
    )
    _add_peer_commands(
        family.add_family("peer", "name other application entities", "add|list|delete|echo")
    )


def _add_aet_commands(titles: Family) -> None:
    parser = titles.add_command(
        "add", "let an AE title stand for a revision", run_aet_add, detail=_AET_DETAIL
    )
    parser.add_argument("title", metavar="AET")
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument(
        "--allow",
        metavar="CALLING",
        action="append",
        default=[],
        help="a calling AE title that may associate; may be repeated (those of the settings)",
    )
    add_dataset_flag(parser, "take TARGET as a revision of this dataset")
    add_json_flag(parser)
    add_json_flag(titles.add_command("list", "list AE titles", run_aet_list))
    _add_route_commands(titles.add_family("route", "send stores elsewhere", "add|list|delete"))
    parser = titles.add_command("delete", "let an AE title stand for nothing", run_aet_delete)
    parser.add_argument("title", metavar="AET")


def _add_route_commands(routes: Family) -> None:
    parser = routes.add_command("add", "add a rule", run_route_add, detail=_ROUTE_DETAIL)
    parser.add_argument("target", metavar="TARGET", help="a branch")
    parser.add_argument("--called", metavar="AET", default="*", help="called AE title (any)")
    parser.add_argument("--calling", metavar="AET", default="*", help="calling AE title (any)")
    parser.add_argument("--match", metavar="KEYWORD=PATTERN", default="", help="what it has")
    add_dataset_flag(parser, "take TARGET as a branch of this dataset")
    add_json_flag(parser)
    add_json_flag(routes.add_command("list", "list rules in their order", run_route_list))
    parser = routes.add_command("delete", "delete a rule", run_route_delete)
    parser.add_argument("id", metavar="ID", type=parse_count)


def _add_peer_commands(peers: Family) -> None:
    parser = peers.add_command("add", "make a peer known", run_peer_add)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("address", metavar="HOST:PORT", type=_parse_address)
    parser.add_argument("title", metavar="AET", help="its AE title")
    parser.add_argument("--tls", action="store_true", help="speak to it over TLS")
    add_json_flag(parser)
    add_json_flag(peers.add_command("list", "list peers", run_peer_list))
    parser = peers.add_command("delete", "forget a peer", run_peer_delete)
    parser.add_argument("name", metavar="NAME")
    parser = peers.add_command("echo", "see whether a peer answers a C-ECHO", run_peer_echo)
    parser.add_argument("name", metavar="NAME")


def run_aet_add(arguments: argparse.Namespace, settings: Settings) -> int:
    """Let an AE title stand for a revision."""
    target = parse_target(arguments.target, arguments.dataset)
    if arguments.title.strip() == settings.aet.strip():
        raise AlreadyExists(f"AE title {arguments.title!r} is that of LAMELLA_AET.")

    async def work(repository: Repository) -> AeTitle:
        from lamella.dimse_gateway.ae_titles import add_ae_title

        def add(connection: sa.Connection) -> AeTitle:
            names = name_view(connection, target)
            return add_ae_title(connection, arguments.title, *names, arguments.allow)

        return await repository.archive.database.write(add)

    added = run_on_repository(settings, work)
    if arguments.json:
        print_json(added.describe())
    else:
        print_lines([f"{added.title} stands for {_name_target(added)}."])
    return 0


def run_aet_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the AE titles that were added."""

    async def work(repository: Repository) -> list[AeTitle]:
        from lamella.dimse_gateway.ae_titles import list_ae_titles

        return await repository.archive.database.read(list_ae_titles)

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json([one.describe() for one in found])
    elif found:
        print_table(
            [(one.title, _name_target(one), ",".join(sorted(one.target.callers))) for one in found]
        )
    return 0


def run_aet_delete(arguments: argparse.Namespace, settings: Settings) -> int:
    """Let an AE title stand for nothing."""

    async def work(repository: Repository) -> None:
        from lamella.dimse_gateway.ae_titles import delete_ae_title

        await repository.archive.database.write(lambda c: delete_ae_title(c, arguments.title))

    run_on_repository(settings, work)
    print_lines([f"{arguments.title} stands for nothing any more."])
    return 0


def run_route_add(arguments: argparse.Namespace, settings: Settings) -> int:
    """Add a rule by which stores go to a branch."""
    target = parse_target(arguments.target, arguments.dataset)

    async def work(repository: Repository) -> Route:
        from lamella.dimse_gateway.routes import add_route

        def add(connection: sa.Connection) -> Route:
            return add_route(
                connection,
                *name_view(connection, target),
                called=arguments.called,
                calling=arguments.calling,
                match=arguments.match,
            )

        return await repository.archive.database.write(add)

    added = run_on_repository(settings, work)
    if arguments.json:
        print_json(added.describe())
    else:
        print_lines([f"Route {added.id} leads to {added.dataset}@{added.branch}."])
    return 0


def run_route_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the rules by which stores go to other branches."""

    async def work(repository: Repository) -> list[Route]:
        from lamella.dimse_gateway.routes import list_routes

        return await repository.archive.database.read(list_routes)

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json([one.describe() for one in found])
    elif found:
        print_table([_show_route(one) for one in found])
    return 0


def run_route_delete(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete a rule."""

    async def work(repository: Repository) -> None:
        from lamella.dimse_gateway.routes import delete_route

        await repository.archive.database.write(lambda c: delete_route(c, arguments.id))

    run_on_repository(settings, work)
    print_lines([f"Route {arguments.id} is deleted."])
    return 0


def run_peer_add(arguments: argparse.Namespace, settings: Settings) -> int:
    """Make a peer known."""

    async def work(repository: Repository) -> Peer:
        from lamella.dimse_gateway.peers import add_peer

        return await repository.archive.database.write(
            lambda c: add_peer(
                c, arguments.name, arguments.address, arguments.title, is_tls=arguments.tls
            )
        )

    added = run_on_repository(settings, work)
    if arguments.json:
        print_json(added.describe())
    else:
        print_lines([f"Peer {added.name} is {added.title} at {added.address}."])
    return 0


def run_peer_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List peers."""

    async def work(repository: Repository) -> list[Peer]:
        from lamella.dimse_gateway.peers import list_peers

        return await repository.archive.database.read(list_peers)

    found = run_on_repository(settings, work)
    if arguments.json:
        print_json([one.describe() for one in found])
    elif found:
        rows = [(p.name, str(p.address), p.title, "tls" if p.is_tls else "") for p in found]
        print_table(rows)
    return 0


def run_peer_delete(arguments: argparse.Namespace, settings: Settings) -> int:
    """Forget a peer."""

    async def work(repository: Repository) -> None:
        from lamella.dimse_gateway.peers import delete_peer

        await repository.archive.database.write(lambda c: delete_peer(c, arguments.name))

    run_on_repository(settings, work)
    print_lines([f"Peer {arguments.name} is forgotten."])
    return 0


def run_peer_echo(arguments: argparse.Namespace, settings: Settings) -> int:
    """See whether a peer answers."""

    async def work(repository: Repository) -> Peer:
        from lamella.dimse_gateway.peers import find_peer

        return await repository.archive.database.read(lambda c: find_peer(c, arguments.name))

    from lamella.dimse_gateway.calling import echo_peer
    from lamella.dimse_gateway.tls import make_client_context

    found = run_on_repository(settings, work)
    tls = make_client_context(settings) if found.is_tls else None
    echo_peer(found, settings.aet.strip(), tls)
    print_lines([f"Peer {found.name} answers."])
    return 0


def _show_route(route: Route) -> tuple[str, ...]:
    match = f"{route.attribute}={route.pattern}" if route.attribute else ""
    who = f"{route.calling} to {route.called}"
    return str(route.id), who, match, f"{route.dataset}@{route.branch}"


def _name_target(title: AeTitle) -> str:
    return f"{title.target.dataset}@{title.target.revision}"


def _parse_address(text: str) -> Address:
    try:
        return parse_address(text, "HOST:PORT")
    except InvalidRequest as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT") from error
