"""Constraints as the hierarchy keeps to them: which boxes are linked before it starts, and which links it may not make.

SPAM, ECCV 2024, section on labelling. Rows are those of the ``BoxColumns`` of a run; times are global.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .columns import BoxColumns
from .constraints import EVER, Constraints
from .pairs import expand_ranges
from .rounding import chain_roots

FOREVER = 1 << 60  # moments: no bound


@dataclass(frozen=True)
class Ties:
    """Constraints of all lanes.

    Attributes:
        gone: (N,) bool, boxes that are no objects.
        stays: (N,) bool, boxes whose tracklet no level may drop.
        together: (F, 2) int64, consecutive boxes of one stretch of an object, the earlier first.
        apart: (K, 2) int64, boxes of different objects.
        earliest: (N,) int64, first moment of the box's object; ``-FOREVER`` if unknown.
        latest: (N,) int64, last moment; ``FOREVER`` if unknown.
    """

    gone: Tensor
    stays: Tensor
    together: Tensor
    apart: Tensor
    earliest: Tensor
    latest: Tensor

    @property
    def bounded(self) -> bool:
        """Whether any object has a first or last moment."""
        return bool((self.earliest > -FOREVER).any() or (self.latest < FOREVER).any())

    def changed(self, other: Ties) -> Tensor:
        """(N,) bool: boxes of which the two say different things."""
        out = self.gone != other.gone
        for key in ("stays", "earliest", "latest"):
            out |= getattr(self, key) != getattr(other, key)
        number = len(out)
        for key in ("together", "apart"):
            pairs = [(tie[:, 0] * number + tie[:, 1]).unique() for tie in (getattr(self, key), getattr(other, key))]
            both, count = torch.cat(pairs).unique(return_counts=True)
            odd = both[count == 1]
            out[odd // number] = True
            out[odd % number] = True
        return out


def nothing_tied(number: int, device: torch.device) -> Ties:
    """Ties of so many boxes of which nobody has said anything."""
    no = torch.zeros(number, dtype=torch.bool, device=device)
    bound = torch.full((number,), FOREVER, dtype=torch.int64, device=device)
    pairs = bound.new_zeros(0, 2)
    return Ties(no, no, pairs, pairs, -bound, bound)


def gather_ties(constraints: Sequence[Constraints | None], boxes: BoxColumns) -> Ties | None:
    """The constraints of all videos on the rows of ``boxes``; None if nobody has said anything.

    What is said of drawn boxes holds for the candidates of the same object. Objects whose candidates lie in several
    lanes (classes) are linked inside each lane here, and across them when tracks are put together.
    """
    if all(said is None or said.said_nothing for said in constraints):
        return None
    device = boxes.time.device
    number = len(boxes)
    gone = torch.zeros(number, dtype=torch.bool, device=device)
    stays = gone.clone()
    earliest = torch.full((number,), -FOREVER, dtype=torch.int64, device=device)
    latest = -earliest
    together, apart = [boxes.time.new_zeros(0, 2)], [boxes.time.new_zeros(0, 2)]
    video = boxes.lane_video[boxes.lane]
    for index, said in enumerate(constraints):  # videos, not boxes
        if said is None or said.said_nothing:
            continue
        rows = (video == index).nonzero()[:, 0]
        own = boxes.row[rows].cpu().numpy()
        place = np.full(said.num_candidates, -1)
        place[own] = rows.cpu().numpy()
        verdict = torch.as_tensor(said.verdict[own].astype(np.int64), device=device)
        member = torch.as_tensor(np.where(said.verdict[own] < 0, -1, said.stretch_index[own]), device=device)
        gone[rows] = verdict < 0
        stays[rows] = (verdict > 0) | (member >= 0)
        start = boxes.lane_start[boxes.lane[rows]]
        for bound, column, limit in ((earliest, said.earliest, -FOREVER), (latest, said.latest, FOREVER)):
            given = torch.as_tensor(column[own], device=device)
            known = given.abs() < int(EVER)
            bound[rows] = torch.where(known, given + start, limit)
        together.append(_consecutive(boxes, rows[member >= 0], member[member >= 0]))
        lane = boxes.lane[rows].cpu().numpy()
        apart.append(torch.as_tensor(_stand_ins(said, place, own, lane - lane.min(initial=0)), device=device))
    pairs = torch.cat(apart)
    return Ties(gone, stays, torch.cat(together), pairs[(pairs >= 0).all(1)], earliest, latest)


def _consecutive(boxes: BoxColumns, rows: Tensor, member: Tensor) -> Tensor:
    """(F, 2) neighbouring boxes of every stretch inside its lane."""
    if not len(rows):
        return rows.new_zeros(0, 2)
    key = member * len(boxes.lane_rate) + boxes.lane[rows]
    order = torch.argsort(key, stable=True)  # rows are in the order of time already
    rows, key = rows[order], key[order]
    same = key[1:] == key[:-1]
    return torch.stack([rows[:-1][same], rows[1:][same]], 1)


def _stand_ins(said: Constraints, place: np.ndarray, own: np.ndarray, lane: np.ndarray) -> np.ndarray:
    """(K x lanes, 2) rows of ``boxes`` for the pairs that are apart; -1 for an object without a candidate in a lane.

    Args:
        said: what people said of the video.
        place: (N,) row of ``boxes`` of every candidate.
        own: (n,) candidates of the video in the order of ``boxes``.
        lane: (n,) lane of each, from 0.
    """
    number, lanes = said.num_candidates, int(lane.max(initial=-1)) + 1
    size = int(said.stretch_index.max(initial=-1)) + 1
    of_lane = np.full(number, -1)
    of_lane[own] = lane
    stand_in = np.full((size + 1, lanes), -1)  # one more, so that "no object" (-1) finds a place of its own
    members = np.flatnonzero(said.stretch_index[:number] >= 0)[::-1]
    stand_in[said.stretch_index[members], of_lane[members]] = members
    alone = np.full((number + len(said.frame), lanes), -1)
    named = np.unique(said.apart[said.apart < number])
    alone[named, of_lane[named]] = named
    rows = np.where((said.stretch_index >= 0)[:, None], stand_in[said.stretch_index], alone)[
        said.apart
    ]  # (K, 2, lanes)
    return np.where(rows >= 0, place[rows], -1).transpose(0, 2, 1).reshape(-1, 2)


def tie_links(to: Tensor, gain: Tensor, time: Tensor, ties: Ties) -> tuple[Tensor, Tensor]:
    """Links that keep to the ties: what is to be together is, and nothing that must not be.

    Chains that are joined keep all boxes that lie before, or behind, the other chain. Where that is not possible
    without breaking another tie, the objects concerned keep only the boxes that people named.

    Args:
        to: (N,) int64, the later box that each box is linked to, or -1; chains go up in row and time.
        gain: (N,) float, what each link is worth; of several that could be cut the least is.
        time: (N,) int64, non-decreasing inside every chain.
        ties: of the same boxes.

    Returns:
        The links, and (N,) bool: those that exist because people said so.
    """
    linked = to >= 0
    to = torch.where(linked & ~ties.gone & ~ties.gone[to.clamp_min(0)], to, -1)
    plain = torch.zeros(len(ties.together), dtype=torch.bool, device=to.device)
    for attempt in range(4):  # each makes more objects plain; in the last all are
        tied, made, guarded = _join(to, time, ties, plain)
        weight = torch.where(guarded, torch.inf, gain)
        tied, stuck = cut_apart(tied, weight, time, ties.apart)
        tied, late = _cut_bounds(tied, guarded, time, ties)
        root, _ = _chains(tied)
        broken = root[ties.together[:, 0]] != root[ties.together[:, 1]]
        if not (broken.any() or len(stuck) or len(late)) or attempt == 3:
            return tied, made & (tied >= 0)
        troubled = torch.cat([root[stuck], root[late]])
        plain |= broken | torch.isin(root[ties.together[:, 0]], troubled)
        if attempt == 2:
            plain[:] = True
    raise AssertionError("unreachable")


def _chains(to: Tensor) -> tuple[Tensor, Tensor]:
    """Root of every element, and the last element of every root's chain."""
    source = (to >= 0).nonzero()[:, 0]
    return chain_roots(len(to), source, to[source])


def _join(to: Tensor, time: Tensor, ties: Ties, plain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Links with the pairs of ``together`` in one chain; which of them people made; which must not be cut."""
    made = torch.zeros_like(to, dtype=torch.bool)
    if len(ties.together):
        root, _ = _chains(to)
        first, second = ties.together.unbind(1)
        apart = root[first] != root[second]
        span = int(time.max()) + 2
        key, order = torch.sort(root * span + time)
        # the last box of the one chain before the second box, and the first of the other chain behind that
        last = order[torch.searchsorted(key, root[first] * span + time[second]) - 1]
        begin = order[torch.searchsorted(key, root[second] * span + time[last], right=True).clamp_max(len(key) - 1)]
        last, begin = torch.where(plain, first, last), torch.where(plain, second, begin)
        rows = (apart | plain).nonzero()[:, 0]
        to = to.clone()
        to[torch.isin(to, begin[rows])] = -1
        # Two objects may claim the same box; one gets it, the other is tried again plain.
        never = len(to)
        claimed = torch.full_like(to, never).scatter_reduce(0, last[rows], begin[rows], "amin")
        to = torch.where(claimed < never, claimed, to)
        to[_doubled(to)] = -1
        made[last[rows]] = True
        made[first[to[first] == second]] = True
    return to, made, _guarded(to, time, ties)


def _doubled(to: Tensor) -> Tensor:
    """Rows whose target a later row is linked to, too."""
    rows = (to >= 0).nonzero()[:, 0]
    latest = torch.full_like(to, -1).scatter_reduce(0, to[rows], rows, "amax")
    return rows[latest[to[rows]] != rows]


def _guarded(to: Tensor, time: Tensor, ties: Ties) -> Tensor:
    """(N,) bool: links between two boxes of one object, which no cut may break."""
    root, _ = _chains(to)
    held = root[ties.together[:, 0]] == root[ties.together[:, 1]]
    _, path = _between(to, time, ties.together[held])
    out = torch.zeros_like(to, dtype=torch.bool)
    out[path] = True
    return out


def _between(to: Tensor, time: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Elements whose link leads from the first of a pair towards the second: (P,) pair and (P,) element."""
    root, _ = _chains(to)
    span = int(time.max()) + 2 if len(time) else 2
    order = torch.argsort(root * span + time, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    pair, position = expand_ranges(place[pairs[:, 0]], place[pairs[:, 1]])
    return pair, order[position]


def cut_apart(to: Tensor, gain: Tensor, time: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts the weakest link between the elements of every pair that are in one chain.

    Args:
        to: (M,) int64, next element or -1.
        gain: (M,) float, what the link is worth; infinite if it may not be cut.
        time: (M,) int64, of the element.
        pairs: (K, 2) int64, elements that must not be in one chain.

    Returns:
        The links, and elements of pairs that could not be parted.
    """
    to = to.clone()
    while len(pairs):  # every turn cuts a link, so that it ends
        root, _ = _chains(to)
        pairs = pairs[root[pairs[:, 0]] == root[pairs[:, 1]]]
        if not len(pairs):
            break
        swap = time[pairs[:, 0]] > time[pairs[:, 1]]
        ordered = torch.where(swap[:, None], pairs.flip(1), pairs)
        pair, element = _between(to, time, ordered)
        least = gain.new_full((len(pairs),), float("inf")).scatter_reduce(0, pair, gain[element], "amin")
        hopeless = ~least.isfinite()
        if hopeless.all():
            return to, pairs.flatten()
        # one cut a chain and turn, the cheapest, as one may part several pairs
        worth = torch.where(gain[element] == least[pair], gain[element], torch.inf)
        cheapest = torch.full_like(gain, torch.inf).scatter_reduce(0, root[element], worth, "amin")
        weakest = (worth == cheapest[root[element]]) & worth.isfinite()
        first = torch.full_like(to, len(to)).scatter_reduce(
            0, root[element[weakest]], element[weakest], "amin", include_self=True
        )
        to[first[first < len(to)]] = -1
        if hopeless.any():
            stuck = pairs[hopeless].flatten()
            to, more = cut_apart(to, gain, time, pairs[~hopeless])
            return to, torch.cat([stuck, more])
    return to, to.new_zeros(0)


def _cut_bounds(to: Tensor, guarded: Tensor, time: Tensor, ties: Ties) -> tuple[Tensor, Tensor]:
    """Cuts the links over which a chain leaves the span of an object in it; also elements where that was guarded."""
    if not ties.bounded:
        return to, to.new_zeros(0)
    start, end = _spread(to, ties.earliest, ties.latest)
    source = (to >= 0).nonzero()[:, 0]
    bad = source[(time[source] < start[to[source]]) | (time[to[source]] > end[source])]
    stuck = bad[guarded[bad]]
    to = to.clone()
    to[bad[~guarded[bad]]] = -1
    return to, stuck


def _spread(to: Tensor, earliest: Tensor, latest: Tensor) -> tuple[Tensor, Tensor]:
    """Greatest ``earliest`` of each element and those behind it; least ``latest`` of it and those before it."""
    number = len(to)
    here = torch.arange(number, device=to.device)
    ahead = torch.where(to >= 0, to, here)
    source = (to >= 0).nonzero()[:, 0]
    back = here.clone()
    back[to[source]] = source
    for _ in range(max(1, number.bit_length())):  # pointer doubling
        earliest = torch.maximum(earliest, earliest[ahead])
        latest = torch.minimum(latest, latest[back])
        if torch.equal(ahead[ahead], ahead) and torch.equal(back[back], back):
            break
        ahead, back = ahead[ahead], back[back]
    return earliest, latest


@dataclass(frozen=True)
class NodeTies:
    """Ties of the nodes of one level.

    Attributes:
        stays: (M,) bool, nodes that may not be dropped.
        no_next: (M,) bool, nodes that nothing may follow at this level.
        no_previous: (M,) bool, nodes that follow nothing at this level.
        earliest: (M,) int64.
        latest: (M,) int64.
        apart: (K, 2) int64, nodes of different objects, both ways round.
    """

    stays: Tensor
    no_next: Tensor
    no_previous: Tensor
    earliest: Tensor
    latest: Tensor
    apart: Tensor

    def forbids(self, source: Tensor, target: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """(E,) bool: hypotheses that break a tie on their own; ``start`` and ``end`` are the nodes' moments."""
        out = self.no_next[source] | self.no_previous[target]
        out |= (start[source] < self.earliest[target]) | (end[target] > self.latest[source])
        if len(self.apart):
            number = len(start)
            out |= torch.isin(source * number + target, self.apart[:, 0] * number + self.apart[:, 1])
        return out

    def mend(self, source: Tensor, target: Tensor, gain: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """(C,) bool: which of the chosen links stay, so that no chain of several of them breaks a tie."""
        to = torch.full_like(start, -1)
        to[source] = target
        worth = gain.new_zeros(len(start))
        worth[source] = gain
        cut, _ = cut_apart(to, worth, start, self.apart)
        if (self.earliest <= -FOREVER).all() and (self.latest >= FOREVER).all():
            return cut[source] >= 0
        first, last = _spread(cut, self.earliest, self.latest)
        joined = (cut >= 0).nonzero()[:, 0]
        bad = joined[(start[joined] < first[cut[joined]]) | (end[cut[joined]] > last[joined])]
        cut[bad] = -1
        return cut[source] >= 0


def node_ties(ties: Ties, rows: Tensor, node: Tensor, nodes: int, no_next: Tensor, no_previous: Tensor) -> NodeTies:
    """Ties of the nodes that some rows form.

    Args:
        ties: of all boxes.
        rows: (n,) int64, the boxes in play.
        node: (n,) int64, node of each.
        nodes: how many there are.
        no_next: (N,) bool, boxes that nothing may follow at this level.
        no_previous: (N,) bool, boxes that follow nothing at this level.
    """
    place = torch.full_like(ties.earliest, -1)
    place[rows] = node
    pairs = place[ties.apart]
    pairs = pairs[(pairs >= 0).all(1)]
    flag = ties.gone.new_zeros(3, nodes).long()
    for number, column in enumerate((ties.stays, no_next, no_previous)):
        flag[number].scatter_reduce_(0, node, column[rows].long(), "amax")
    stays, closed, opening = flag.bool()
    earliest = ties.earliest.new_full((nodes,), -FOREVER).scatter_reduce(0, node, ties.earliest[rows], "amax")
    latest = ties.latest.new_full((nodes,), FOREVER).scatter_reduce(0, node, ties.latest[rows], "amin")
    return NodeTies(stays, closed, opening, earliest, latest, torch.cat([pairs, pairs.flip(1)]).unique(dim=0))
