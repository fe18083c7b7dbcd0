"""The loops of `stepwise`: two recurrences and their gradients, position by position.

States S and their gradients g are updated in place. Every gradient of a state is that of the state after a position
until the position has been dealt with, then that of the state before.
"""

from functools import partial

import numpy as np

from canonlab.data.jit import kernel

# Sums along a state's rows may be taken in vectors: their order is the compiler's, and the same whenever it runs.
compiled = partial(kernel, fastmath={"reassoc", "contract"})


@compiled
def rows_forward(q, k, v, decay, beta, delta, state, o):  # type: ignore[no-untyped-def]
    batch, time, heads, keys = q.shape
    values = v.shape[3]
    error = np.empty(values, v.dtype)
    for b in range(batch):
        for h in range(heads):
            S = state[b, h]
            for t in range(time):
                for j in range(values):
                    error[j] = v[b, t, h, j]
                    o[b, t, h, j] = 0
                for i in range(keys):
                    a, ki = decay[b, t, h, i], k[b, t, h, i]
                    for j in range(values):
                        S[i, j] *= a
                    if delta:
                        for j in range(values):
                            error[j] -= ki * S[i, j]
                for i in range(keys):
                    ki, qi = k[b, t, h, i] * beta[b, t, h], q[b, t, h, i]
                    for j in range(values):
                        S[i, j] += ki * error[j]
                        o[b, t, h, j] += qi * S[i, j]


@compiled
def rows_backward(q, k, v, decay, beta, delta, first, go, G, gq, gk, gv, gdecay, gbeta):  # type: ignore[no-untyped-def]
    batch, time, heads, keys = q.shape
    values, zero = v.shape[3], v.dtype.type(0)
    S = np.empty((time + 1, keys, values), v.dtype)
    error, gerror = np.empty((time, values), v.dtype), np.empty(values, v.dtype)
    for b in range(batch):
        for h in range(heads):
            S[0] = first[b, h]
            for t in range(time):
                for j in range(values):
                    error[t, j] = v[b, t, h, j]
                for i in range(keys):
                    a, ki = decay[b, t, h, i], k[b, t, h, i]
                    for j in range(values):
                        S[t + 1, i, j] = a * S[t, i, j]
                    if delta:
                        for j in range(values):
                            error[t, j] -= ki * S[t + 1, i, j]
                for i in range(keys):
                    ki = k[b, t, h, i] * beta[b, t, h]
                    for j in range(values):
                        S[t + 1, i, j] += ki * error[t, j]
            g = G[b, h]  # the gradient of the state after position t, then of that before
            for t in range(time - 1, -1, -1):
                share = beta[b, t, h]
                gerror[:] = 0
                for i in range(keys):
                    qi, ki, gqi, gki = q[b, t, h, i], k[b, t, h, i], zero, zero
                    for j in range(values):
                        gqi += S[t + 1, i, j] * go[b, t, h, j]
                        g[i, j] += qi * go[b, t, h, j]
                        gki += g[i, j] * error[t, j]
                        gerror[j] += ki * g[i, j]
                    gq[b, t, h, i] = gqi
                    gk[b, t, h, i] = gki * share
                written = zero
                for j in range(values):
                    written += gerror[j] * error[t, j]
                    gerror[j] *= share
                    gv[b, t, h, j] = gerror[j]
                gbeta[b, t, h] = written
                for i in range(keys):
                    a, ki, ga = decay[b, t, h, i], k[b, t, h, i], zero
                    if delta:
                        read = zero
                        for j in range(values):
                            read += S[t, i, j] * gerror[j]
                            g[i, j] -= ki * gerror[j]
                        gk[b, t, h, i] -= a * read
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
