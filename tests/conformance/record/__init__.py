"""Record what the authors' own code computes on frozen inputs, as numbers for the tests.

    PYTHONPATH=tests/conformance python -m record --repositories DIR

runs from the checkout and writes `tests/conformance/goldens.json`. DIR holds a clone of each
repository under its name (`git clone --bare` is enough), with the recorded commit. There is one file
per repository here; it names both and lists the recordings. The authors' code is read from git at run
time, into a temporary folder, and never enters this repository; only numbers do. It runs in float64
on one thread.

Beyond the `dev` extra it needs scikit-learn, for the k-means of GO4Align. What the files import and
the recorded functions never call (plots, simulators, trainers) is replaced by stand-ins, and
`torch.symeig`, which torch removed, by `torch.linalg.eigh`. Random draws are replaced by those of
`golden_inputs.py`, so that a method can be compared draw for draw.
"""
