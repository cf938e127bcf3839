"""What is done in the background, as the first page shows it: a bar for each job."""

from __future__ import annotations

from html import escape

import sqlalchemy as sa

from lamella.archive.outbox import Job, State, list_jobs
from lamella.dicomweb.locations import join_path

SHOWN = ((State.RUNNING, 10), (State.WAITING, 10), (State.DEAD, 5))
"""How many jobs of each state there is room for; those that are done are in the API's list."""

REFRESH = '<meta http-equiv="refresh" content="5">'
"""Stands in the page's head while something runs."""


def read_jobs(connection: sa.Connection) -> list[Job]:
    """Return the jobs to show: what runs, what waits, what failed, the newest of each first."""
    return [job for state, most in SHOWN for job in list_jobs(connection, state=state, limit=most)]


def is_moving(jobs: list[Job]) -> bool:
    """Tell whether the page will look different soon."""
    return any(job.state is State.RUNNING for job in jobs)


def write_table(jobs: list[Job], base: str) -> str:
    """Return the section of the page; '' if there is nothing to show.

    Args:
        base: URL that all others begin with, escaped.
    """
    if not jobs:
        return ""
    rows = "".join(_write_row(job, base) for job in jobs)
    head = "<tr><td>job</td><td>kind</td><td>state</td><td>how far</td></tr>"
    every = f'<p><a href="{base}/api/v1/jobs">All jobs</a></p>'
    return f"<h2>Work</h2>\n<table><thead>{head}</thead>\n<tbody>{rows}</tbody></table>\n{every}\n"


def _write_row(job: Job, base: str) -> str:
    url = f"{base}{join_path('api', 'v1', 'jobs', str(job.id))}"
    cells = (
        f'<a href="{escape(url)}">{job.id}</a>',
        escape(job.kind),
        "failed" if job.state is State.DEAD else str(job.state),
        f"{_write_bar(job)} {escape(job.error if job.state is State.DEAD else job.note)}",
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _write_bar(job: Job) -> str:
    """Return a bar of how far a job is: one that only moves where nobody knows how far."""
    if job.total:
        done = min(job.done, job.total)
        return f'<progress max="{job.total}" value="{done}"></progress> {job.done} of {job.total}'
    if job.state is State.RUNNING:
        return f"<progress></progress> {job.done}" if job.done else "<progress></progress>"
    return ""
