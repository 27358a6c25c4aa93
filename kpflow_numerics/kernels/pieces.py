"""Pieces of a kernel's work on several threads, for one compilation of the kernel.

Numba compiles the body of a parallel loop, with all that it calls, four times: as a function, in
two wrappers around that, and in the function that holds the loop. Each time LLVM optimises it again
and vectorises what remains of its loops once more: up to six times the work of the body alone. So
the only parallel loop of all kernels is the one below, which knows what it calls by an address:
that of the kernel itself. Called with the number of a piece, a kernel does that piece of its work;
called with `EVERY`, as Python calls it, it has the loop call it for every piece.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .._jit import jit, jit_parallel

# The piece that stands for all of them.
EVERY = -1

Arguments = ParamSpec("Arguments")

_ADDRESS, _INTEGER = ir.IntType(8).as_pointer(), ir.IntType(64)
_PIECE = ir.FunctionType(ir.VoidType(), [_ADDRESS, _INTEGER])

# Numba's own annotation counts the typing context among the arguments of a call.
_inlined = cast(Callable[[Callable[..., Any]], Callable[..., None]], intrinsic)


@_inlined
def _call(
    _typing_context: Any, function: Any, arguments: Any, piece: Any
) -> tuple[Any, Callable[..., Any]]:
    """Call the function at an address with the address of its arguments and a piece."""

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        function, arguments, piece = values
        called = builder.inttoptr(function, _PIECE.as_pointer())
        builder.call(called, [builder.inttoptr(arguments, _ADDRESS), piece])
        return context.get_dummy_value()

    return types.void(function, arguments, piece), generate


@jit_parallel
def _call_for_every_piece(function: int, arguments: int, n_pieces: int) -> None:
    for piece in numba.prange(n_pieces):
        _call(function, arguments, piece)


def _is_owner(argument: Any) -> bool:
    """Tell whether an argument of a compiled function is the owner of an array, or would be.

    Numba passes an array as its fields, named ``arg.NAME.0`` and so on, of which 0 and 1 own the
    memory. An array without owners is one that is lent.
    """
    return argument.type == _ADDRESS and argument.name.rpartition(".")[2] in ("0", "1")


def _arguments_of(kernel: Any) -> tuple[Any, list[Any]]:
    """Return where a compiled kernel writes its error, and its own arguments without the piece.

    A function of Numba returns whether it failed. Its arguments are where to write the result and
    the error, and then those of its Python function: here the piece first.
    """
    result, error, _, *others = kernel.args
    if (result.name, error.name) != ("retptr", "excinfo"):
        raise RuntimeError(
            f"numba {numba.__version__} calls functions in another way than 0.60 to 0.68, which "
            "kpflow_numerics was tested with; install one of those."
        )
    return error, others


def _piece_function(kernel: Any, arguments_type: Any) -> Any:
    """Return LLVM's function that calls a kernel with the arguments at an address and a piece."""
    module = kernel.module
    function = ir.Function(module, _PIECE, module.get_unique_name("kpflow_numerics_piece"))
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block())
    address, piece = function.args
    arguments = builder.load(builder.bitcast(address, arguments_type.as_pointer()))
    failure, error, *others = cgutils.unpack_tuple(builder, arguments)
    result = builder.alloca(kernel.args[0].type.pointee)
    status = builder.call(kernel, [result, error, piece, *others])
    with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, status)):
        builder.store(status, failure)
    builder.ret_void()
    return function


@_inlined
def on_threads(typing_context: Any, _n_pieces: Any) -> tuple[Any, Callable[..., Any]]:
    """Call the kernel that holds this call again, once for each piece, on Numba's threads.

    An error in a piece is one of the kernel. Arrays are lent to the pieces, so that threads do not
    write to the same count of owners at every view they take.
    """
    loop = typing_context.resolve_value_type(_call_for_every_piece)
    loop_signature = typing_context.resolve_function_type(loop, (types.intp,) * 3, {})

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        kernel = builder.function
        error, others = _arguments_of(kernel)
        lent = [ir.Constant(each.type, None) if _is_owner(each) else each for each in others]
        failure = cgutils.alloca_once_value(builder, ir.Constant(kernel.return_value.type, 0))
        arguments = cgutils.pack_struct(builder, [failure, error, *lent])
        place = cgutils.alloca_once_value(builder, arguments)
        function = _piece_function(kernel, arguments.type)
        addresses = [builder.ptrtoint(each, _INTEGER) for each in (function, place)]
        call_loop = context.get_function(loop, loop_signature)
        context.add_linking_libs(call_loop.libs)
        call_loop(builder, [*addresses, *values])
        status = builder.load(failure)
        with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, status)):
            builder.ret(status)
        return context.get_dummy_value()

    return types.void(types.intp), generate


def jit_in_pieces(kernel: Callable[Concatenate[int, Arguments], None]) -> Callable[Arguments, None]:
    """Compile a kernel whose first argument is the piece of its work to do, and call it for all.

    For the piece `EVERY` the kernel must call `on_threads` with the number of pieces and return.
    It must never be called from several Python threads at once, and only where
    :func:`kpflow_numerics._threads.kernel_threads` has started the threads.
    """
    return functools.partial(jit(kernel), EVERY)
