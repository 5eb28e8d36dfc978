"""The promotion gate: does it let better models through, and keep worse ones out, even where answers are wrong?

    python benchmarks/promotion.py [--runs 20] [--out FILE.md] ...

Every run draws streams of a domain that the default weights have not seen, has a simulated person answer questions
about them, holds a part of the answers out, fine-tunes the hierarchy on the rest, and asks the gate. What is true is
measured on other streams of the domain, which nobody labelled: HOTA of the new hierarchy less that of the default one.

Domains: "posters" is where there is something to learn: boxes that stand still, look like objects, score like them and
are none. "usual" are streams like those of the pretraining: there is little to gain, and wrong answers can only harm.
Poisoned runs have 30 % wrong answers, also among those that are held out.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from reporting import command_line, publish, start, table

from spam_plugin.engine.acquisition import rule
from spam_plugin.engine.agreement import Agreement, measure_agreement
from spam_plugin.engine.holdout import hold_out
from spam_plugin.engine.lessons import gather_lessons
from spam_plugin.engine.metrics import TrackTable, TruthTable, combine, evaluate_video
from spam_plugin.engine.ports import VideoInput
from spam_plugin.engine.promotion import judge
from spam_plugin.engine.simulation import CLICKS_PER_BOX, Desk, Plan, SimulatedVideo
from spam_plugin.models.columns import Candidates
from spam_plugin.models.fitting import FitSettings
from spam_plugin.models.spam import LabelSettings, SpamModel
from spam_plugin.models.spam.finetuning import FinetuneConfig, Lesson, finetune
from spam_plugin.models.synthetic.streams import Stream, StreamSettings, simulate_stream

WRONG = 0.3  # share of wrong answers in poisoned runs
KINDS = (("clean", "posters", 0.0), ("poisoned", "posters", WRONG), ("poisoned", "usual", WRONG))
LEAST_CLEAN, MOST_POISONED = 15, 2  # of 20
_STREAMS = StreamSettings(
    num_frames=(100, 100), density=(6.0, 12.0), frame_rate=(8.0, 12.0), embedding_share=0.0, people_share=1.0
)
_APART = 1_000_000  # seeds of streams that are measured on lie so far from those that are learnt from


def with_posters(stream: Stream, seed: int) -> Stream:
    """The stream with boxes that stand still and look like objects, where there are none."""
    rng = np.random.default_rng([seed, 7])
    given, frames = stream.candidates, stream.info.num_frames
    true = np.flatnonzero(stream.valid)
    number = max(round(0.6 * len(true) / frames), 2)
    like = given.xyxy[rng.choice(true, number)]
    sides = like[:, 2:] - like[:, :2]
    corner = rng.uniform(0, 1, (number, 2)) * np.maximum([stream.info.width, stream.info.height] - sides, 1)
    frame, which = np.nonzero(rng.random((frames, number)) < 0.9)
    box = np.concatenate([corner, corner + sides], 1)[which]
    box = box + rng.normal(0, 0.01, box.shape) * np.tile(sides[which], 2)
    score = given.score[rng.choice(true, len(frame))]
    order = np.argsort(np.concatenate([given.frame, frame]), kind="stable")

    def both(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        return np.concatenate([one, two.astype(one.dtype)])[order]

    none = np.full(len(frame), -1)
    candidates = Candidates(
        both(given.frame, frame), both(given.xyxy, box), both(given.score, score), both(given.class_index, none * 0)
    )
    return replace(
        stream, candidates=candidates, identity=both(stream.identity, none), valid=both(stream.valid, none < -1)
    )


def videos_of(domain: str, seeds: range) -> list[SimulatedVideo]:
    """Some streams of a domain as videos with ground truth."""
    found = []
    for seed in seeds:
        stream = simulate_stream(seed, _STREAMS)
        stream = with_posters(stream, seed) if domain == "posters" else stream
        truth = TruthTable(stream.truth_frame, stream.truth_identity, stream.truth_xyxy.astype(float))
        found.append(SimulatedVideo(stream.info.name, stream.info, stream.candidates, truth))
    return found


def answers_of(videos: list[SimulatedVideo], model: SpamModel, budget: float, errors: float, seed: int) -> dict:
    """Key of a video -> what a simulated person says for ``budget`` percent of the effort, in three rounds."""
    plan = Plan((budget,), error_rate=errors, seed=seed)
    desks = {video.key: Desk(video, model, LabelSettings(), plan, n) for n, video in enumerate(videos)}
    whole = CLICKS_PER_BOX * sum(len(video.targets) for video in videos)
    order, rng = rule(plan.acquisition), np.random.default_rng(seed)
    spent = 0
    for share in (1 / 3, 2 / 3, 1.0):
        queries = [query for desk in desks.values() for query in desk.open_queries()]
        for query in order(queries, {key: desk.view for key, desk in desks.items()}, rng):
            if spent + query.cost <= share * budget / 100 * whole:
                spent += desks[query.video].ask(query)
        for desk in desks.values():
            desk.refresh()
    return {key: tuple(desk.answers) for key, desk in desks.items()}


def hota(model: SpamModel, videos: list[SimulatedVideo]) -> list[float]:
    """HOTA of a model's labels without answers, in percent: of every video, then of all as one."""
    scores = []
    for video, tracks in zip(videos, model.label([(v.info, v.candidates) for v in videos]), strict=True):
        labels = TrackTable(tracks.frame, tracks.track_index, tracks.xyxy.astype(float).round(2))
        scores.append(evaluate_video(video.truth, labels, video.info.num_frames, None, name=video.info.name))
    return [float(one.as_dict(percent=True)["HOTA"]) for one in (*scores, combine(scores))]


def run_one(domain: str, errors: float, seed: int, args: Any, start_model: SpamModel) -> dict[str, Any]:
    """One run: answers, lessons, a new hierarchy, the gate, and what is true."""
    began = time.perf_counter()
    videos = videos_of(domain, range(1000 * seed, 1000 * seed + args.videos))
    said = answers_of(videos, start_model, args.budget, errors, seed)
    inputs = {v.key: VideoInput(v.info, v.candidates, "", answers=said[v.key]) for v in videos}
    holdout = hold_out(said, {v.key: v.info.num_frames for v in videos}, seed=seed)
    taught = {key: replace(video, answers=holdout.split(key, video.answers).training) for key, video in inputs.items()}
    lessons = [gather_lessons(start_model, key, video, holdout) for key, video in taught.items()]
    given = [
        Lesson(one.info, one.candidates, one.identity, one.group, one.valid, one.weight, one.link_weight)
        for one in lessons
    ]
    settings = FitSettings(args.steps, seed, save_every=10 * args.steps, tensorboard=False)
    config = FinetuneConfig(boxes=args.boxes, learning_rate=args.rate, synthetic=0.25, average=0.9)
    answered = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model, _ = finetune(start_model, given, settings, Path(folder), config=config, version="new")
    trained = time.perf_counter()
    current, new = (measure_agreement(one, inputs, holdout) for one in (start_model, model))
    fresh = videos_of(domain, range(_APART + 1000 * seed, _APART + 1000 * seed + args.measured))
    before, after = hota(start_model, fresh), hota(model, fresh)
    return {
        "domain": domain, "errors": errors, "seed": seed, "answers": sum(map(len, said.values())),
        "before": before[-1], "after": after[-1], "kind": current.kind, "place": current.place,
        "current": current.score.round(4).tolist(), "new": new.score.round(4).tolist(),
        "seconds": {
            "answers": answered - began, "training": trained - answered, "judging": time.perf_counter() - trained,
        },
    }  # fmt: skip


def main() -> None:
    """Run all, one after another, and count what the gate did against what was true."""
    parser = command_line(__doc__, data=False)
    parser.add_argument("--runs", type=int, default=20, help="of each kind")
    parser.add_argument("--first", type=int, default=1, help="seed of the first run")
    parser.add_argument("--videos", type=int, default=4, help="that are answered")
    parser.add_argument("--measured", type=int, default=5, help="streams that the truth is measured on")
    parser.add_argument("--budget", type=float, default=5.0, help="of a run, in percent of labelling by hand")
    parser.add_argument("--steps", type=int, default=30, help="of the fine-tuning, which is short and eager here")
    parser.add_argument("--boxes", type=int, default=600, help="of a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="of learning, at its peak")
    parser.add_argument("--kinds", nargs="+", type=int, default=[0, 1, 2], help="which kinds of runs")
    parser.add_argument("--keep", metavar="FILE.jsonl", help="write every run there, and take up what is there")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    model = SpamModel.load()
    kept = [json.loads(line) for line in Path(args.keep).read_text().splitlines()] if _is_file(args.keep) else []
    known = {(one["domain"], one["errors"], one["seed"]) for one in kept}
    for seed in range(args.first, args.first + args.runs):
        for _, domain, errors in (KINDS[n] for n in args.kinds):
            if (domain, errors, seed) in known:
                continue
            kept.append(run_one(domain, errors, seed, args, model))
            if args.keep:
                with Path(args.keep).open("a") as file:
                    file.write(json.dumps(kept[-1]) + "\n")
    publish(args, "The promotion gate", report(kept), {"runs": kept})


def _is_file(path: str | None) -> bool:
    return path is not None and Path(path).is_file()


def verdict_of(run: dict[str, Any]) -> dict[str, Any]:
    """What the gate says of the scores of a run."""
    keys = tuple(map(str, range(len(run["place"]))))
    one, two = (
        Agreement(keys, tuple(run["kind"]), tuple(run["place"]), np.array(run[name])) for name in ("current", "new")
    )
    return judge(one, two).as_dict()


def report(runs: list[dict[str, Any]]) -> list[str]:
    """Tables: what was aimed at, what the gate did in each kind of run, and every run."""
    runs = [{**run, "verdict": verdict_of(run)} for run in runs]
    counts, aims = [], []
    for name, domain, errors in KINDS:
        own = [run for run in runs if run["domain"] == domain and run["errors"] == errors]
        if not own:
            continue
        gain = np.array([run["after"] - run["before"] for run in own])
        promoted = np.array([run["verdict"]["promoted"] for run in own])
        worse = int((promoted & (gain < 0)).sum())
        counts.append(
            [
                f"{name}, {domain}", len(own), int((gain < 0).sum()), int(promoted.sum()), worse,
                f"{gain.mean():+.1f} ({gain.min():+.1f} to {gain.max():+.1f})",
                f"{gain[promoted].mean():+.1f}" if promoted.any() else "-",
                f"{np.mean([run['verdict']['answers'] for run in own]):.0f}",
            ]
        )  # fmt: skip
        if name == "clean":
            good = int(promoted.sum()) >= LEAST_CLEAN * len(own) / 20
            aims.append(
                [f"clean, {domain}: promoted, at least {LEAST_CLEAN} of 20", f"{promoted.sum()} of {len(own)}", good]
            )
        else:
            good = worse <= MOST_POISONED * len(own) / 20
            aims.append(
                [
                    f"poisoned, {domain}: worse and promoted, at most {MOST_POISONED} of 20",
                    f"{worse} of {len(own)}",
                    good,
                ]
            )
    head = [
        "runs",
        "number",
        "truly worse",
        "promoted",
        "worse and promoted",
        "HOTA gained, mean",
        "of promoted",
        "held out answers",
    ]
    rows = [
        [
            run["domain"], f"{100 * run['errors']:g} %", run["seed"], run["answers"], run["verdict"]["answers"],
            f"{run['before']:.1f}", f"{run['after'] - run['before']:+.1f}",
            f"{100 * run['verdict']['difference']:+.1f}",
            f"{100 * run['verdict']['interval'][0]:+.1f} to {100 * run['verdict']['interval'][1]:+.1f}",
            "yes" if run["verdict"]["promoted"] else "no",
        ]
        for run in sorted(runs, key=lambda run: (run["errors"], run["domain"], run["seed"]))
    ]  # fmt: skip
    seconds = sum(sum(run["seconds"].values()) for run in runs)
    return [
        table(["aim", "measured", "reached"], [[a, b, "yes" if c else "**no**"] for a, b, c in aims]),
        table(head, counts),
        f"All runs took {seconds / 60:.0f} minutes, one after another. HOTA is in percent, on streams that nobody "
        "labelled. The fine-tuning is short and eager (few steps, a high rate), so a bad lesson does great harm: what "
        "wrong answers cost here is no forecast for a real retraining.",
        "## Every run",
        table(
            ["domain", "wrong", "seed", "answers", "held out", "HOTA before", "gained", "agreement gained", "interval",
             "promoted"],
            rows,
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    start(main)
