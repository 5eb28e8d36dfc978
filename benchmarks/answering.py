"""What it takes to label again after answers, against labelling from nothing.

    python benchmarks/answering.py [--frames 600] [--density 30] [--queries 500] [--turns 5] [--out FILE.md]

A simulated stream. The most valuable questions of the default acquisition are answered from the truth, a hundred at a
time, and after each hundred the video is labelled again with all answers so far; then all at once. Processor time of
one thread, both in one run, medians over the turns. "From nothing" is features, three passes and tracks; answering is
resolving the answers and labelling what they touch.
"""

from __future__ import annotations

import numpy as np
import torch
from clock import processor_seconds
from reporting import command_line, publish, start, table

from spam_plugin.engine.acquisition import by_boxes
from spam_plugin.engine.metrics import TruthTable
from spam_plugin.engine.simulation import Desk, Plan, SimulatedVideo
from spam_plugin.models.spam import LabelSettings, SpamModel
from spam_plugin.models.synthetic.streams import StreamSettings, simulate_stream


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--density", type=float, default=30.0)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    size = StreamSettings(num_frames=(args.frames, args.frames), density=(args.density, args.density), people_share=1.0)
    stream = simulate_stream(1, size)
    truth = TruthTable(
        stream.truth_frame.astype(np.int64), stream.truth_identity.astype(np.int64), stream.truth_xyxy.astype(float)
    )
    video = SimulatedVideo("stream", stream.info, stream.candidates, truth)
    model, settings = SpamModel.load(), LabelSettings()
    rows = []
    for turn in range(args.turns):
        nothing = processor_seconds(lambda: model.session(stream.info, stream.candidates, settings).label())
        desk = Desk(video, model, settings, Plan((0.0,)), turn)
        asked, again = 0, 0.0
        while asked < args.queries:
            for query in by_boxes(desk.open_queries(), {"stream": desk.view}, np.random.default_rng(turn)):
                asked += bool(desk.ask(query))
                if asked >= args.queries or asked % 100 == 0:
                    break
            again = processor_seconds(desk.refresh)
        rows.append((nothing, again))
    nothing, again = np.median(np.array(rows), 0).tolist()
    text = [
        f"{args.queries} answers, {args.frames} frames, {len(stream.candidates) / args.frames:.0f} candidates a frame.",
        table(["from nothing, s", "again, s", "share"], [[f"{nothing:.2f}", f"{again:.2f}", f"{again / nothing:.2f}"]]),
    ]
    publish(args, "Labelling again after answers", text, {"nothing": nothing, "again": again})


if __name__ == "__main__":
    start(main)
