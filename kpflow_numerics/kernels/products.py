"""Matrix products at the machine's rate whatever their shape, as single columns need them.

OpenBLAS copies both factors of a product into packed panels first, unless the product is small.
Where the left factor has few rows, such as the trials of one step, that copy costs twice what the
multiplications do. The product below reads its factors where they are: a tile of the result, a few
rows by a few vectors, stays in registers while the inner index runs.

LLVM makes no such tile of a loop over scalars, for it cannot tell that the arrays do not overlap;
so the tile is written in LLVM's own vectors, as wide as the processor has them. Its multiplications
and additions are fused where the processor can, which rounds once instead of twice. Every tile sums
in the order of the inner index, so that an entry does not depend on how the rows are divided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, codegen, errors, types
from numba.extending import intrinsic

from .._jit import jit
from .._typing import FloatArray


def _registers(features: str) -> tuple[int, int]:
    """Return the bytes of a vector register, and how many vectors wide a tile of five rows can be.

    A tile of V vectors needs 5 V registers for the sums, V for the factors and one more: AVX-512
    has 32 registers, what came before it 16.
    """
    names = features.split(",")
    if "+avx512f" in names:
        return 64, 4
    return (32, 2) if "+avx" in names else (16, 2)


_CHOSEN_FEATURES = vars(numba.config)["CPU_FEATURES"]
VECTOR_BYTES, WIDE = _registers(
    # None that are chosen, as for a generic processor, is not the same as no choice.
    codegen.get_host_cpu_features() if _CHOSEN_FEATURES is None else _CHOSEN_FEATURES
)
LEAST_ROWS, MOST_ROWS = 3, 5
LEAST_INNER = 16


def _tile_function(module: Any, number: Any, bits: int, n_rows: int, n_vectors: int) -> Any:
    """Return LLVM's function that writes a tile of `n_rows` by `n_vectors` of a product.

    Its arguments are pointers to the first numbers of the left factor, the right one and the
    result, the strides of the left factor's rows and inner index, the length of the inner index and
    the stride of the rows of the other two.
    """
    name = f"kpflow_numerics_tile_{n_rows}_{n_vectors}_{bits}"
    if name in module.globals:
        return module.globals[name]
    pointer, integer, lane = number.as_pointer(), ir.IntType(64), ir.IntType(32)
    shape = ir.FunctionType(ir.VoidType(), [pointer] * 3 + [integer] * 4)
    function = ir.Function(module, shape, name)
    # Of the copies that several kernels bring the linker keeps one; inlined, they would be copied
    # again for every branch around them, and take seconds to compile.
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    left, right, out, row_stride, inner_stride, n_inner, n_columns = function.args

    n_lanes = 8 * VECTOR_BYTES // bits
    vector = ir.VectorType(number, n_lanes)
    multiply_add = cgutils.get_or_insert_function(
        module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{n_lanes}f{bits}"
    )
    anything, zero = ir.Constant(vector, ir.Undefined), ir.Constant(vector, None)
    first_lanes = ir.Constant(ir.VectorType(lane, n_lanes), [0] * n_lanes)
    builder = ir.IRBuilder(function.append_basic_block())

    def vectors_at(start: Any) -> list[Any]:
        places = [builder.gep(start, [integer(v * n_lanes)]) for v in range(n_vectors)]
        return [builder.bitcast(place, vector.as_pointer()) for place in places]

    def to_all_lanes(value: Any) -> Any:
        one = builder.insert_element(anything, value, lane(0))
        return builder.shuffle_vector(one, anything, first_lanes)

    rows = [builder.gep(left, [builder.mul(row_stride, integer(i))]) for i in range(n_rows)]
    sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(n_vectors)] for _ in rows]
    with cgutils.for_range(builder, n_inner) as loop:
        places = vectors_at(builder.gep(right, [builder.mul(loop.index, n_columns)]))
        factors = [builder.load(place, align=bits // 8) for place in places]
        offset = builder.mul(loop.index, inner_stride)
        for row, totals in zip(rows, sums, strict=True):
            factor = to_all_lanes(builder.load(builder.gep(row, [offset])))
            for other, total in zip(factors, totals, strict=True):
                value = builder.call(multiply_add, [factor, other, builder.load(total)])
                builder.store(value, total)
    for i, totals in enumerate(sums):
        places = vectors_at(builder.gep(out, [builder.mul(n_columns, integer(i))]))
        for place, total in zip(places, totals, strict=True):
            builder.store(builder.load(total), place, align=bits // 8)
    builder.ret_void()
    return function


# Numba's own annotation counts the typing context among the arguments of a call.
_inlined = cast(Callable[[Callable[..., Any]], Callable[..., None]], intrinsic(prefer_literal=True))


@_inlined
def _multiply_tile(
    _typing_context: Any,
    n_vectors: Any,
    n_rows: Any,
    left: Any,
    row_stride: Any,
    inner_stride: Any,
    right: Any,
    out: Any,
    row: Any,
    column: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Write `n_rows` by `n_vectors` of the product to `out`, from `row` and `column` on.

    The strides, in numbers, are those of `left`; `right` and `out` are C-ordered.
    """
    if any(each.layout != "C" or each.dtype != out.dtype for each in (left, right, out)):
        raise errors.TypingError(
            f"multiply takes C-ordered arrays of one dtype; got {left}, {right} and {out}"
        )
    arguments = (n_vectors, n_rows, left, row_stride, inner_stride, right, out, row, column)
    signature = types.void(*arguments)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right, out = (
            context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (2, 5, 6)
        )
        n_rows, row_stride, inner_stride, row, column = (arguments[i] for i in (1, 3, 4, 7, 8))
        n_inner, n_columns = cgutils.unpack_tuple(builder, right.shape)
        first = builder.add(builder.mul(row, n_columns), column)
        pointers = [
            builder.gep(left.data, [builder.mul(row, row_stride)]),
            builder.gep(right.data, [column]),
            builder.gep(out.data, [first]),
        ]
        dtype = signature.args[6].dtype
        number = context.get_data_type(dtype)
        done = builder.append_basic_block()
        chosen = builder.switch(n_rows, done)
        for i in range(LEAST_ROWS, MOST_ROWS + 1):
            block = builder.append_basic_block()
            chosen.add_case(i, block)
            builder.position_at_end(block)
            tile = _tile_function(
                builder.module, number, dtype.bitwidth, i, signature.args[0].literal_value
            )
            builder.call(tile, [*pointers, row_stride, inner_stride, n_inner, n_columns])
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate


@cast(Callable[[Callable[..., Any]], Callable[..., None]], intrinsic)
def fetch(_typing_context: Any, array: Any, place: Any) -> tuple[Any, Callable[..., Any]]:
    """Ask the memory for the cache line of one number of a C-ordered array, and do not wait."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        ask = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [address.type, number, number, number]),
            "llvm.prefetch.p0i8",
        )
        builder.call(ask, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, place), generate


@jit
def _rows_of_a_tile(n_rows: int) -> int:
    # A tile takes as long as its rows and one more; the last one overlaps the one before it.
    best, least = LEAST_ROWS, n_rows * MOST_ROWS
    for tile in range(LEAST_ROWS, min(n_rows, MOST_ROWS) + 1):
        time = (n_rows + tile - 1) // tile * (tile + 1)
        if time <= least:
            best, least = tile, time
    return best


@jit
def multiply(left: FloatArray, is_transposed: bool, right: FloatArray, out: FloatArray) -> None:
    """Write ``left right``, or ``left* right``, to `out`; all three are C-ordered.

    The last tiles of rows and of columns overlap those before them where the size is no multiple
    of theirs: what they share is written twice, and equal.
    """
    n_rows, n_columns = out.shape
    n_lanes = VECTOR_BYTES // out.itemsize
    if n_rows < LEAST_ROWS or len(right) < LEAST_INNER or n_columns < n_lanes:
        if is_transposed:
            np.dot(left.T, right, out)
        else:
            np.dot(left, right, out)
        return
    row_stride = 1 if is_transposed else left.shape[1]
    inner_stride = left.shape[1] if is_transposed else 1
    tile = _rows_of_a_tile(n_rows)
    wide = WIDE * n_lanes
    end = n_columns // wide * wide
    for column in range(0, end, wide):
        for first in range(0, n_rows, tile):
            row = min(first, n_rows - tile)
            _multiply_tile(WIDE, tile, left, row_stride, inner_stride, right, out, row, column)
    for start in range(end, n_columns, n_lanes):
        column = min(start, n_columns - n_lanes)
        for first in range(0, n_rows, tile):
            row = min(first, n_rows - tile)
            _multiply_tile(1, tile, left, row_stride, inner_stride, right, out, row, column)
