"""The equations of gated cells in NumPy, as `cells_reference`."""

import numpy as np

from tests.cells_reference import identity, matrices, mul, relu, sigmoid, walk


def lstm(p, x, h0, phi=np.tanh):
    (Ui, Uf, Ug, Uo), (Vi, Vf, Vg, Vo) = matrices(p["U"], 4), matrices(p["V"], 4)
    bi, bf, bg, bo = np.split(p["b"], 4)

    def step(state, x_t):
        h, c = state
        i = sigmoid(mul(Ui, h) + mul(Vi, x_t) + bi)
        f = sigmoid(mul(Uf, h) + mul(Vf, x_t) + bf)
        o = sigmoid(mul(Uo, h) + mul(Vo, x_t) + bo)
        g = phi(mul(Ug, h) + mul(Vg, x_t) + bg)
        c = f * c + i * g
        return o * phi(c), c

    return walk(step, h0, x)


def gru(p, x, h0):
    (Ur, Uz, Uh), (Vr, Vz, Vh) = matrices(p["U"], 3), matrices(p["V"], 3)
    br, bz, bh = np.split(p["b"], 3)

    def step(h, x_t):
        r = sigmoid(mul(Ur, h) + mul(Vr, x_t) + br)
        z = sigmoid(mul(Uz, h) + mul(Vz, x_t) + bz)
        candidate = np.tanh(mul(Vh, x_t) + bh + r * (mul(Uh, h) + p["c"]))
        return (1 - z) * candidate + z * h

    return walk(step, h0, x)


def gru_before(p, x, h0):
    (Ur, Uz), (Uh,) = matrices(p["U"], 2), matrices(p["Uh"])
    Vr, Vz, Vh = matrices(p["V"], 3)
    br, bz, bh = np.split(p["b"], 3)

    def step(h, x_t):
        r = sigmoid(mul(Ur, h) + mul(Vr, x_t) + br)
        z = sigmoid(mul(Uz, h) + mul(Vz, x_t) + bz)
        candidate = np.tanh(mul(Vh, x_t) + mul(Uh, r * h) + bh)
        return (1 - z) * candidate + z * h

    return walk(step, h0, x)


def minimal_rnn(p, x, h0):
    (V,), (Uh,), (Uz,) = (matrices(p[k]) for k in ("V", "U", "Uz"))

    def step(h, x_t):
        z = np.tanh(mul(V, x_t) + p["b"])
        u = sigmoid(mul(Uh, h) + mul(Uz, z) + p["bu"])
        return u * h + (1 - u) * z

    return walk(step, h0, x)


def mingru(p, x, h0, g=identity):
    (Vz, Vh), (bz, bh) = matrices(p["V"], 2), np.split(p["b"], 2)

    def step(h, x_t):
        z = sigmoid(mul(Vz, x_t) + bz)
        return (1 - z) * h + z * g(mul(Vh, x_t) + bh)

    return walk(step, h0, x)


def mingru_g(v):
    return np.where(v >= 0, v + 0.5, sigmoid(v))


def minlstm(p, x, h0, g=identity):
    (Vf, Vi, Vh), (bf, bi, bh) = matrices(p["V"], 3), np.split(p["b"], 3)

    def step(h, x_t):
        f, i = sigmoid(mul(Vf, x_t) + bf), sigmoid(mul(Vi, x_t) + bi)
        return (f * h + i * g(mul(Vh, x_t) + bh)) / (f + i)

    return walk(step, h0, x)


def mgu(p, x, h0):
    (Uf,), (Uh,), (Vf, Vh) = matrices(p["U"]), matrices(p["Uh"]), matrices(p["V"], 2)
    bf, bh = np.split(p["b"], 2)

    def step(h, x_t):
        f = sigmoid(mul(Uf, h) + mul(Vf, x_t) + bf)
        candidate = np.tanh(mul(Uh, f * h) + mul(Vh, x_t) + bh)
        return (1 - f) * h + f * candidate

    return walk(step, h0, x)


def ugrnn(p, x, h0, phi=np.tanh):
    (Ug, Uc), (Vg, Vc) = matrices(p["U"], 2), matrices(p["V"], 2)
    bg, bc = np.split(p["b"], 2)

    def step(h, x_t):
        g = sigmoid(mul(Ug, h) + mul(Vg, x_t) + bg)
        return g * h + (1 - g) * phi(mul(Uc, h) + mul(Vc, x_t) + bc)

    return walk(step, h0, x)


def ligru(p, x, h0):
    """Without its batch norm the light GRU is a UGRNN with ReLU."""
    return ugrnn(p, x, h0, phi=relu)


def janet(p, x, h0, beta=1.0):
    (Us, Uc), (Vs, Vc) = matrices(p["U"], 2), matrices(p["V"], 2)
    bs, bc = np.split(p["b"], 2)

    def step(c, x_t):
        s = mul(Us, c) + mul(Vs, x_t) + bs
        new = np.tanh(mul(Uc, c) + mul(Vc, x_t) + bc)
        return sigmoid(s) * c + (1 - sigmoid(s - beta)) * new

    return walk(step, h0, x)


def cfn(p, x, h0):
    (Ut, Ue), (Vt, Ve, W) = matrices(p["U"], 2), matrices(p["V"], 3)
    bt, be = np.split(p["b"], 2)

    def step(h, x_t):
        theta = sigmoid(mul(Ut, h) + mul(Vt, x_t) + bt)
        eta = sigmoid(mul(Ue, h) + mul(Ve, x_t) + be)
        return theta * np.tanh(h) + eta * np.tanh(mul(W, x_t))

    return walk(step, h0, x)


def peephole_lstm(p, x, h0):
    (Ui, Uf, Ug, Uo), (Vi, Vf, Vg, Vo) = matrices(p["U"], 4), matrices(p["V"], 4)
    bi, bf, bg, bo = np.split(p["b"], 4)

    def step(state, x_t):
        h, c = state
        i = sigmoid(mul(Ui, h) + mul(Vi, x_t) + p["pi"] * c + bi)
        f = sigmoid(mul(Uf, h) + mul(Vf, x_t) + p["pf"] * c + bf)
        c = f * c + i * np.tanh(mul(Ug, h) + mul(Vg, x_t) + bg)
        o = sigmoid(mul(Uo, h) + mul(Vo, x_t) + p["po"] * c + bo)
        return o * np.tanh(c), c

    return walk(step, h0, x)


def multiplicative_lstm(p, x, h0):
    (Ui, Uf, Ug, Uo), (Vi, Vf, Vg, Vo) = matrices(p["U"], 4), matrices(p["V"], 4)
    (Um,), (Vm,), (bi, bf, bg, bo) = (
        matrices(p["Um"]),
        matrices(p["Vm"]),
        np.split(p["b"], 4),
    )

    def step(state, x_t):
        h, c = state
        m = mul(Vm, x_t) * mul(Um, h)
        i = sigmoid(mul(Ui, m) + mul(Vi, x_t) + bi)
        f = sigmoid(mul(Uf, m) + mul(Vf, x_t) + bf)
        o = sigmoid(mul(Uo, m) + mul(Vo, x_t) + bo)
        c = f * c + i * np.tanh(mul(Ug, m) + mul(Vg, x_t) + bg)
        return o * np.tanh(c), c

    return walk(step, h0, x)


def ran(p, x, h0, phi=np.tanh):
    (Ui, Uf), (Vi, Vf, Vc) = matrices(p["U"], 2), matrices(p["V"], 3)
    bi, bf = np.split(p["b"], 2)

    def step(state, x_t):
        h, c = state
        i = sigmoid(mul(Ui, h) + mul(Vi, x_t) + bi)
        f = sigmoid(mul(Uf, h) + mul(Vf, x_t) + bf)
        c = i * mul(Vc, x_t) + f * c
        return phi(c), c

    return walk(step, h0, x)


def mut1(p, x, h0):
    (Ur,), (Uh,) = matrices(p["U"]), matrices(p["Uh"])
    (Vz, Vr, Vh), (bz, br) = matrices(p["V"], 3), np.split(p["b"], 2)

    def step(h, x_t):
        z = sigmoid(mul(Vz, x_t) + bz)
        r = sigmoid(mul(Vr, x_t) + mul(Ur, h) + br)
        new = np.tanh(mul(Uh, r * h) + np.tanh(mul(Vh, x_t)) + p["bh"])
        return new * z + h * (1 - z)

    return walk(step, h0, x)


def fastrnn(p, x, h0):
    (U,), (V,) = matrices(p["U"]), matrices(p["V"])
    alpha, beta = sigmoid(p["new"]), sigmoid(p["old"])

    def step(h, x_t):
        return alpha * np.tanh(mul(U, h) + mul(V, x_t) + p["b"]) + beta * h

    return walk(step, h0, x)


def fastgrnn(p, x, h0):
    (U,), (V,), (bz, bh) = matrices(p["U"]), matrices(p["V"]), np.split(p["b"], 2)
    zeta, nu = sigmoid(p["scale"]), sigmoid(p["shift"])

    def step(h, x_t):
        z = sigmoid(mul(U, h) + mul(V, x_t) + bz)
        new = np.tanh(mul(U, h) + mul(V, x_t) + bh)
        return (zeta * (1 - z) + nu) * new + z * h

    return walk(step, h0, x)


def star(p, x, h0):
    (U,), (Vk, Vz), (bk, bz) = (
        matrices(p["U"]),
        matrices(p["V"], 2),
        np.split(p["b"], 2),
    )

    def step(h, x_t):
        k = sigmoid(mul(U, h) + mul(Vk, x_t) + bk)
        return np.tanh((1 - k) * h + k * np.tanh(mul(Vz, x_t) + bz))

    return walk(step, h0, x)


def lightru(p, x, h0):
    (U,), (Vf, Vh) = matrices(p["U"]), matrices(p["V"], 2)

    def step(h, x_t):
        f = sigmoid(mul(U, h) + mul(Vf, x_t) + p["b"])
        return (1 - f) * h + f * np.tanh(mul(Vh, x_t))

    return walk(step, h0, x)


def atr(p, x, h0):
    (U,), (V,) = matrices(p["U"]), matrices(p["V"])

    def step(h, x_t):
        i = sigmoid(mul(V, x_t) + mul(U, h))
        f = sigmoid(mul(V, x_t) - mul(U, h))
        return i * mul(V, x_t) + f * h

    return walk(step, h0, x)


def bistable(p, x, h0, Ua, Uc):
    """With matrices on the state, which are diagonal in a BRC."""
    (Va, Vc, Vh), (ba, bc) = matrices(p["V"], 3), np.split(p["b"], 2)

    def step(h, x_t):
        a = 1 + np.tanh(mul(Ua, h) + mul(Va, x_t) + ba)
        c = sigmoid(mul(Uc, h) + mul(Vc, x_t) + bc)
        return c * h + (1 - c) * np.tanh(mul(Vh, x_t) + a * h)

    return walk(step, h0, x)


def brc(p, x, h0):
    return bistable(p, x, h0, np.diag(p["wa"]), np.diag(p["wc"]))


def nbrc(p, x, h0):
    return bistable(p, x, h0, *matrices(p["U"], 2))
