"""Brains: every neuron and connection of two animals, shipped inside the package."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..checks import require

__all__ = ["Connectome", "load_connectome"]


@dataclass(frozen=True, repr=False, eq=False)
class Connectome:
    """The neurons and connections of a brain, as arrays; nothing here is a network yet.

    Attributes
    ----------
    title : str
    name : array of str, shape (n_neurons,)
        Unique names of the neurons.
    group, cell_class, hemisphere : array of str, shape (n_neurons,)
        Coarse and fine class of each neuron, and its side: "L", "R" or "C".
    sensory, output : array of bool, shape (n_neurons,)
        Where the world comes in, and the motor or descending neurons where the brain acts on it.
    source, target : array of int64, shape (n_connections,)
        Indices of neurons; each (source, target, kind) occurs once.
    weight : array of int64, shape (n_connections,)
        Counts of what ``unit`` says.
    kind : array of str, shape (n_connections,)
        "chemical" or "gap"; a gap junction works in both directions, so it is there twice. "both" after `merged`, and
        "null" in a null model.
    unit, license, citation : str
        What is counted, and whose work it is.

    Examples
    --------
    >>> from neurograph.datasets import load_connectome
    >>> worm = load_connectome("celegans")
    >>> worm.name[worm.sensory][:3].tolist(), int(worm.output.sum())
    (['ASIL', 'ASIR', 'ASJL'], 123)
    >>> worm.of_kind("gap").n_connections, worm.merged().n_connections
    (2196, 5146)
    """

    title: str
    name: np.ndarray
    group: np.ndarray
    cell_class: np.ndarray
    hemisphere: np.ndarray
    sensory: np.ndarray
    output: np.ndarray
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    kind: np.ndarray
    unit: str
    license: str
    citation: str

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return len(self.name)

    @property
    def n_connections(self) -> int:
        """Number of rows: directed connections of every kind."""
        return len(self.source)

    def of_kind(self, kind: str) -> Connectome:
        """The same neurons with the connections of one kind only."""
        known = np.unique(self.kind).tolist()
        require(kind in known, f"kind is {kind!r}; this connectome has {', '.join(map(repr, known))}")
        return self._rows(np.flatnonzero(self.kind == kind))

    def merged(self) -> Connectome:
        """Each (source, target) once: the counts of a chemical connection and a gap junction are added."""
        keys, first, row = np.unique(self.source * self.n_neurons + self.target, return_index=True, return_inverse=True)
        several = np.bincount(row) > 1
        return replace(
            self,
            source=keys // self.n_neurons,
            target=keys % self.n_neurons,
            weight=np.bincount(row, self.weight).astype(np.int64),
            kind=np.where(several, "both", self.kind[first]),
        )

    def _rows(self, rows: np.ndarray) -> Connectome:
        columns = {name: getattr(self, name)[rows] for name in ("source", "target", "weight", "kind")}
        return replace(self, **columns)

    def __repr__(self) -> str:
        kinds, counts = np.unique(self.kind, return_counts=True)
        split = (
            f" ({', '.join(f'{n:,} {kind}' for kind, n in zip(kinds, counts, strict=True))})" if len(kinds) > 1 else ""
        )
        return (
            f"<Connectome of {self.title}: {self.n_neurons:,} neurons ({self.sensory.sum()} sensory, "
            f"{self.output.sum()} output), {self.n_connections:,} connections{split}, {self.weight.sum():,} "
            f"{self.unit}>"
        )


BRAINS = {
    "celegans": {
        "title": "the hermaphrodite worm C. elegans",
        "unit": "serial sections with a synapse",
        "license": "the tables name none; copied from the C. elegans Connectome Toolbox 0.3.5 (OpenWorm), MIT",
        "citation": 'Cook, S. J. et al. (2019), "Whole-animal connectomes of both Caenorhabditis elegans sexes", '
        "Nature 571:63-71, https://doi.org/10.1038/s41586-019-1352-7, tables as corrected by the authors in July 2020",
    },
    "larva": {
        "title": "the brain of a fruit-fly larva",
        "unit": "synapses",
        "license": "MIT (neurodata/bilateral-connectome)",
        "citation": 'Winding, M. et al. (2023), "The connectome of an insect brain", Science 379:eadd9330, '
        "https://doi.org/10.1126/science.add9330",
    },
}


def load_connectome(name: str) -> Connectome:
    """Load a brain that travels with the package. Needs no network access.

    Parameters
    ----------
    name : {"celegans", "larva"}
        "celegans": all 302 neurons of the hermaphrodite worm, 3,709 chemical connections and 2,196 directions of gap
        junctions (Cook et al. 2019, corrected July 2020); muscles and other cells are left out. "larva": the brain of
        a fruit-fly larva, 3,554 neurons and 119,010 connections (Winding et al. 2023). What was changed is in the
        README beside the files.

    Returns
    -------
    Connectome

    Raises
    ------
    InvalidValueError
        There is no brain of that name.

    Examples
    --------
    >>> load_connectome("larva")
    <Connectome of the brain of a fruit-fly larva: 3,554 neurons (431 sensory, 420 output), 119,010 connections,
     376,091 synapses>
    """
    from importlib.resources import as_file, files

    require(name in BRAINS, f"there is no connectome {name!r}; known are {', '.join(map(repr, BRAINS))}")
    with (
        as_file(files("neurograph.datasets") / "data" / f"{name}.npz") as path,
        np.load(path, allow_pickle=False) as data,
    ):
        columns = {key: data[key] for key in data.files}
    gap = columns.get("gap", np.zeros(len(columns["source"]), bool))
    about = BRAINS[name]
    return Connectome(
        title=about["title"],
        name=columns["name"],
        group=columns["group"],
        cell_class=columns["cell_class"],
        hemisphere=columns["hemisphere"],
        sensory=columns["sensory"],
        output=columns["output"],
        source=columns["source"].astype(np.int64),
        target=columns["target"].astype(np.int64),
        weight=columns["synapses"].astype(np.int64),
        kind=np.where(gap, "gap", "chemical"),
        unit=about["unit"],
        license=about["license"],
        citation=about["citation"],
    )
