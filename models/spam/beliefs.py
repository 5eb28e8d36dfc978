"""From chains to tracks: which chains and boxes are kept, what the model believes of each, what people made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..columns import Candidates
from .columns import BoxColumns
from .constraints import EVER, Constraints
from .decoding import Chains, Decisions
from .settings import LabelSettings


@dataclass(frozen=True)
class Beliefs:
    """What the model believes of one video, what it did not put into its tracks included.

    Attributes:
        chain: (N,) int64, chain of every candidate, or -1 for those that a person or the model dropped.
        validity: (N,) float32, calibrated probability that a candidate is an object; 1 or 0 where a person said so.
        kept: (N,) bool, whether the candidate is in a track of the labels.
        next_row: (N,) int64, candidate that follows in the chain, or -1.
        next_probability: (N,) float32, calibrated probability of that link; 1 where a person made it or none follows.
        next_level: (N,) int64, level of the hierarchy that made the link, -1 for none.
        settled: (N,) bool, whether a person made it.
        vouched: (N,) bool, candidates of chains of which a person said that they are objects.
        open_source: (E,) int64, last candidate of a chain that could go on, but was not made to.
        open_target: (E,) int64, first candidate of the chain that it could go on as.
        open_probability: (E,) float32, calibrated.
    """

    chain: NDArray[np.int64]
    validity: NDArray[np.float32]
    kept: NDArray[np.bool_]
    next_row: NDArray[np.int64]
    next_probability: NDArray[np.float32]
    next_level: NDArray[np.int64]
    settled: NDArray[np.bool_]
    vouched: NDArray[np.bool_]
    open_source: NDArray[np.int64]
    open_target: NDArray[np.int64]
    open_probability: NDArray[np.float32]


@dataclass(frozen=True)
class Kept:
    """Boxes of the tracks of one video before they are filled and smoothed, sorted by (track, frame).

    Attributes:
        row: (K,) int64, candidate behind the box, or -1.
        drawn: (K,) int64, box that a person drew there, or -1.
        frame: (K,) int64.
        track: (K,) int64, any numbers.
        validity: (K,) float32.
        link_after: (K,) float32, probability of the link to the next box of the track; 1 at its end.
        link_entropy: (K,) float32.
        class_index: (K,) int64.
        vouched: (K,) bool, whether a person said that the track is an object.
    """

    row: NDArray[np.int64]
    drawn: NDArray[np.int64]
    frame: NDArray[np.int64]
    track: NDArray[np.int64]
    validity: NDArray[np.float32]
    link_after: NDArray[np.float32]
    link_entropy: NDArray[np.float32]
    class_index: NDArray[np.int64]
    vouched: NDArray[np.bool_]


def entropy(p: NDArray) -> NDArray[np.float32]:
    """Binary entropy in bits, so that it lies in [0, 1]; exactly 0 for what is certain."""
    p = np.asarray(p, np.float64)
    inner = np.clip(p, 1e-9, 1 - 1e-9)
    bits = -(inner * np.log2(inner) + (1 - inner) * np.log2(1 - inner))
    return np.where((p <= 0) | (p >= 1), 0.0, bits).astype(np.float32)


def sigmoid(x: NDArray) -> NDArray:
    """Logistic function, safe for any finite or infinite x."""
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def link_probability(logit: NDArray, level: NDArray, decisions: Decisions) -> NDArray:
    """Calibrated probability of links from their raw logits and the level that made them."""
    curve = np.asarray(decisions.link_calibration)[np.maximum(level, 0)]
    return sigmoid(curve[:, 0] * logit + curve[:, 1])


def decide(
    mine: torch.Tensor, boxes: BoxColumns, chains: Chains, candidates: Candidates, decisions: Decisions,
    settings: LabelSettings, said: Constraints,
) -> tuple[Kept, Beliefs]:  # fmt: skip
    """Which tracks and which of their boxes stay, and what is believed of all candidates.

    Args:
        mine: (N,) int64, rows of ``boxes`` of the video.
        boxes: of all lanes of the run.
        chains: the hierarchy's decisions.
        candidates: of the video.
        decisions: thresholds and calibration.
        settings: what the user wants.
        said: what people said.
    """
    number = len(candidates)
    row = boxes.row[mine].cpu().numpy()
    place = np.full(len(boxes) + 1, -1)  # by row of boxes; the last is for "none"
    place[mine.cpu().numpy()] = row

    def column(values: torch.Tensor, empty: float) -> NDArray:
        out = np.full(number, empty, values.cpu().numpy().dtype)
        out[row] = values[mine].cpu().numpy()
        return out

    node, level = column(chains.node, -1), column(chains.link_level, -1)
    slope, offset = decisions.box_calibration
    validity = sigmoid(slope * column(chains.box_logit, -20.0) + offset)
    member = said.object_index[:number] >= 0
    certain = (said.verdict > 0) | member
    validity = np.where(certain, 1.0, np.where((said.verdict < 0) | (node < 0), 0.0, validity))

    inside = node >= 0
    # one more than there are tracks, so that -1 (no track) finds a place of its own, also where no track is left
    size = chains.num_nodes + 1
    count = np.bincount(node[inside], minlength=size)
    share = np.bincount(node[inside], validity[inside], size) / np.maximum(count, 1)
    vouched = (np.bincount(node[inside & certain], minlength=size) > 0)[node] & inside
    keep = inside.copy()
    if settings.node_classification:
        keep &= certain | ((vouched | (share[node] >= decisions.track)) & (validity >= decisions.box))
    left = np.bincount(node[keep], minlength=size)
    keep &= vouched | (left[node] >= settings.min_boxes)

    settled = column(chains.settled, 0).astype(bool)
    made = link_probability(np.nan_to_num(column(chains.link_next, np.nan), nan=30.0), level, decisions)
    made = np.where(settled | (level < 0), 1.0, made)
    following = place[column(chains.link_to, -1)]
    source, target = chains.open_source.cpu().numpy(), chains.open_target.cpu().numpy()
    own = (place[source] >= 0) & np.isin(source, mine.cpu().numpy())
    source, target = place[source[own]], place[target[own]]
    seam = np.full(len(source), len(decisions.link_calibration) - 1)
    could = link_probability(chains.open_logit.cpu().numpy()[own], seam, decisions)
    missed = np.zeros(number)
    np.maximum.at(missed, source, could)
    np.maximum.at(missed, target, could)

    believed = Beliefs(
        node, validity.astype(np.float32), keep, following, made.astype(np.float32), level, settled, vouched,
        source, target, could.astype(np.float32),
    )  # fmt: skip
    return _together(believed, missed, candidates, said), believed


def _together(believed: Beliefs, missed: NDArray, candidates: Candidates, said: Constraints) -> Kept:
    """Kept candidates and drawn boxes as rows of tracks; one box a track and frame, a person's before a model's."""
    number = len(candidates)
    rows = np.flatnonzero(believed.kept)
    drawn = np.arange(len(said.frame))
    frame = np.concatenate([candidates.frame[rows], said.frame])
    track = _tracks(believed.chain, rows, frame, said)
    class_index = np.concatenate([candidates.class_index[rows], np.zeros(len(drawn), np.int64)])
    named = said.class_index[np.concatenate([rows, number + drawn])]
    row = np.concatenate([rows, np.full(len(drawn), -1)])
    own = np.concatenate([np.full(len(rows), -1), drawn])
    after = _bridge(believed, candidates.frame, rows)
    link = _link_entropy(after, missed[rows], believed.chain[rows], candidates.frame[rows])
    trust = np.where(said.by_person, 1.0, 1.0 if said.filled is None else said.filled).astype(np.float32)
    table = Kept(
        row, own, frame, track, np.concatenate([believed.validity[rows], trust]),
        np.concatenate([after, np.ones(len(drawn))]).astype(np.float32),
        np.concatenate([link, np.zeros(len(drawn))]).astype(np.float32),
        _classes(track, class_index, named, own), np.concatenate([believed.vouched[rows], np.ones(len(drawn), bool)]),
    )  # fmt: skip
    return _one_a_frame(_within_spans(table, said, believed.chain), said)


def _tracks(
    chain: NDArray[np.int64], rows: NDArray[np.int64], frame: NDArray[np.int64], said: Constraints
) -> NDArray[np.int64]:
    """Track of every kept row, then of every drawn box: chains, joined where a person's object lies in several."""
    objects = int(said.object_index.max(initial=-1)) + 1
    if not objects:
        return chain[rows]
    chains = int(chain.max(initial=-1)) + 1
    known = rows[said.object_index[rows] >= 0]
    one, two = chain[known], chains + said.object_index[known]
    graph = coo_matrix((np.ones(len(one)), (one, two)), shape=(chains + objects,) * 2)
    label = connected_components(graph, directed=False)[1]
    of_drawn = label[chains + said.object_index[len(chain) :]]
    track = np.concatenate([label[chain[rows]], of_drawn]).astype(np.int64)
    of = np.concatenate([rows, np.arange(len(chain), len(said.object_index))])
    bad = _broken(track, of, frame, said)
    if not bad.any():
        return track
    # Each link of the model was right for all that it knew, but not the whole of them: its objects part again.
    single = np.full(len(said.object_index), -1)
    single[said.apart.ravel()] = objects + said.apart.ravel()
    member = np.where(said.object_index >= 0, said.object_index, single)[of]
    owner = _owners(np.concatenate([chain[rows], chains + said.object_index[len(chain) :]]), frame, member)
    return np.where(bad[track] & (owner >= 0), len(bad) + owner, track)


def _broken(
    track: NDArray[np.int64], of: NDArray[np.int64], frame: NDArray[np.int64], said: Constraints
) -> NDArray[np.bool_]:
    """(T,) bool: tracks of several objects that together are not what people said of each.

    Args:
        track: (K,) int64, of every row.
        of: (K,) int64, the row as constraints count them.
        frame: (K,) int64.
        said: what people said.
    """
    out = np.zeros(int(track.max(initial=-1)) + 1, bool)
    at = np.full(len(said.object_index), -1)
    at[of] = track
    one, two = at[said.apart].T
    out[one[(one == two) & (one >= 0)]] = True
    member = said.object_index[of]
    pairs = np.unique(np.stack([track, member], 1)[member >= 0], axis=0)
    several = np.bincount(pairs[:, 0], minlength=len(out)) > 1
    own = np.flatnonzero((member >= 0) & several[track])
    _, first = np.unique(said.stretch_index[of[own]], return_index=True)
    head = own[first]  # a row of every stretch in those tracks
    order = np.argsort(track, kind="stable")
    begin = np.searchsorted(track[order], track[head])
    count = np.searchsorted(track[order], track[head], "right") - begin
    stretch = np.repeat(np.arange(len(head)), count)
    row = order[np.arange(len(stretch)) - np.repeat(count.cumsum() - count, count) + begin[stretch]]
    span = of[head[stretch]]
    inside = (frame[row] >= said.earliest[span]) & (frame[row] <= said.latest[span])
    key, number = np.unique(row * (int(member.max(initial=-1)) + 1) + member[head[stretch]], return_inverse=True)
    never = np.bincount(number.ravel(), inside, len(key)) == 0
    out[track[key[never] // (int(member.max(initial=-1)) + 1)]] = True
    return out


def _owners(chain: NDArray[np.int64], frame: NDArray[np.int64], member: NDArray[np.int64]) -> NDArray[np.int64]:
    """(K,) object that every row goes with: that of the row before it in its chain, else of the first; -1 for none."""
    order = np.lexsort((frame, chain))
    place = np.arange(len(order))
    known = member[order] >= 0
    last = np.maximum.accumulate(np.where(known, place, -1)) if len(order) else place
    after = len(order) - 1 - np.maximum.accumulate(np.where(known[::-1], place, -1))[::-1] if len(order) else place
    out = np.full(len(order), -1)
    for row in (after, last):  # the later one wins
        there = (row >= 0) & (row < len(order))
        there[there] &= chain[order][row[there]] == chain[order][there]
        out[order[there]] = member[order][row[there]]
    return out


def _classes(
    track: NDArray[np.int64], class_index: NDArray[np.int64], named: NDArray[np.int64], drawn: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Class of every row: the one that a person named for its track, else that of most of its candidates."""
    size = int(track.max(initial=-1)) + 1
    out = np.zeros(size, np.int64)
    model = drawn < 0
    if model.any():
        pairs, count = np.unique(np.stack([track[model], class_index[model]], 1), axis=0, return_counts=True)
        order = np.lexsort((-pairs[:, 1], count))
        out[pairs[order, 0]] = pairs[order, 1]
    said = named >= 0
    np.maximum.at(out, track[said], 0)
    out[track[said][::-1]] = named[said][::-1]
    return out[track]


def _within_spans(table: Kept, said: Constraints, chain: NDArray[np.int64]) -> Kept:
    """The rows inside the bounds that people gave a stretch of their chain."""
    number = len(said.verdict)
    known = np.flatnonzero(table.row >= 0)
    row, own = table.row[known], chain[table.row[known]]
    size = int(chain.max(initial=-1)) + 1
    first, last = np.full(size, -EVER), np.full(size, EVER)
    np.maximum.at(first, own, said.earliest[:number][row])
    np.minimum.at(last, own, said.latest[:number][row])
    inside = np.ones(len(table.row), bool)
    free = said.object_index[row] < 0
    inside[known[free]] = ((table.frame[known] >= first[own]) & (table.frame[known] <= last[own]))[free]
    return _rows(table, inside)


def _one_a_frame(table: Kept, said: Constraints) -> Kept:
    """Sorted by (track, frame); a drawn box takes the place of the candidate in its frame and remembers it.

    Of several candidates that are joined there, the one that a person named is it.
    """
    seen = np.maximum(table.row, 0)
    named = (table.row >= 0) & (said.object_index[seen] >= 0) if len(said.object_index) else table.row >= 0
    order = np.lexsort((-table.validity, ~named, table.drawn < 0, table.frame, table.track))
    table = _rows(table, order)
    first = np.ones(len(order), bool)
    first[1:] = (table.track[1:] != table.track[:-1]) | (table.frame[1:] != table.frame[:-1])
    row = table.row.copy()
    doubled = np.flatnonzero(~first)[::-1]  # so that the best one comes last, and stays
    head = np.flatnonzero(first)[np.cumsum(first)[doubled] - 1] if len(doubled) else doubled
    free = row[head] < 0
    row[head[free]] = table.row[doubled[free]]
    return _rows(Kept(**{**vars(table), "row": row}), first)


def _rows(table: Kept, rows: NDArray) -> Kept:
    return Kept(**{key: value[rows] for key, value in vars(table).items()})


def _bridge(believed: Beliefs, frame: NDArray, kept: NDArray) -> NDArray:
    """Probability of the step from each kept box to the next kept one: the product over the links between them."""
    node = believed.chain
    whole = np.lexsort((frame, node))
    steps = np.log(np.maximum(believed.next_probability[whole].astype(np.float64), 1e-12))
    total = np.concatenate([[0.0], np.cumsum(steps)])
    place = np.empty(len(node), np.int64)
    place[whole] = np.arange(len(node))
    order = np.lexsort((frame[kept], node[kept]))
    here = place[kept[order]]
    after = np.ones(len(kept))
    same = node[kept[order]][1:] == node[kept[order]][:-1]
    step = np.exp(total[here[1:]] - total[here[:-1]])
    # rounding of the sums must not make a settled link doubtful
    after[order[:-1][same]] = np.where(step > 1 - 1e-9, 1.0, step)[same]
    return after


def _link_entropy(after: NDArray, missed: NDArray, node: NDArray, frame: NDArray) -> NDArray:
    """Greatest entropy of the links at every box.

    To the next, from the previous, and at a track's ends of the best rival.
    """
    order = np.lexsort((frame, node))
    node = node[order]
    out = entropy(after[order])
    same = node[1:] == node[:-1]
    before = np.zeros_like(out)
    before[1:][same] = out[:-1][same]
    is_end = np.ones(len(node), bool)
    is_end[1:-1] = ~(same[1:] & same[:-1]) if len(node) > 2 else is_end[1:-1]
    greatest = np.maximum(np.maximum(out, before), np.where(is_end, entropy(missed[order]), 0.0))
    given = np.empty_like(greatest)
    given[order] = greatest
    return given
