"""What the fork server imports; no back end of JAX, no thread of ours starts here."""

import os


os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("MPLBACKEND", "agg")

import matplotlib.backends.backend_pdf  # noqa: E402, F401
import matplotlib.backends.backend_svg  # noqa: E402, F401

import rnnjax  # noqa: E402, F401
import rnnjax.cli.commands  # noqa: E402, F401
import rnnjax.cli.main  # noqa: E402, F401
import rnnjax.cli.tables  # noqa: E402, F401
import rnnjax.report  # noqa: E402, F401
import rnnjax.results  # noqa: E402, F401
import rnnjax.store.fsck  # noqa: E402, F401
import rnnjax.sweeps.compose  # noqa: E402, F401
import rnnjax.sweeps.hydra_callbacks  # noqa: E402, F401
import rnnjax.sweeps.launch  # noqa: E402, F401
