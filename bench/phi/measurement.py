"""De-identification of the benchmark, measured: the score, the hunt, the cost."""

from __future__ import annotations

from pathlib import Path

from bench.phi.hunt import hunt, read_wanted
from bench.phi.pipeline import Outcome, deidentify
from bench.phi.second_reader import read_again
from lamella.deid.scoring.answers import read_answers
from lamella.deid.scoring.readers import find_tesseract
from lamella.deid.scoring.reports import list_rows, write_failures
from lamella.deid.scoring.scorer import Score, score
from lamella.errors import InvalidRequest


def measure_deid(
    source: Path,
    dest: Path,
    profile: str,
    *,
    reads_pixels: bool = True,
) -> list[str]:
    """De-identify what `bench phi` wrote; return a report in Markdown.

    Args:
        source: With `studies`, `key.db` and `hunt.json`.
        dest: Gets `output`, maps, and `failures.csv`.
        profile: That the key was made for.
        reads_pixels: Whether burned-in text is looked for; then tesseract, if it is installed,
            reads originals and output as well.
    """
    outcome = deidentify(source / "studies", dest, profile, reads_pixels=reads_pixels)
    result = score(read_answers(source / "key.db"), dest / "output", outcome.uids, outcome.patients)
    with (dest / "failures.csv").open("w", encoding="utf-8", newline="") as stream:
        write_failures(result, stream)
    finds = list(hunt(read_wanted(source / "hunt.json"), dest / "output", outcome.uids))
    with (dest / "finds.txt").open("w", encoding="utf-8") as stream:
        stream.writelines(f"{one.path.name}\t{one.offset}\t{one.text}\n" for one in finds)
    return [
        f"## {profile}: {result.overall.share:.3%} of {result.overall.total} checks",
        "",
        *_tell_instances(result, outcome),
        f"Found in the bytes of the output by an independent search: {len(finds)}.",
        *(_read_again(source, dest, outcome) if reads_pixels else ()),
        "",
        "| | | passed | checks | share |",
        "|---|---|---:|---:|---:|",
        *(
            f"| {part} | {name} | {passed} | {total} | {share:.2%} |"
            for part, name, passed, total, share in list_rows(result)
        ),
        "",
        *(f"- {count} × {reason}" for reason, count in result.reasons.most_common(20)),
    ]


def _read_again(source: Path, dest: Path, outcome: Outcome) -> list[str]:
    try:
        reader = find_tesseract()
    except InvalidRequest:
        return ["There is no second engine (tesseract) to read the pictures."]
    wanted = read_wanted(source / "hunt.json")
    before = list(read_again(wanted, source / "studies", {uid: uid for uid in wanted}, reader))
    after = list(read_again(wanted, dest / "output", outcome.uids, reader))
    return [
        f"Words of a patient's that tesseract reads in pictures: {len(before)} in the originals, "
        f"{len(after)} in the output."
    ]


def _tell_instances(result: Score, outcome: Outcome) -> list[str]:
    verdicts = ", ".join(f"{name} {count}" for name, count in sorted(outcome.verdicts.items()))
    reasons = ", ".join(f"{name} {count}" for name, count in outcome.reasons.most_common())
    each_ms = 1000 * outcome.cpu_s / max(result.instances, 1)
    return [
        f"{result.instances} instances: {verdicts}; missing {result.missing_share:.2%}"
        + (f" ({reasons})" if reasons else "")
        + f"; {each_ms:.0f} ms CPU each.",
        "",
    ]
