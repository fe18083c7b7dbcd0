"""The loops of `stepwise`: two recurrences and their gradients, position by position.

States S and their gradients g are updated in place. Every gradient of a state is that of the state after a position
until the position has been dealt with, then that of the state before.
"""

from functools import partial

import numpy as np

from canonlab.data.jit import kernel
from canonlab.models.mixers.stepwise import KEYS_ERASED, NOTHING_READ, OTHERS_ERASED

# Sums along a state's rows may be taken in vectors: their order is the compiler's, and the same whenever it runs.
compiled = partial(kernel, fastmath={"reassoc", "contract"})


@compiled
def rows_forward(q, k, v, decay, r, e, reads, state, o):  # type: ignore[no-untyped-def]
    batch, time, heads, keys = q.shape
    values, zero = v.shape[3], v.dtype.type(0)
    seen, written = np.empty(values, v.dtype), np.empty(values, v.dtype)
    for b in range(batch):
        for h in range(heads):
            S = state[b, h]
            for t in range(time):
                for j in range(values):
                    seen[j] = 0
                    o[b, t, h, j] = 0
                for i in range(keys):
                    a = decay[b, t, h, i]
                    if reads == NOTHING_READ:
                        for j in range(values):
                            S[i, j] *= a
                    else:
                        ri = r[b, t, h, i]
                        for j in range(values):
                            S[i, j] *= a
                            seen[j] += ri * S[i, j]
                for j in range(values):
                    written[j] = v[b, t, h, j] - (seen[j] if reads == KEYS_ERASED else zero)
                for i in range(keys):
                    ki, qi = k[b, t, h, i], q[b, t, h, i]
                    if reads == OTHERS_ERASED:
                        ei = e[b, t, h, i]
                        for j in range(values):
                            S[i, j] -= ei * seen[j]
                    for j in range(values):
                        S[i, j] += ki * written[j]
                        o[b, t, h, j] += qi * S[i, j]


@compiled
def rows_backward(q, k, v, decay, r, e, reads, first, go, G, gq, gk, gv, gdecay, gr, ge):  # type: ignore[no-untyped-def]
    batch, time, heads, keys = q.shape
    values, zero = v.shape[3], v.dtype.type(0)
    S = np.empty((time + 1, keys, values), v.dtype)
    seen, written = np.empty((time, values), v.dtype), np.empty((time, values), v.dtype)
    gwritten, gseen = np.empty(values, v.dtype), np.empty(values, v.dtype)
    for b in range(batch):
        for h in range(heads):
            S[0] = first[b, h]
            for t in range(time):
                for j in range(values):
                    seen[t, j] = 0
                for i in range(keys):
                    a = decay[b, t, h, i]
                    for j in range(values):
                        S[t + 1, i, j] = a * S[t, i, j]
                    if reads != NOTHING_READ:
                        ri = r[b, t, h, i]
                        for j in range(values):
                            seen[t, j] += ri * S[t + 1, i, j]
                for j in range(values):
                    written[t, j] = v[b, t, h, j] - (seen[t, j] if reads == KEYS_ERASED else zero)
                for i in range(keys):
                    ki = k[b, t, h, i]
                    for j in range(values):
                        S[t + 1, i, j] += ki * written[t, j]
                    if reads == OTHERS_ERASED:
                        ei = e[b, t, h, i]
                        for j in range(values):
                            S[t + 1, i, j] -= ei * seen[t, j]
            g = G[b, h]  # the gradient of the state after position t, then of that before
            for t in range(time - 1, -1, -1):
                gwritten[:] = 0
                gseen[:] = 0
                for i in range(keys):
                    qi, ki, gqi, gki = q[b, t, h, i], k[b, t, h, i], zero, zero
                    for j in range(values):
                        gqi += S[t + 1, i, j] * go[b, t, h, j]
                        g[i, j] += qi * go[b, t, h, j]
                        gki += g[i, j] * written[t, j]
                        gwritten[j] += ki * g[i, j]
                    gq[b, t, h, i] = gqi
                    gk[b, t, h, i] = gki
                    if reads == OTHERS_ERASED:
                        ei, gei = e[b, t, h, i], zero
                        for j in range(values):
                            gei -= g[i, j] * seen[t, j]
                            gseen[j] -= ei * g[i, j]
                        ge[b, t, h, i] = gei
                for j in range(values):
                    gv[b, t, h, j] = gwritten[j]
                    if reads == KEYS_ERASED:
                        gseen[j] = -gwritten[j]
                for i in range(keys):
                    a, ga = decay[b, t, h, i], zero
                    if reads != NOTHING_READ:
                        ri, read = r[b, t, h, i], zero
                        for j in range(values):
                            read += S[t, i, j] * gseen[j]
                            g[i, j] += ri * gseen[j]
                        gr[b, t, h, i] = a * read
                    for j in range(values):
                        ga += g[i, j] * S[t, i, j]
                        g[i, j] *= a
                    gdecay[b, t, h, i] = ga


@compiled
def columns_forward(q, k, v, decay, state, o):  # type: ignore[no-untyped-def]
    batch, time, keys = q.shape
    columns, heads = v.shape[2], decay.shape[2]
    values = columns // heads
    a = np.empty(columns, v.dtype)
    for b in range(batch):
        S = state[b]
        for t in range(time):
            for h in range(heads):
                a[h * values : (h + 1) * values] = decay[b, t, h]
            o[b, t] = 0
            for i in range(keys):
                ki, qi = k[b, t, i], q[b, t, i]
                for n in range(columns):
                    S[i, n] = a[n] * S[i, n] + ki * v[b, t, n]
                    o[b, t, n] += qi * S[i, n]


@compiled
def columns_backward(q, k, v, decay, first, go, G, gq, gk, gv, gdecay):  # type: ignore[no-untyped-def]
    batch, time, keys = q.shape
    columns, heads = v.shape[2], decay.shape[2]
    values, zero = columns // heads, v.dtype.type(0)
    S = np.empty((time + 1, keys, columns), v.dtype)
    a, ga = np.empty(columns, v.dtype), np.empty(columns, v.dtype)
    for b in range(batch):
        S[0] = first[b]
        for t in range(time):
            for h in range(heads):
                a[h * values : (h + 1) * values] = decay[b, t, h]
            for i in range(keys):
                ki = k[b, t, i]
                for n in range(columns):
                    S[t + 1, i, n] = a[n] * S[t, i, n] + ki * v[b, t, n]
        g = G[b]
        for t in range(time - 1, -1, -1):
            for h in range(heads):
                a[h * values : (h + 1) * values] = decay[b, t, h]
            gv[b, t] = 0
            ga[:] = 0
            for i in range(keys):
                qi, ki, gqi, gki = q[b, t, i], k[b, t, i], zero, zero
                for n in range(columns):
                    gqi += S[t + 1, i, n] * go[b, t, n]
                    g[i, n] += qi * go[b, t, n]
                    gki += g[i, n] * v[b, t, n]
                    gv[b, t, n] += ki * g[i, n]
                    ga[n] += g[i, n] * S[t, i, n]
                    g[i, n] *= a[n]
                gq[b, t, i] = gqi
                gk[b, t, i] = gki
            for h in range(heads):
                gdecay[b, t, h] = ga[h * values : (h + 1) * values].sum()
