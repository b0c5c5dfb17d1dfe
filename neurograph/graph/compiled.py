"""Compiled array algorithms of the graph: row storage, duplicates, topological order.

All of them are serial and work on plain arrays. They live in one file, with their options, because numba's disk
cache does not notice changes in other files. Nothing here is imported before the first edit needs it.
"""

from functools import partial

import numpy as np

from ..jit import njit

jit = partial(njit, nogil=True, error_model="numpy")

ACYCLIC, CYCLIC, TOO_FAR = 0, 1, 2  # outcomes of raise_generations


@jit
def stable_order(keys, n):
    """The order that sorts ``keys``, all below ``n``, and keeps equal ones as they are: one counting sort."""
    return group_by(keys, n)[1]


@jit
def _room(length, slack_shift):
    """Entries that a freshly laid out row has room for."""
    return length + (length >> slack_shift) + 1 if length else 0


@jit
def count_sort(keys, others, alive, sequence, slack_shift, start, length, capacity, other, slot, place):
    """Lay out rows by ``keys`` and return the end of the last one; every row gets a little slack.

    ``keys`` and ``others`` are columns over connection slots, ``alive`` says which slots count. Inside a row the
    slots ascend, or follow ``sequence`` if it is not empty. ``start``, ``length`` and ``capacity`` have one entry a
    row, ``place`` one a slot, ``other`` and ``slot`` enough for all rows with their slack; all are filled in place.
    """
    n_rows = start.shape[0]
    length[:] = 0
    for c in range(keys.shape[0]):
        if alive[c] >= 0:
            length[keys[c]] += 1
    total = 0
    for r in range(n_rows):
        start[r] = total
        capacity[r] = _room(length[r], slack_shift)
        total += capacity[r]
    length[:] = 0
    for i in range(keys.shape[0]):
        c = sequence[i] if sequence.shape[0] else i
        if alive[c] >= 0:
            r = keys[c]
            p = start[r] + length[r]
            length[r] += 1
            other[p] = others[c]
            slot[p] = c
            place[c] = p
    return total


@jit
def _move_row(r, start, length, capacity, other, slot, place, used):
    """Move a full row to the end of the pool with half as much room again.

    Returns the pool's new end, or -1 where it is full and nothing was done.
    """
    room = capacity[r] + (capacity[r] >> 1) + 4
    if used + room > other.shape[0]:
        return -1
    for k in range(length[r]):
        old, new = start[r] + k, used + k
        other[new] = other[old]
        slot[new] = slot[old]
        place[slot[new]] = new
    start[r], capacity[r] = used, room
    return used + room


@jit
def _append(r, far, c, start, length, capacity, other, slot, place, used):
    """Enter connection ``c`` into row ``r``; returns the pool's new end, or -1 where there is no room."""
    if length[r] == capacity[r]:
        used = _move_row(r, start, length, capacity, other, slot, place, used)
        if used < 0:
            return -1
    p = start[r] + length[r]
    length[r] += 1
    other[p] = far
    slot[p] = c
    place[c] = p
    return used


@jit
def _take(r, c, start, length, other, slot, place):
    """Take connection ``c`` out of row ``r``: the row's last entry moves to its place."""
    hole = place[c]
    length[r] -= 1
    last = start[r] + length[r]
    other[hole] = other[last]
    slot[hole] = slot[last]
    place[slot[hole]] = hole


@jit
def append_rows(keys, others, slots, begin, start, length, capacity, other, slot, place, used):
    """Append connections ``slots[begin:]`` to their rows; returns ``(index, used)``.

    ``keys`` and ``others`` are the rows and the far ends of these connections. ``index`` is their number when all are
    placed; where the pool is full, it is the connection to go on with after growing it.
    """
    for i in range(begin, slots.shape[0]):
        c = slots[i]
        r = keys[i]
        count = length[r]
        if count == capacity[r]:  # seldom: the call costs ten times as much as what follows
            end = _move_row(r, start, length, capacity, other, slot, place, used)
            if end < 0:
                return i, used
            used = end
        p = start[r] + count
        length[r] = count + 1
        other[p] = others[i]
        slot[p] = c
        place[c] = p
    return slots.shape[0], used


@jit
def enter(
    sources, targets, delays, slots, begin,
    in_start, in_length, in_capacity, in_other, in_slot, in_place, in_used,
    out_start, out_length, out_capacity, out_other, out_slot, out_place, out_used, delay,
):  # fmt: skip
    """Enter new connections ``begin`` and on into the rows of both directions, one after another.

    Returns ``(index, found, in_used, out_used)``. ``index`` is their number when all are in. Otherwise it is the first
    that is there already, at slot ``found``, and all before it are taken out again; or, with ``found`` -1 or -2, the
    connection to go on with after growing the pool of the incoming or of the outgoing rows.
    """
    for i in range(begin, slots.shape[0]):
        u, v, c = sources[i], targets[i], slots[i]
        found = find_connection(
            u, v, delays[i], in_start, in_length, in_other, in_slot, out_start, out_length, out_other, out_slot, delay
        )
        if found >= 0:
            for j in range(i - 1, -1, -1):
                _take(targets[j], slots[j], in_start, in_length, in_other, in_slot, in_place)
                _take(sources[j], slots[j], out_start, out_length, out_other, out_slot, out_place)
            return i, found, in_used, out_used
        end = _append(v, u, c, in_start, in_length, in_capacity, in_other, in_slot, in_place, in_used)
        if end < 0:
            return i, -1, in_used, out_used
        in_used = end
        end = _append(u, v, c, out_start, out_length, out_capacity, out_other, out_slot, out_place, out_used)
        if end < 0:
            _take(v, c, in_start, in_length, in_other, in_slot, in_place)
            return i, -2, in_used, out_used
        out_used = end
    return slots.shape[0], -1, in_used, out_used


@jit
def leave(
    slots, source, target,
    in_start, in_length, in_other, in_slot, in_place, out_start, out_length, out_other, out_slot, out_place,
):  # fmt: skip
    """Take connections out of the rows of both directions, the last one first."""
    for i in range(slots.shape[0] - 1, -1, -1):
        c = slots[i]
        _take(target[c], c, in_start, in_length, in_other, in_slot, in_place)
        _take(source[c], c, out_start, out_length, out_other, out_slot, out_place)


@jit
def sift(gone, start, length, other, slot, place):
    """Take every connection that is marked in ``gone`` out of its row; the others keep their order."""
    for r in range(start.shape[0]):
        p = start[r]
        for q in range(start[r], start[r] + length[r]):
            c = slot[q]
            other[p] = other[q]  # also if it goes: what is never mispredicted is faster
            slot[p] = c
            place[c] = p
            p += not gone[c]
        length[r] = p - start[r]


@jit
def relay(number, slack_shift, start, length, capacity, other, slot, new_other, new_slot, place):
    """Lay rows out anew, in the order in which they are, and return the end of the last one.

    Connection slot c becomes ``number[c]`` where ``number`` is not empty; ``place`` is by the new slots.
    """
    total = 0
    for r in range(start.shape[0]):
        for k in range(length[r]):
            c = slot[start[r] + k]
            if number.shape[0]:
                c = number[c]
            new_other[total + k] = other[start[r] + k]
            new_slot[total + k] = c
            place[c] = total + k
        start[r], capacity[r] = total, _room(length[r], slack_shift)
        total += capacity[r]
    return total


@jit
def gather_rows(rows, start, length, slot):
    """The connection slots of several rows, one row after another."""
    total = 0
    for i in range(rows.shape[0]):
        total += length[rows[i]]
    out = np.empty(total, np.int64)
    k = 0
    for i in range(rows.shape[0]):
        r = rows[i]
        for p in range(start[r], start[r] + length[r]):
            out[k] = slot[p]
            k += 1
    return out


@jit
def first_impossible(source, target, delay, kind, barred):
    """Index of the first connection into a neuron of kind ``barred``, or to itself without delay; -1 if none."""
    for i in range(source.shape[0]):
        if kind[target[i]] == barred or (source[i] == target[i] and delay[i] == 0):
            return i
    return -1


@jit
def find_connection(u, v, d, in_start, in_length, in_other, in_slot, out_start, out_length, out_other, out_slot, delay):
    """Slot of the connection u -> v with delay d, or -1; walks the shorter of the two rows."""
    if in_length[v] <= out_length[u]:
        for p in range(in_start[v], in_start[v] + in_length[v]):
            if in_other[p] == u and delay[in_slot[p]] == d:
                return in_slot[p]
    else:
        for p in range(out_start[u], out_start[u] + out_length[u]):
            if out_other[p] == v and delay[out_slot[p]] == d:
                return out_slot[p]
    return -1


@jit
def first_duplicate(start, length, other, slot, delay):
    """A connection slot whose source, target and delay occur twice in one row, or -1."""
    stamp = np.full(start.shape[0], -1, np.int32)
    for r in range(start.shape[0]):
        for p in range(start[r], start[r] + length[r]):
            if stamp[other[p]] == r:  # the same pair again: legal only with another delay
                for q in range(start[r], p):
                    if other[q] == other[p] and delay[slot[q]] == delay[slot[p]]:
                        return max(slot[p], slot[q])
            stamp[other[p]] = r
    return -1


@jit
def kahn(alive, in_start, in_length, in_slot, out_start, out_length, out_other, out_slot, delay, any_delay):
    """Generation of every neuron: the longest path to it over connections without delay.

    Kahn, "Topological sorting of large networks", CACM 5 (1962). Returns ``(generation, blocked)``; ``blocked`` counts,
    for each neuron, the predecessors that were never done: all zero unless there is a cycle.
    """
    n = alive.shape[0]
    generation = np.zeros(n, np.int32)
    blocked = np.zeros(n, np.int32)
    queue = np.empty(n, np.int32)
    tail = 0
    for v in range(n):
        if alive[v] >= 0:
            blocked[v] = in_length[v]
            if any_delay:
                for p in range(in_start[v], in_start[v] + in_length[v]):
                    if delay[in_slot[p]] > 0:
                        blocked[v] -= 1
            if blocked[v] == 0:
                queue[tail] = v
                tail += 1
    head = 0
    while head < tail:
        u = queue[head]
        head += 1
        for p in range(out_start[u], out_start[u] + out_length[u]):
            if any_delay and delay[out_slot[p]] > 0:
                continue
            v = out_other[p]
            blocked[v] -= 1
            if blocked[v] == 0:  # first in, first out: its last predecessor is its deepest
                generation[v] = generation[u] + 1
                queue[tail] = v
                tail += 1
    return generation, blocked


@jit
def one_cycle(blocked, in_start, in_length, in_other, in_slot, delay):
    """Slots of one cycle, in the direction of the connections, among the neurons that ``kahn`` left blocked.

    Every blocked neuron has a blocked predecessor, so walking backwards must meet its own trail: linear time, where
    enumerating all cycles is exponential.
    """
    n = blocked.shape[0]
    trail = np.empty(n, np.int32)
    seen = np.full(n, -1, np.int32)
    v = 0
    while blocked[v] == 0:
        v += 1
    steps = 0
    while seen[v] < 0:
        seen[v] = steps
        trail[steps] = v
        steps += 1
        for p in range(in_start[v], in_start[v] + in_length[v]):
            if blocked[in_other[p]] > 0 and delay[in_slot[p]] == 0:
                v = in_other[p]
                break
    return trail[seen[v] : steps][::-1].copy()


@jit
def raise_generations(us, vs, budget, generation, out_start, out_length, out_other, out_slot, delay, log, old):
    """Repair ``generation`` after connections us -> vs were added: deepen targets, then whatever hangs on them.

    Only neurons that must sink deeper are visited (the affected region of Pearce and Kelly, "A dynamic topological sort
    algorithm for directed acyclic graphs", JEA 11, 2006). Meeting ``u`` while repairing ``u -> v`` is a cycle.
    Returns ``(outcome, changes)``: ``log[:changes]`` and ``old[:changes]`` undo the repair, last change first.
    """
    changes = 0
    visits = 0
    for i in range(us.shape[0]):
        u, v = us[i], vs[i]
        if generation[u] < generation[v]:
            continue
        head = changes
        log[changes], old[changes] = v, generation[v]
        changes += 1
        generation[v] = generation[u] + 1
        while head < changes:
            x = log[head]
            head += 1
            for p in range(out_start[x], out_start[x] + out_length[x]):
                w = out_other[p]
                visits += 1
                if generation[w] > generation[x] or delay[out_slot[p]] > 0:
                    continue
                if w == u:
                    return CYCLIC, changes
                if changes == log.shape[0] or visits > budget:
                    return TOO_FAR, changes
                log[changes], old[changes] = w, generation[w]
                changes += 1
                generation[w] = generation[x] + 1
    return ACYCLIC, changes


@jit
def sink_leaves(us, vs, delays, generation, out_length):
    """Deepen the targets of new connections us -> vs, as long as none of those feeds anyone; False where one does."""
    for i in range(us.shape[0]):
        u, v = np.uint32(us[i]), np.uint32(vs[i])
        if generation[u] >= generation[v] and delays[i] == 0:
            if out_length[v] > 0:
                return False
            generation[v] = generation[u] + 1
    return True


@jit
def order_by_generation(alive, generation):
    """Live slots, generation after generation (slots ascend inside one), and where each generation begins."""
    depth = 0
    for v in range(alive.shape[0]):
        if alive[v] >= 0:
            depth = max(depth, generation[v] + 1)
    offsets = np.zeros(depth + 1, np.int64)
    for v in range(alive.shape[0]):
        if alive[v] >= 0:
            offsets[generation[v] + 1] += 1
    for g in range(depth):
        offsets[g + 1] += offsets[g]
    order = np.empty(offsets[depth], np.int32)
    cursor = offsets.copy()
    for v in range(alive.shape[0]):
        if alive[v] >= 0:
            order[cursor[generation[v]]] = v
            cursor[generation[v]] += 1
    return order, offsets


@jit
def reaches(starts, goal, deepest, generation, out_start, out_length, out_other, out_slot, delay):
    """Whether a path without delay leads from any of ``starts`` to a neuron marked in ``goal``.

    No generation beyond ``deepest``, the deepest goal, needs a look.
    """
    seen = np.zeros(goal.shape[0], np.bool_)
    stack = np.empty(goal.shape[0], np.int32)
    top = 0
    for i in range(starts.shape[0]):
        seen[starts[i]] = True
        stack[top] = starts[i]
        top += 1
    while top > 0:
        top -= 1
        u = stack[top]
        for p in range(out_start[u], out_start[u] + out_length[u]):
            v = out_other[p]
            if seen[v] or generation[v] > deepest or delay[out_slot[p]] > 0:
                continue
            if goal[v]:
                return True
            seen[v] = True
            stack[top] = v
            top += 1
    return False


@jit
def region_codes(slots, source, target, delay, home, n_homes, delays):
    """One integer for the homes of the ends of each connection and its delay, which is below ``delays``."""
    codes = np.empty(slots.shape[0], np.int64)
    for i in range(slots.shape[0]):
        c = slots[i]
        codes[i] = (home[source[c]] * np.int64(n_homes) + home[target[c]]) * delays
        if delays > 1:
            codes[i] += delay[c]
    return codes


@jit
def number_codes(codes, size):
    """The different ones of some ``codes``, all below ``size``, ascending, and for each entry its number among them."""
    number = np.zeros(size, np.int32)
    for i in range(codes.shape[0]):
        number[codes[i]] = 1
    names = np.flatnonzero(number)
    for k in range(names.shape[0]):
        number[names[k]] = k
    numbers = np.empty(codes.shape[0], np.int32)
    for i in range(codes.shape[0]):
        numbers[i] = number[codes[i]]
    return names, numbers


@jit
def slots_by_id(ids, lowest, count, highest):
    """The ``count`` slots whose id is not negative, by ascending id; ids lie between ``lowest`` and ``highest``."""
    slot_of = np.full(highest - lowest, -1, np.int32)
    for c in range(ids.shape[0]):
        if ids[c] >= 0:
            slot_of[ids[c] - lowest] = c
    slots = np.empty(count, np.int64)
    n = 0
    for i in range(slot_of.shape[0]):
        if slot_of[i] >= 0:
            slots[n] = slot_of[i]
            n += 1
    return slots


@jit
def existing_ranks(targets, rank_of, allowed, start, length, other, slot, delay, d, mixed):
    """Which of the first ``allowed[t]`` sources each target has: ``(first, rank)``, compressed rows.

    Sources are told by their ``rank_of`` neuron slots, -1 for those that do not matter. Only connections with delay
    ``d`` count, if they may be ``mixed`` with others.
    """
    first = np.zeros(targets.shape[0] + 1, np.int64)
    total = 0
    for t in range(targets.shape[0]):
        total += length[targets[t]]
    rank = np.empty(total, np.int32)
    n = 0
    for t in range(targets.shape[0]):
        r = targets[t]
        for p in range(start[r], start[r] + length[r]):
            i = rank_of[other[p]]
            if 0 <= i < allowed[t] and (not mixed or delay[slot[p]] == d):
                rank[n] = i
                n += 1
        first[t + 1] = n
    return first, rank[:n]


@jit
def step_over(ranks, allowed, first, hole):
    """The pairs (target, source) that ascending ``ranks`` number, counting only those that are no hole.

    Target t has the sources below ``allowed[t]`` but for ``hole[first[t]:first[t + 1]]``, which may be reordered.
    """
    n = ranks.shape[0]
    target, source = np.empty(n, np.int64), np.empty(n, np.int64)
    widest = 0
    for t in range(allowed.shape[0]):
        widest = max(widest, allowed[t])
    taken, free = np.zeros(widest, np.bool_), np.empty(widest + 1, np.int32)
    begin, i = 0, 0  # the first rank of target t, and its place in ranks
    for t in range(allowed.shape[0]):
        holes = first[t + 1] - first[t]
        end, j = begin + allowed[t] - holes, i
        while j < n and ranks[j] < end:
            target[j] = t
            j += 1
        if allowed[t] <= 16 * (holes + j - i) and j > i:
            for h in range(first[t], first[t + 1]):
                taken[hole[h]] = True
            m = 0
            for s in range(allowed[t]):
                free[m] = s
                m += not taken[s]
                taken[s] = False
            for k in range(i, j):
                source[k] = free[ranks[k] - begin]
        elif j > i:
            row = hole[first[t] : first[t + 1]]
            row.sort()
            h = 0
            for k in range(i, j):
                s = ranks[k] - begin + h
                while h < holes and row[h] <= s:
                    h += 1
                    s += 1
                source[k] = s
        begin, i = end, j
    return target, source


@jit
def sort_uniform(numbers, n):
    """The different ones of numbers drawn uniformly below ``n``, ascending: as many buckets as numbers."""
    count = numbers.shape[0]
    scale, last = count / n, count - 1
    cursor = np.zeros(count + 1, np.int64)
    for i in range(count):  # rounding keeps the order, so the buckets are in order
        cursor[np.uint64(min(np.int64(numbers[i] * scale), last) + 1)] += 1
    for b in range(count):
        cursor[b + 1] += cursor[b]
    ordered = np.empty(count, np.int64)
    for i in range(count):
        bucket = np.uint64(min(np.int64(numbers[i] * scale), last))
        ordered[np.uint64(cursor[bucket])] = numbers[i]
        cursor[bucket] += 1
    different = 0
    for i in range(count):  # each bucket holds about one number, so what is out of order is not far off
        x, j = ordered[i], different - 1
        while j >= 0 and ordered[j] > x:
            j -= 1
        if j >= 0 and ordered[j] == x:
            continue
        for k in range(different - 1, j, -1):
            ordered[k + 1] = ordered[k]
        ordered[j + 1] = x
        different += 1
    return ordered[:different]


@jit
def merge_sets(a, b):
    """The different numbers of two ascending arrays, ascending."""
    merged = np.empty(a.shape[0] + b.shape[0], np.int64)
    i = j = n = 0
    while i < a.shape[0] or j < b.shape[0]:
        if j == b.shape[0] or (i < a.shape[0] and a[i] <= b[j]):
            x = a[i]
            i += 1
        else:
            x = b[j]
            j += 1
        if n == 0 or merged[n - 1] != x:
            merged[n] = x
            n += 1
    return merged[:n]


@jit
def draw_flags(uniform, sizes, counts):
    """Flags of ``counts[r]`` of the ``sizes[r]`` entries of each number r, side by side, drawn by Fisher and Yates."""
    flags, entry = np.zeros(sizes.sum(), np.bool_), np.empty(max(sizes), np.int32)
    begin, n = 0, 0
    for r in range(sizes.shape[0]):
        size = sizes[r]
        for i in range(size if counts[r] else 0):
            entry[i] = i
        for i in range(counts[r]):
            j = np.uint64(i + min(np.int64(uniform[n] * (size - i)), size - i - 1))
            flags[begin + entry[j]] = True
            entry[j] = entry[i]
            n += 1
        begin += size
    return flags


@jit
def pick_flagged(number, a, b, place, flags, chosen):
    """Which entries ``number[a:b]`` are flagged at the ``place`` of their number, which goes on by one each.

    Negative numbers count as none. Fills ``chosen`` and returns how many there are.
    """
    n = 0
    for i in range(a, b):
        r = number[i]
        if r < 0:
            continue
        at = place[np.uint32(r)]
        chosen[n] = i  # also if it is not chosen: what is never mispredicted is faster
        n += flags[np.uint64(at)]
        place[np.uint32(r)] = at + 1
    return n


@jit
def count_digits(number, a, b, key, shift, prefix, count):
    """How often each digit of 11 bits, ``key >> shift``, occurs among keys whose higher digits are ``prefix[number]``.

    Of the entries ``a`` to ``b`` those whose number is not negative; adds to ``count[number, digit]``.
    """
    for i in range(a, b):
        r, higher = number[i], np.uint64(key[i]) >> np.uint64(shift)
        if r >= 0 and higher >> np.uint64(11) == prefix[np.uint32(r)]:
            count[np.uint32(r), np.uint32(higher & np.uint64(2047))] += 1


@jit
def pick_lowest(number, a, b, key, threshold, chosen, tied):
    """Which of the entries ``a`` to ``b`` have a key below the threshold of their number, and which have that key.

    Fills ``chosen`` and ``tied``, and returns how many there are of both.
    """
    n = n_tied = 0
    for i in range(a, b):
        r = number[i]
        if r < 0:
            continue
        x, y = np.uint64(key[i]), threshold[np.uint32(r)]
        chosen[n] = i  # also if it is not chosen: what is never mispredicted is faster
        n += x < y
        if x == y:
            tied[n_tied] = i
            n_tied += 1
    return n, n_tied


@jit
def count_between(lo, hi, ids, source, target, home, n_homes, code):
    """Number the pairs of homes, ``home of source * n_homes + home of target``, and count the connections of each.

    ``code`` is filled for the connection slots ``lo`` to ``hi``, with -1 for those without a tenant.
    """
    count = np.zeros((2, n_homes * n_homes), np.int64)  # two of them, so that equal ones need not wait for each other
    for c in range(lo, hi):
        pair = np.int32(home[np.uint32(source[c])] * n_homes + home[np.uint32(target[c])])
        alive = ids[c] >= 0
        code[c] = pair if alive else -1
        count[c & 1, np.uint32(pair)] += alive
    return count[0] + count[1]


@jit
def draw_rows(
    members, a, b, first, position, home, start, length, other, slot, gone, regions, region_home, region_end, rank,
    source, target,
):  # fmt: skip
    """Turn ranks among the absent pairs of homes into pairs, for the homes ``a`` to ``b`` of the targets.

    Home h has the neurons ``members[first[h]:first[h + 1]]``, and a neuron its ``position`` among them all. The pairs
    of homes that get connections are numbered by the home of the targets: those of home h are ``regions[h]`` to
    ``regions[h + 1]``, each with the home of its sources, ``region_home``, and the end of its ascending ranks,
    ``region_end``. What is ``gone`` counts as absent.

    Of a target's sources in a home, those whose number is below how many are free stand for themselves, or, if they are
    not free, for one that is free and has a higher number: so no row needs to be sorted. Each rank's pair goes to the
    same place in ``source`` and ``target``.
    """
    n_homes = first.shape[0] - 1
    holes, tail = np.zeros(n_homes, np.int64), np.zeros(n_homes, np.int64)
    met = np.full(members.shape[0], -1, np.int32)  # the last target that had a source
    spare = np.empty(members.shape[0], np.int32)
    row = np.empty(members.shape[0] + 1, np.int32)
    for into in range(a, b):
        g0, g1 = regions[into], regions[into + 1]
        if g0 == g1:
            continue
        begin, cursor = np.zeros(g1 - g0, np.int64), np.empty(g1 - g0, np.int64)
        for g in range(g1 - g0):
            cursor[g] = region_end[g0 + g - 1] if g0 + g > 0 else 0
        for i in range(first[into], first[into + 1]):
            t = members[i]
            count = 0
            for p in range(start[t], start[t] + length[t]):
                row[count] = other[p]
                count += not gone[np.uint32(slot[p])]
            for k in range(count):
                u = np.uint32(row[k])
                met[np.uint32(position[u])] = i
                holes[np.uint32(home[u])] += 1
            for k in range(count):
                u = np.uint32(row[k])
                h, at = np.uint32(home[u]), np.uint32(position[u])
                free = first[h + 1] - holes[h]
                if at < free:
                    q = max(tail[h], free)
                    while met[np.uint32(q)] == i:
                        q += 1
                    spare[at] = q
                    tail[h] = q + 1
            for g in range(g1 - g0):
                h, stop, c = region_home[g0 + g], region_end[g0 + g], cursor[g]
                end = begin[g] + first[h + 1] - first[h] - holes[h]
                while c < stop and rank[c] < end:
                    at = np.uint32(first[h] + rank[c] - begin[g])
                    source[c] = members[spare[at] if met[at] == i else np.int64(at)]
                    target[c] = t
                    c += 1
                cursor[g], begin[g] = c, end
            for k in range(count):
                h = np.uint32(home[np.uint32(row[k])])
                holes[h] = 0
                tail[h] = 0


@jit
def exchange_rows(
    lo, hi, gone, first, order, ends, heirs, reuse, ids, next_id, far, start, length, other, slot, place, surplus, left
):  # fmt: skip
    """Put new connections where removed ones were, in rows ``lo`` to ``hi``.

    ``order[first[r]:first[r + 1]]`` are the numbers of the new connections of row r, ``ends`` their far ends and
    ``heirs`` their slots; with ``reuse`` each takes the slot that it finds, is entered there, and gets its id and its
    ``far`` end. Removed connections for which the row has no new one leave it, and their slots are written to
    ``surplus``; the numbers of the new ones for which it had no place are written to ``left``. Returns how many there
    are of both.
    """
    n_surplus = n_left = 0
    longest = 0
    for r in range(lo, hi):
        longest = max(longest, length[r])
    holes = np.empty(longest + 1, np.int64)
    for r in range(lo, hi):
        n_holes, end = 0, start[r] + length[r]
        for p in range(start[r], end):
            holes[n_holes] = p
            n_holes += gone[np.uint32(slot[p])]
        new = first[r]
        filled = min(np.int64(n_holes), first[r + 1] - new)
        for k in range(filled):
            p, i = holes[k], order[new + k]
            other[p] = ends[i]
            if reuse:
                c = np.uint32(slot[p])
                heirs[i] = c
                ids[c] = next_id + i
                far[c] = ends[i]
            else:
                slot[p] = heirs[i]
            place[np.uint32(slot[p])] = p
        for k in range(n_holes - 1, filled - 1, -1):  # the last first, so that what moves into a hole stays
            p = holes[k]
            surplus[n_surplus] = slot[p]
            n_surplus += 1
            end -= 1
            if p != end:
                other[p] = other[end]
                slot[p] = slot[end]
                place[np.uint32(slot[p])] = p
        length[r] = end - start[r]
        for k in range(new + filled, first[r + 1]):
            left[n_left] = order[k]
            n_left += 1
    return n_surplus, n_left


@jit
def group_by(keys, n):
    """Numbers of equal ``keys``, all below ``n``, side by side: those of key k are ``order[first[k]:first[k + 1]]``."""
    first = np.zeros(n + 1, np.int64)
    for i in range(keys.shape[0]):
        first[keys[i] + 1] += 1
    for k in range(n):
        first[k + 1] += first[k]
    cursor = first.copy()
    order = np.empty(keys.shape[0], np.int32)
    for i in range(keys.shape[0]):
        order[cursor[keys[i]]] = i
        cursor[keys[i]] += 1
    return first, order


@jit
def spread(row, shared, own):
    """``own[i] = shared[row[i] - 1]`` wherever ``row[i]`` is not 0."""
    for i in range(row.shape[0]):
        if row[i] > 0:
            own[i] = shared[row[i] - 1]


@jit
def collect(row, own, shared):
    """``shared[r]`` = sum of ``own[i]`` with ``row[i] - 1 == r``, added up in double precision."""
    sums = np.zeros(shared.shape[0])
    for i in range(row.shape[0]):
        if row[i] > 0:
            sums[row[i] - 1] += own[i]
    for r in range(shared.shape[0]):
        shared[r] = sums[r]


@jit
def displace(start, length, other, slot, delay, stride):
    """``other + stride * delay`` of every row entry: how far away the far end lies in unrolled time."""
    far = np.zeros_like(other)
    for row in range(start.shape[0]):
        for k in range(start[row], start[row] + length[row]):
            far[k] = other[k] + stride * delay[slot[k]]
    return far


@jit
def greedy_order(source, target, out_start, out_edge, in_start, in_edge):
    """Position of every neuron in an order that few connections run against, in linear time.

    Eades, Lin and Smyth, "A fast and effective heuristic for the feedback arc set problem", Information Processing
    Letters 47 (1993): sinks go to the end, sources to the front, otherwise the neuron with the largest surplus of
    connections out over connections in goes to the front. Neurons wait in one doubly linked list per surplus, with
    the sinks and the sources in lists of their own.
    """
    n = out_start.shape[0] - 1
    outs, ins = np.empty(n, np.int64), np.empty(n, np.int64)
    lowest, highest = 0, 0
    for v in range(n):
        outs[v], ins[v] = out_start[v + 1] - out_start[v], in_start[v + 1] - in_start[v]
        lowest, highest = min(lowest, -ins[v]), max(highest, outs[v])
    shift, sinks, sources = -lowest, highest - lowest + 1, highest - lowest + 2
    head = np.full(highest - lowest + 3, -1, np.int64)
    after, before = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    listed = np.full(n, -1, np.int64)  # the list that a neuron waits in; -1 once it is placed
    for v in range(n - 1, -1, -1):
        k = sinks if outs[v] == 0 else (sources if ins[v] == 0 else outs[v] - ins[v] + shift)
        listed[v], after[v] = k, head[k]
        if head[k] >= 0:
            before[head[k]] = v
        head[k] = v
    position = np.empty(n, np.int64)
    front, back, best = 0, n - 1, sinks - 1
    while front <= back:
        if head[sinks] >= 0:
            u = head[sinks]
            position[u] = back
            back -= 1
        else:
            if head[sources] >= 0:
                u = head[sources]
            else:
                while head[best] < 0:
                    best -= 1
                u = head[best]
            position[u] = front
            front += 1
        head[listed[u]] = after[u]
        if after[u] >= 0:
            before[after[u]] = -1
        listed[u] = -1
        for side in range(2):
            start, edges = (out_start, out_edge) if side == 0 else (in_start, in_edge)
            for p in range(start[u], start[u + 1]):
                w = target[edges[p]] if side == 0 else source[edges[p]]
                k = listed[w]
                if k < 0:
                    continue
                if before[w] >= 0:
                    after[before[w]] = after[w]
                else:
                    head[k] = after[w]
                if after[w] >= 0:
                    before[after[w]] = before[w]
                if side == 0:
                    ins[w] -= 1
                else:
                    outs[w] -= 1
                k = sinks if outs[w] == 0 else (sources if ins[w] == 0 else outs[w] - ins[w] + shift)
                if k < sinks:
                    best = max(best, k)
                listed[w], after[w], before[w] = k, head[k], -1
                if head[k] >= 0:
                    before[head[k]] = w
                head[k] = w
    return position


@jit
def spare_feedback(source, target, out_start, out_edge, in_start, in_edge, position, feedback, budget):
    """Take connections that close no cycle out of ``feedback``, in ascending order; returns whether all were tried.

    A connection u -> v that runs against ``position`` is needed unless no path leads from v to u. Two searches, ahead
    from v and back from u, take turns between the positions of the two; where one of them runs dry, its neurons move to
    the other end of that window (as Pearce and Kelly, JEA 11, 2006, repair an order) and the connection is taken back.
    ``position`` and ``feedback`` change in place. Looking at a connection, or moving a neuron, costs one of ``budget``.
    """
    n = position.shape[0]
    order = np.empty(n, np.int64)
    for v in range(n):
        order[position[v]] = v
    ahead, behind = np.full(n, -1, np.int64), np.full(n, -1, np.int64)  # the last connection that met a neuron
    queue, trail = np.empty(n, np.int64), np.empty(n, np.int64)
    kept = np.empty(n, np.int64)
    for c in range(feedback.shape[0]):
        if not feedback[c] or source[c] == target[c]:
            continue
        if budget <= 0:
            return False
        u, v = source[c], target[c]
        first, last = position[v], position[u]
        needed = last <= first  # never so while position and feedback agree
        queue[0], trail[0], ahead[v], behind[u] = v, u, c, c
        head, tail, rear, length = 0, 1, 0, 1
        while not needed and head < tail and rear < length:
            x = queue[head]
            head += 1
            for p in range(out_start[x], out_start[x + 1]):
                budget -= 1
                w = target[out_edge[p]]
                if feedback[out_edge[p]] or position[w] > last or ahead[w] == c:
                    continue
                if behind[w] == c:
                    needed = True
                    break
                ahead[w] = c
                queue[tail] = w
                tail += 1
            if needed or head == tail:
                break
            x = trail[rear]
            rear += 1
            for p in range(in_start[x], in_start[x + 1]):
                budget -= 1
                w = source[in_edge[p]]
                if feedback[in_edge[p]] or position[w] < first or behind[w] == c:
                    continue
                if ahead[w] == c:
                    needed = True
                    break
                behind[w] = c
                trail[length] = w
                length += 1
        if needed:
            continue
        dry = head == tail  # otherwise the search back from u ran dry
        free, moved = first, 0
        for p in range(first, last + 1):
            x = order[p]
            if (ahead[x] == c) if dry else (behind[x] != c):
                kept[moved] = x
                moved += 1
            else:
                order[free], position[x] = x, free
                free += 1
        for i in range(moved):
            order[free + i], position[kept[i]] = kept[i], free + i
        budget -= last - first
        feedback[c] = False
    return True


@jit
def swap_targets(source, target, n, first, second, table):
    """Exchange the targets of pairs of connections, each where that makes no self loop and no duplicate.

    In- and out-degrees stay what they are. Connections are found in ``table``, an open-addressing hash table of
    ``source * n + target`` whose size is a power of two; an empty one, all -1, is filled first. Returns how many pairs
    were exchanged.
    """
    mask = table.shape[0] - 1
    if table.max() < 0:
        for c in range(source.shape[0]):
            _enter(table, mask, source[c] * n + target[c])
    done = 0
    for i in range(first.shape[0]):
        a, b = first[i], second[i]
        u, v, w, x = source[a], target[a], source[b], target[b]
        if u in (w, x) or v in (w, x):
            continue
        if _place(table, mask, u * n + x) >= 0 or _place(table, mask, w * n + v) >= 0:
            continue
        _leave(table, mask, u * n + v)
        _leave(table, mask, w * n + x)
        _enter(table, mask, u * n + x)
        _enter(table, mask, w * n + v)
        target[a], target[b] = x, v
        done += 1
    return done


@jit
def _home(key, mask):
    """Where a key's search begins: Knuth's multiplicative hashing on 31 bits, where no product overflows."""
    folded = (key ^ (key >> 31)) & 0x7FFFFFFF
    return (((folded * 0x4F1BBCDD) & 0x7FFFFFFF) * (mask + 1)) >> 31


@jit
def _place(table, mask, key):
    at = _home(key, mask)
    while table[at] >= 0:
        if table[at] == key:
            return at
        at = (at + 1) & mask
    return -1


@jit
def _enter(table, mask, key):
    at = _home(key, mask)
    while table[at] >= 0:
        at = (at + 1) & mask
    table[at] = key


@jit
def _leave(table, mask, key):
    """Take a key out and close the gap, so that every search still ends at an empty place (Knuth's Algorithm R)."""
    gap = _place(table, mask, key)
    at = gap
    while True:
        at = (at + 1) & mask
        if table[at] < 0:
            break
        home = _home(table[at], mask)
        if ((at - home) & mask) >= ((at - gap) & mask):
            table[gap] = table[at]
            gap = at
    table[gap] = -1


@jit
def components(rows, is_input, start, length, other):
    """Root of the connected component of each of ``rows``, inputs joining nobody; empty if one holds more than half."""
    parent, size = np.arange(start.shape[0]), np.ones(start.shape[0], np.int64)
    for r in rows:
        for k in range(start[r], start[r] + length[r]):
            if is_input[other[k]]:
                continue
            a, b = np.int64(r), np.int64(other[k])
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a != b:
                root, leaf = min(a, b), max(a, b)
                parent[leaf] = root
                size[root] += size[leaf]
                if 2 * size[root] > rows.shape[0]:
                    return np.zeros(0, np.int64)
    roots = np.empty(rows.shape[0], np.int64)
    for i in range(rows.shape[0]):
        a = np.int64(rows[i])
        while parent[a] != a:
            a = parent[a]
        roots[i] = a
    return roots


@jit
def add_outer(a, b, out):
    """Add ``a.T @ b`` to ``out``, summed row after row: equal columns give equal sums, wherever they stand.

    Eight rows at a time, for which ``out`` is read and written once.
    """
    eights = a.shape[0] - a.shape[0] % 8
    for k in range(0, eights, 8):
        for i in range(out.shape[0]):
            x0, x1, x2, x3 = a[k, i], a[k + 1, i], a[k + 2, i], a[k + 3, i]
            x4, x5, x6, x7 = a[k + 4, i], a[k + 5, i], a[k + 6, i], a[k + 7, i]
            for j in range(out.shape[1]):
                out[i, j] = (
                    out[i, j] + x0 * b[k, j] + x1 * b[k + 1, j] + x2 * b[k + 2, j] + x3 * b[k + 3, j]
                    + x4 * b[k + 4, j] + x5 * b[k + 5, j] + x6 * b[k + 6, j] + x7 * b[k + 7, j]
                )  # fmt: skip
    for k in range(eights, a.shape[0]):
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] += a[k, i] * b[k, j]
