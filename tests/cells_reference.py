"""The equations of cells in NumPy, float64, written from the papers.

Those with gates between old and new are in `cells_reference_gated`.

A matrix U of a paper acts from the left on a column; the library stores its transpose.
`params` holds the library's arrays, `x` is ``(T, B, m)``, `h0` one array ``(B, n)`` or
a tuple of them; each function returns the states ``(T, B, n)`` after every step.
"""

import numpy as np
import scipy.linalg


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def relu(z):
    return np.maximum(z, 0)


def identity(z):
    return z


def matrices(kernel, gates=1):
    """The matrices of a fused kernel as the papers write them, ``(n, m)`` each."""
    return [part.T for part in np.split(kernel, gates, axis=1)]


def mul(U, h):
    """U h for every example of a batch ``(B, n)``."""
    return np.stack([U @ column for column in h])


def walk(step, h0, x):
    """States after every step; tuples of states are stacked one by one."""
    h, states = h0, []
    for x_t in x:
        h = step(h, x_t)
        states.append(h)
    if isinstance(h0, tuple):
        return tuple(np.stack(part) for part in zip(*states, strict=True))
    return np.stack(states)


def elman(p, x, h0, phi=np.tanh):
    (U,), (V,) = matrices(p["U"]), matrices(p["V"])
    return walk(lambda h, x_t: phi(mul(U, h) + mul(V, x_t) + p["b"]), h0, x)


def leaky(p, x, h0, alpha):
    (U,), (V,) = matrices(p["U"]), matrices(p["V"])

    def step(h, x_t):
        return h + alpha * (-h + np.tanh(mul(U, h) + mul(V, x_t) + p["b"]))

    return walk(step, h0, x)


def scrn(p, x, h0, alpha):
    A, B, P, R = (matrices(p[k])[0] for k in "ABPR")

    def step(state, x_t):
        h, s = state
        s = (1 - alpha) * mul(B, x_t) + alpha * s
        return sigmoid(mul(P, s) + mul(A, x_t) + mul(R, h)), s

    return walk(step, h0, x)


def scrn_output(p, x, states):
    return np.concatenate(states, axis=-1)


def antisymmetric(p, x, h0, epsilon, gamma):
    (U,), (V,) = matrices(p["U"]), matrices(p["V"])
    A = U - U.T - gamma * np.eye(len(U))

    def step(h, x_t):
        return h + epsilon * np.tanh(mul(A, h) + mul(V, x_t) + p["b"])

    return walk(step, h0, x)


def rhn(p, x, h0, depth, coupled):
    gates = 2 if coupled else 3
    W = matrices(p["V"], gates)
    R = [matrices(p[f"R{l}"], gates) for l in range(1, depth + 1)]
    b = [np.split(p[f"b{l}"], gates) for l in range(1, depth + 1)]

    def step(s, x_t):
        for l in range(depth):
            z = [mul(R[l][k], s) + b[l][k] for k in range(gates)]
            if l == 0:
                z = [z[k] + mul(W[k], x_t) for k in range(gates)]
            H, T = np.tanh(z[0]), sigmoid(z[1])
            C = 1 - T if coupled else sigmoid(z[2])
            s = H * T + s * C
        return s

    return walk(step, h0, x)


def gated_antisymmetric(p, x, h0, epsilon, gamma):
    (U,), (Vz, Vh) = matrices(p["U"]), matrices(p["V"], 2)
    A, (bz, bh) = U - U.T - gamma * np.eye(len(U)), np.split(p["b"], 2)

    def step(h, x_t):
        z = sigmoid(mul(A, h) + mul(Vz, x_t) + bz)
        return h + epsilon * z * np.tanh(mul(A, h) + mul(Vh, x_t) + bh)

    return walk(step, h0, x)


def lem(p, x, h0, dt):
    (U1, U2, Uz), (Uy,) = matrices(p["U"], 3), matrices(p["Uy"])
    V1, V2, Vz, Vy = matrices(p["V"], 4)
    b1, b2, bz, by = np.split(p["b"], 4)

    def step(state, x_t):
        y, z = state
        dt1 = dt * sigmoid(mul(U1, y) + mul(V1, x_t) + b1)
        dt2 = dt * sigmoid(mul(U2, y) + mul(V2, x_t) + b2)
        z = (1 - dt1) * z + dt1 * np.tanh(mul(Uz, y) + mul(Vz, x_t) + bz)
        y = (1 - dt2) * y + dt2 * np.tanh(mul(Uy, z) + mul(Vy, x_t) + by)
        return y, z

    return walk(step, h0, x)


def cornn(p, x, h0, dt, gamma, epsilon, implicit):
    (W,), (Wz,), (V,) = (matrices(p[k]) for k in ("Wy", "Wz", "V"))

    def step(state, x_t):
        y, z = state
        drive = np.tanh(mul(W, y) + mul(Wz, z) + mul(V, x_t) + p["b"])
        if implicit:
            z = (z + dt * drive - dt * gamma * y) / (1 + dt * epsilon)
        else:
            z = z + dt * drive - dt * gamma * y - dt * epsilon * z
        return y + dt * z, z

    return walk(step, h0, x)


def modrelu(z, b):
    modulus = np.abs(z)
    return np.where(modulus + b >= 0, (modulus + b) * z / modulus, 0)


def unitary(p, seed=0):
    """W = D3 R2 F⁻¹ D2 Π R1 F D1 as a product of dense matrices."""
    n = p["angles"].shape[1]
    D1, D2, D3 = (np.diag(np.exp(1j * angles)) for angles in p["angles"])
    index = np.arange(n)
    F = np.exp(-2j * np.pi * np.outer(index, index) / n) / np.sqrt(n)
    Pi = np.eye(n)[np.random.RandomState(seed).permutation(n)]
    v1 = p["reflections"][0] + 1j * p["reflections"][1]
    v2 = p["reflections"][2] + 1j * p["reflections"][3]
    R1, R2 = (
        np.eye(n) - 2 * np.outer(v, v.conj()) / np.linalg.norm(v) ** 2 for v in (v1, v2)
    )
    return D3 @ R2 @ F.conj().T @ D2 @ Pi @ R1 @ F @ D1


def urnn(p, x, h0):
    W, V = unitary(p), (p["V_re"] + 1j * p["V_im"]).T
    return walk(lambda h, x_t: modrelu(mul(W, h) + mul(V, x_t), p["b"]), h0, x)


def urnn_output(p, x, h):
    return np.concatenate([h.real, h.imag], axis=-1)


def orthogonal(p, n):
    """B = exp(A − Aᵀ), the entries of A above the diagonal row by row."""
    A, entries = np.zeros((n, n)), iter(p["A"])
    for i in range(n):
        for j in range(i + 1, n):
            A[i, j] = next(entries)
    return scipy.linalg.expm(A - A.T)


def exprnn(p, x, h0):
    B, (T,) = orthogonal(p, h0.shape[1]), matrices(p["T"])
    return walk(lambda h, x_t: modrelu(mul(T, x_t) + mul(B, h), p["b"]), h0, x)


def lru(p, x, h0):
    eigenvalues = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    B = (p["B_re"] + 1j * p["B_im"]).T

    def step(h, x_t):
        return eigenvalues * h + np.exp(p["gamma"]) * mul(B, x_t)

    return walk(step, h0, x)


def lru_output(p, x, h):
    C, D = (p["C_re"] + 1j * p["C_im"]).T, p["D"].T
    pairs = zip(h, x, strict=True)
    return np.stack([np.real(mul(C, h_t)) + mul(D, x_t) for h_t, x_t in pairs])


def indrnn(p, x, h0):
    (V,) = matrices(p["V"])
    return walk(lambda h, x_t: relu(mul(V, x_t) + p["u"] * h + p["b"]), h0, x)
