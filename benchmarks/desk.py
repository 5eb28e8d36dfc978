"""The round trip with CVAT against FiftyOne's own integration, in one run; what a second one sends; many tasks.

    OMP_NUM_THREADS=1 python benchmarks/desk.py --out docs/benchmarks/desk.md

One video with tracks as labelling writes them: smooth courses with a little noise, and gaps. Both ways start from the
same dataset and the same file, and take turns; every turn begins with a new dataset. The server is the stand-in of the
tests, in a process of its own, or, where CVAT_URL, CVAT_USERNAME and CVAT_PASSWORD are set, a real one, on which
nothing is left. Each number of tasks is measured in a process of its own, as the peak of memory never falls.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from desk_world import (
    CLASSES,
    Place,
    check_moved,
    database,
    film,
    finish,
    move_all,
    new_dataset,
    scene,
    server,
    write_scene,
)
from reporting import command_line, publish, start, table

TARGET = 0.5  # of the time of FiftyOne's own integration
MANY_FRAMES, MANY_TRACKS = 50, 5  # of each of many videos
MIB = 2**20
# FiftyOne's own integration is given the least to do: a field, its classes, and nothing that is said of a box.
FIELD = "frames.spam_tracks"
SCHEMA = {FIELD: {"type": "detections", "classes": list(CLASSES), "attributes": {}}}
UNTOUCHED, MOVED = "pull, nothing touched", "pull, every box moved"
Step = tuple[float, float]  # seconds by the clock, and of this process's processor time


def main() -> None:
    parser = command_line(__doc__, data=False)
    parser.add_argument("--frames", type=int, default=1000, metavar="N", help="of the video (default: 1000)")
    parser.add_argument("--tracks", type=int, default=20, metavar="N", help="in the video (default: 20)")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="of each way (default: 3)")
    parser.add_argument("--long", type=int, default=20_000, metavar="N", help="frames of a long video; 0 for none")
    parser.add_argument(
        "--tasks", type=int, nargs="*", default=[20, 100, 200], metavar="N", help="how many (default: 20 100 200)"
    )
    args = parser.parse_args()
    with database(), server() as place:
        folder = Path(tempfile.mkdtemp(prefix="spam-plugin-desk-"))
        try:
            parts, numbers = measure(args, place, folder)
        finally:
            shutil.rmtree(folder)
    publish(args, "The review desk", parts, numbers)


def measure(args: Any, place: Place, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """All tables, and the numbers in them."""
    import fiftyone as fo

    many = [in_a_process(many_tasks, place.login, folder, count) for count in args.tasks]
    for way in (our_turn, their_turn):  # the first time costs imports and indexes
        way(place, film(folder, 30), 30, 2)
    turns = compare(place, film(folder, args.frames), args.frames, args.tracks, args.turns)
    sizes = [size for size in (args.frames, args.long) if size]
    rounds = {size: again(place, film(folder, size), size, args.tracks) for size in sizes}
    parts = [
        f"Server: {place.version}; FiftyOne {fo.__version__}. Seconds by the clock and, in brackets, of the client's "
        "processor time, which leaves out what the server and the database take. The stand-in answers many times "
        "faster than a real server, which takes most time for keyframes that it stores and gives back.",
        *peer_tables(turns, args),
        *(table_of(found, size, args.tracks) for size, found in rounds.items()),
        *(many_table(many) if many else ()),
    ]
    return parts, {"turns": turns, "rounds": rounds, "tasks": many}


# --- one video, both ways


def compare(place: Place, file: Path, frames: int, tracks: int, turns: int) -> dict[str, Any]:
    """Steps of both ways, turn by turn, and keyframes that each sent."""
    out: dict[str, Any] = {"ours": defaultdict(list), "theirs": defaultdict(list), "keyframes": {}}
    for turn in range(turns):
        for name, way in (("ours", our_turn), ("theirs", their_turn))[:: -1 if turn % 2 else 1]:
            steps, out["keyframes"][name] = way(place, file, frames, tracks)
            for step, took in steps.items():
                out[name][step].append(took)
            print(f"turn {turn + 1}, {name}: {steps}", file=sys.stderr)
    return out


def our_turn(place: Place, file: Path, frames: int, tracks: int) -> tuple[dict[str, Step], int]:
    """Push, pull of what nobody touched, and pull of what a person moved, by our sync; and keyframes sent."""
    from spam_plugin.engine.desk.context import SyncSettings
    from spam_plugin.integrations.cvat.sync import sync

    dataset = new_dataset([file], frames, tracks)
    link, api = place.link(dataset), place.reviewer()
    known = {job["id"] for job in api.jobs()}
    steps = {"push": timed(lambda: sync(link, SyncSettings(windows="all", pull=False)))}
    jobs = [job["id"] for job in api.jobs() if job["id"] not in known]
    keyframes = sum(len(track["shapes"]) for job in jobs for track in api.tracks(job))
    finish(api, jobs)
    steps[UNTOUCHED] = timed(lambda: sync(link, SyncSettings(push=False)))
    move_all(api, jobs)
    steps[MOVED] = timed(lambda: sync(link, SyncSettings(push=False)))
    check_moved(dataset, frames, tracks)
    dataset.delete()
    return steps, keyframes


def their_turn(place: Place, file: Path, frames: int, tracks: int) -> tuple[dict[str, Step], int]:
    """The same by FiftyOne's own integration."""
    dataset = new_dataset([file], frames, tracks)
    api = place.reviewer()
    known = {job["id"] for job in api.jobs()}
    steps = {
        "push": timed(
            lambda: dataset.annotate(
                "key", backend="cvat", label_field=FIELD, label_schema=SCHEMA, project_name=f"peer {dataset.name}",
                launch_editor=False, **place.login,
            )
        )
    }  # fmt: skip
    jobs = [job["id"] for job in api.jobs() if job["id"] not in known]
    keyframes = sum(len(track["shapes"]) for job in jobs for track in api.tracks(job))
    finish(api, jobs)
    steps[UNTOUCHED] = timed(lambda: dataset.load_annotations("key", **place.login))
    move_all(api, jobs)
    steps[MOVED] = timed(lambda: dataset.load_annotations("key", **place.login))
    check_moved(dataset, frames, tracks)
    dataset.delete()
    return steps, keyframes


def timed(work: Callable[[], object]) -> Step:
    """Seconds by the clock and of this process's processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


# --- one video, again


def again(place: Place, file: Path, frames: int, tracks: int) -> list[dict[str, Any]]:
    """Every step of ours on one video: how long it takes, and what it sends."""
    from spam_plugin.engine.desk.context import SyncSettings
    from spam_plugin.integrations.cvat.sync import sync

    dataset = new_dataset([file], frames, tracks)
    link, api = place.link(dataset), place.reviewer()
    known = {job["id"] for job in api.jobs()}
    rows: list[dict[str, Any]] = []

    def step(name: str, **settings: Any) -> None:
        place.ask()
        reports: list[Any] = []
        took = timed(lambda: reports.append(sync(link, SyncSettings(**settings))))
        asked = place.ask()
        if reports[0].problems:
            raise RuntimeError("; ".join(reports[0].problems))
        changes = None if asked is None else sum(one[1].endswith("/annotations") and one[0] != "GET" for one in asked)
        rows.append(
            {
                "step": name, "took": took, "requests": None if asked is None else len(asked), "changes": changes,
                "sent": None if asked is None else sum(one[2] for one in asked), "counts": reports[0].counts,
            }
        )  # fmt: skip
        print(f"{frames} frames, {rows[-1]}", file=sys.stderr)

    step("the first push", windows="all", pull=False)
    step("a sync when nothing has changed", windows="all")
    frame, track, xyxy = scene(frames, tracks)
    write_scene(dataset, 0, (frame, track, xyxy + 12.0 * (track == tracks // 2)[:, None]))
    step("a sync when one track was labelled anew", windows="all")
    write_scene(dataset, 0, (frame, track, xyxy))
    step("and back", windows="all")
    jobs = [job["id"] for job in api.jobs() if job["id"] not in known]
    finish(api, jobs)
    step(UNTOUCHED, push=False)
    move_all(api, jobs)
    step(MOVED, push=False)
    check_moved(dataset, frames, tracks)
    dataset.delete()
    return [row for row in rows if row["step"] != "and back"]


# --- many videos


def in_a_process(work: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """What a function returns that has a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def many_tasks(login: dict[str, str], folder: Path, count: int) -> dict[str, Any]:
    """One round trip of many short videos: seconds, memory, and how progress was told."""
    from spam_plugin.engine.desk.context import SyncSettings
    from spam_plugin.integrations.cvat.sync import sync

    place = Place(**login)
    short = film(folder, MANY_FRAMES)
    our_turn(place, short, MANY_FRAMES, MANY_TRACKS)  # the first time costs imports
    files = [folder / f"many{count}" / f"street{number:04d}.mp4" for number in range(count)]
    files[0].parent.mkdir()
    for file in files:
        file.hardlink_to(short)
    dataset = new_dataset(files, MANY_FRAMES, MANY_TRACKS)
    link, api = place.link(dataset), place.reviewer()
    known = {job["id"] for job in api.jobs()}
    told: list[tuple[str, int, int]] = []
    out: dict[str, Any] = {"tasks": count, "before": peak_mib()}

    def step(name: str, **settings: Any) -> None:
        reports: list[Any] = []
        tell = lambda what, done, total, which: told.append((what, done, total))  # noqa: E731
        out[name] = timed(lambda: reports.append(sync(link, SyncSettings(**settings), tell)))
        if reports[0].problems:
            raise RuntimeError("; ".join(reports[0].problems))

    step("push", windows="all")
    step("nothing", windows="all")
    jobs = [job["id"] for job in api.jobs() if job["id"] not in known]
    finish(api, jobs)
    move_all(api, jobs)
    step("pull", push=False)
    check_moved(dataset, MANY_FRAMES, MANY_TRACKS)
    dataset.delete()
    out["after"] = peak_mib()
    for what in ("pushing", "pulling"):  # every task is told, and the end
        if not set(range(count + 1)) <= {done for name, done, total in told if name == what and total == count}:
            raise RuntimeError(f"{what} {count} tasks was not told step by step")
    print(out, file=sys.stderr)
    return out


def peak_mib() -> float:
    """Greatest resident memory of this process so far, in MiB, without what its parent had when it was made."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (MIB if sys.platform == "darwin" else 1024)


# --- tables


def peer_tables(turns: dict[str, Any], args: Any) -> list[str]:
    rows, words = [], []
    for step in ("push", UNTOUCHED, MOVED):
        ours, theirs = median(turns["ours"][step]), median(turns["theirs"][step])
        rows.append(
            [step, seconds(ours), seconds(theirs), *(f"{a / b:.2f}" for a, b in zip(ours, theirs, strict=True))]
        )
        words.append(f"{step}: {verdict(ours[0] / theirs[0])}")
    ours, theirs = (turns["keyframes"][name] for name in ("ours", "theirs"))
    boxes = len(scene(args.frames, args.tracks)[0])
    return [
        f"## {args.frames} frames x {args.tracks} tracks, against FiftyOne's own integration",
        f"Medians of {args.turns} turns, in which both begin with a new dataset of {boxes} boxes.",
        table(["", "ours", "FiftyOne's", "times FiftyOne's", "by processor time"], rows),
        f"Required: at most {TARGET:g} times FiftyOne's. {'; '.join(words)}. Keyframes sent: ours {ours} "
        f"({ours / boxes:.1%} of the boxes), FiftyOne's {theirs} ({theirs / boxes:.1%}).",
    ]


def table_of(rows: list[dict[str, Any]], frames: int, tracks: int) -> str:
    shown = [
        [
            row["step"], seconds(row["took"]), row["requests"], row["changes"],
            None if row["sent"] is None else f"{row['sent'] / 1000:,.0f}",
            *(row["counts"].get(name, 0) for name in ("tracks created", "tracks updated", "keyframes sent")),
            row["counts"].get("boxes written", 0),
        ]
        for row in rows
    ]  # fmt: skip
    head = [
        "", "took", "requests", "of these writes of tracks", "kB sent", "tracks created", "tracks updated",
        "keyframes sent", "boxes written",
    ]  # fmt: skip
    made = rows[0]["counts"]["jobs opened"]
    return (
        f"## {frames} frames x {tracks} tracks, step by step\n\n"
        f"One video in {made} jobs; a track counts in every job that it is seen in.\n\n{table(head, shown)}"
    )


def many_table(many: list[dict[str, Any]]) -> list[str]:
    rows = [
        [
            row["tasks"], *(f"{1000 * row[step][0] / row['tasks']:.0f}" for step in ("push", "nothing", "pull")),
            f"{row['before']:.0f}", f"{row['after']:.0f}", f"{row['after'] - row['before']:.0f}",
        ]
        for row in many
    ]  # fmt: skip
    head = [
        "tasks", "push, ms a task", "nothing changed, ms a task", "pull, ms a task", "peak before, MiB",
        "peak after, MiB", "more, MiB",
    ]  # fmt: skip
    return [
        "## Many tasks",
        f"Short videos ({MANY_FRAMES} frames x {MANY_TRACKS} tracks), one task each; a person moves every box of all. "
        "Resident memory of the client, each number of tasks in a process of its own, after a first round trip with "
        "one. Progress was told for every task.",
        table(head, rows),
    ]


def median(steps: Sequence[Step]) -> Step:
    """The middle by the clock, and the middle by processor time."""
    return statistics.median(one[0] for one in steps), statistics.median(one[1] for one in steps)


def seconds(step: Step) -> str:
    """Seconds by the clock and of processor time."""
    return f"{step[0]:.2f} ({step[1]:.2f})"


def verdict(share: float) -> str:
    """Whether a share of the peer's time is as small as it must be."""
    return f"{share:.2f}, {'kept' if share <= TARGET else 'MISSED'}"


if __name__ == "__main__":
    start(main)
