"""Labelled arrays in HDF5, as netCDF-4 and xarray understand them.

A dimension is a dataset that HDF5 calls a scale; a variable's axes are attached to scales of its
own group or of a group above it. A dimension without coordinates is a scale that holds no data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from .._typing import Array, DTypeLike

TEXT = h5py.string_dtype()

_NO_COORDINATE = "This is a netCDF dimension but not a netCDF variable. {:>10}"
_CHUNK_BYTES = 4096
_SCALE_ATTRIBUTES = {"CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST"}


def add_dimension(group: h5py.Group, name: str, size: int, *, growing: bool = False) -> None:
    """Add a dimension without coordinates."""
    scale = group.create_dataset(
        name,
        shape=(size,),
        maxshape=(None,) if growing else None,
        chunks=(512,) if growing else None,
        dtype=">f4",
    )
    scale.make_scale(_NO_COORDINATE.format(size))


def add_coordinate(
    group: h5py.Group,
    name: str,
    values: Sequence[Any] | Array,
    *,
    long_name: str,
    dtype: DTypeLike | None = None,
    growing: bool = False,
) -> h5py.Dataset:
    """Add a dimension whose places have values, such as the names of operators."""
    array = np.asarray(values, dtype=dtype)
    is_text = array.dtype.kind in "UO"
    scale = group.create_dataset(
        name,
        data=array.astype(object) if is_text else array,
        dtype=TEXT if is_text else array.dtype,
        maxshape=(None,) if growing else None,
        chunks=(512,) if growing else None,
    )
    scale.make_scale(name)
    scale.attrs["long_name"] = long_name
    return scale


def add_variable(
    group: h5py.Group,
    name: str,
    dims: Sequence[str],
    *,
    long_name: str,
    data: Array | None = None,
    dtype: DTypeLike | None = None,
    shape: tuple[int, ...] | None = None,
    growing: bool = False,
    fill: float | None = None,
    units: str = "1",
    attributes: Mapping[str, Any] | None = None,
) -> h5py.Dataset:
    """Add a variable along dimensions that exist.

    Parameters
    ----------
    group : h5py.Group
        Where; groups on the way are made if the name has slashes.
    name : str
        Its name.
    dims : sequence of str
        A dimension for each axis, in this group or one above it.
    long_name : str
        What it is, for people.
    data : ndarray, optional
        The values; strings as an array of objects. Otherwise `dtype` and `shape` are needed.
    growing : bool
        Whether the first axis grows; its chunks are then of about 4 KiB, or of one row.
    fill : float, optional
        The value of places along the first two axes that are never written; they take no room.
    units : str
        ``"1"`` where it is a pure number.
    attributes : mapping, optional
        More attributes.
    """
    if data is not None:
        shape = data.shape
        dtype = TEXT if data.dtype.kind == "O" else data.dtype
    assert shape is not None
    options: dict[str, Any] = {}
    if growing:
        row_bytes = int(np.prod(shape[1:])) * (16 if dtype == TEXT else np.dtype(dtype).itemsize)
        rows = max(1, _CHUNK_BYTES // max(row_bytes, 1))
        options = {"maxshape": (None, *shape[1:]), "chunks": (rows, *shape[1:])}
    elif fill is not None:
        options = {"chunks": (1, 1, *shape[2:]), "fillvalue": fill}
    variable = group.create_dataset(name, shape=shape, dtype=dtype, **options)
    if data is not None:
        variable[...] = data
    for axis, dim in enumerate(dims):
        variable.dims[axis].attach_scale(find_dimension(variable.parent, dim))
    variable.attrs["long_name"] = long_name
    if dtype != TEXT:
        variable.attrs["units"] = units
    for key, value in (attributes or {}).items():
        variable.attrs[key] = value
    return variable


def find_dimension(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return the dimension of a name in a group or the nearest group above it."""
    here = group
    while name not in here or not here[name].is_scale:
        here = here.parent
    return here[name]


def set_row(variable: h5py.Dataset, row: int, value: Any) -> None:
    """Write one place along the first axis, which grows if it must."""
    if len(variable) <= row:
        variable.resize(row + 1, axis=0)
    variable[row] = value


def read_text(variable: h5py.Dataset) -> Any:
    """Return a scalar string, or an array of strings."""
    return variable.asstr()[()]


def write_names(group: h5py.Group, names: Sequence[str]) -> None:
    """Keep the order of the variables of a group."""
    group.attrs["names"] = json.dumps(list(names))


def read_names(group: h5py.Group) -> list[str]:
    """Return the names that :func:`write_names` kept."""
    return list(json.loads(group.attrs["names"]))


def replace_group(parent: h5py.Group, name: str) -> h5py.Group:
    """Return an empty group, in place of one that there may be."""
    if name in parent:
        del parent[name]
    return parent.create_group(name)


def copy_contents(source: h5py.Group, target: h5py.Group) -> None:
    """Copy groups, variables, dimensions and attributes into an empty group of another file.

    HDF5's own copy loses which dimensions the axes have.
    """
    scales: dict[str, h5py.Dataset] = {}
    variables: list[tuple[h5py.Dataset, h5py.Dataset]] = []
    _copy_attributes(source, target)

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group):
            _copy_attributes(item, target.create_group(name))
            return
        copied = _copy_dataset(name, item, target)
        variables.append((item, copied))
        if item.is_scale:
            copied.make_scale(h5py.h5ds.get_scale_name(item.id).decode())
            scales[item.name] = copied

    source.visititems(visit)
    for item, copied in variables:
        for axis in range(item.ndim if not item.is_scale else 0):
            for scale in item.dims[axis].values():
                copied.dims[axis].attach_scale(scales[scale.name])


def _copy_dataset(name: str, item: h5py.Dataset, target: h5py.Group) -> h5py.Dataset:
    is_number = item.dtype.kind in "biuf"
    copied = target.create_dataset(
        name,
        shape=item.shape,
        dtype=item.dtype,
        chunks=item.chunks,
        maxshape=item.maxshape if item.chunks else None,
        fillvalue=item.fillvalue if is_number else None,
    )
    if item.id.get_storage_size():
        for part in item.iter_chunks() if item.chunks else [()]:
            values = item[part]
            # A chunk that was never written takes no room, and shall take none in the copy.
            empty = is_number and np.array_equal(
                values, np.full_like(values, item.fillvalue), equal_nan=item.dtype.kind == "f"
            )
            if not empty:
                copied[part] = values
    _copy_attributes(item, copied)
    return copied


def _copy_attributes(source: h5py.Group | h5py.Dataset, target: h5py.Group | h5py.Dataset) -> None:
    for name, value in source.attrs.items():
        if name not in _SCALE_ATTRIBUTES:
            target.attrs[name] = value
