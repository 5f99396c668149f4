"""What a run stores of its probes: named dimensions, words, a file that reads back."""

import jax
import numpy as np
import pytest
import xarray as xr

from rnnjax.probes import last_loss_step, measure, to_dataset
from rnnjax.probes.measure import labels as labels_of
from tests.probe_models import batch_of, model_of, parameters, spec_of


LENGTH, LENGTHS = 4, [4, 2, 1]
WORDS = ["a", "bé", "see", "dee", "eel"]


@pytest.fixture(scope="module")
def measured():
    batch, spec = batch_of("every", LENGTH, LENGTHS), spec_of("every", LENGTH)
    model = model_of("lstm", readout="every", bidirectional=True)
    params = parameters(model, batch)
    labels = labels_of(model, spec, params, batch)
    probe = jax.jit(lambda params: measure(model, spec, params, batch, 2))
    other = jax.tree.map(lambda x: 0.5 * x, params)
    return batch, spec, labels, {0: probe(params), 40: probe(other)}, params


def dataset(measured) -> xr.Dataset:
    batch, spec, labels, measurements, _ = measured
    last = np.asarray(last_loss_step(spec, batch))
    words = lambda tokens: [WORDS[token] for token in tokens]
    return to_dataset(measurements, labels, batch, last, words)


def test_dimensions_and_labels(measured):
    data = dataset(measured)
    assert dict(data.sizes) == {
        "train_step": 2,
        "layer": 2,
        "array": 3,
        "time": LENGTH,
        "example": 3,
        "parameter": 5,
        "sentence": 2,
    }
    assert data.layer.values.tolist() == ["layer0", "layer0.backward"]
    assert data.array.values.tolist() == ["joint", "h", "c"]
    assert data.parameter.values.tolist()[:3] == ["embedding", "layer0/U", "layer0/V"]
    assert data.train_step.values.tolist() == [0, 40]
    for name in [*data.data_vars, *data.coords]:
        assert data[name].attrs["definition"], name


def test_values_are_those_measured(measured):
    data, (*_, measurements, params) = dataset(measured), measured
    joint = data.log10_adjoint.sel(array="joint")
    squares = 10 ** (2 * data.log10_adjoint.sel(array=["h", "c"]))
    both = squares.sum("array", skipna=False)
    np.testing.assert_allclose(10 ** (2 * joint), both, rtol=1e-4)
    padding = np.arange(LENGTH)[:, None] >= np.array(LENGTHS)
    assert np.array_equal(np.isnan(joint.isel(layer=0, train_step=0)), padding)
    np.testing.assert_array_equal(data.norm_share[1], measurements[40].norm_share)
    np.testing.assert_allclose(data.signed_share.sum("time"), 1.0, atol=1e-5)
    whole = data.word_share.sum("time", skipna=False)
    # the last loss of a sentence is read one step into the walk back: U is not used
    unused = whole.sel(parameter="layer0.backward/U", sentence=1)
    assert np.isnan(unused).all()
    assert np.isnan(whole).sum() == unused.size
    np.testing.assert_allclose(whole.fillna(1.0), 1.0, atol=1e-5)
    U = np.asarray(params["stack_0_0"]["cell"]["U"])
    top = max(np.linalg.norm(gate, 2) for gate in np.split(U, 4, axis=1))
    sigma = data.sigma_max.sel(train_step=0)
    assert float(sigma.sel(parameter="layer0/U")) == pytest.approx(top, rel=1e-5)
    assert np.isnan(sigma.sel(parameter="layer0/V")) and np.isnan(sigma[0])


def test_words_stand_beside_their_steps(measured):
    data, tokens = dataset(measured), np.asarray(measured[0].inputs)
    assert data.word[:, 0].values.tolist() == [WORDS[t] for t in tokens[:, 0]]
    assert data.word[2:, 1].values.tolist() == ["", ""]
    assert data.length.values.tolist() == LENGTHS


def test_netcdf_reads_back_the_same(measured, tmp_path):
    data = dataset(measured)
    data.to_netcdf(tmp_path / "probes.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "probes.nc", engine="h5netcdf") as back:
        xr.testing.assert_equal(back.load(), data)
        assert back.signed_share.attrs == data.signed_share.attrs
