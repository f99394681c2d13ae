// The lane operations, compiled once for every instruction set that is worth it: LULL_PTX_HANDLERS names the table.

#include <type_traits>

#include "tests/driver/ptx/lane_arithmetic.h"
#include "tests/driver/ptx/lane_convert.h"
#include "tests/driver/ptx/lane_loop.h"
#include "tests/driver/ptx/lane_memory.h"
#include "tests/driver/ptx/operation_rows.h"

namespace lull::ptx {

#define UNARY(D, A, ...) &unary<D, A, __VA_ARGS__>
#define BINARY(T, F) &binary<T, T, T, F>
#define TERNARY(T, F) &ternary<T, T, T, F>
#define WIDE_PRODUCT(W, T) &binary<W, T, T, WideMultiply<W>>
#define WIDE_MULTIPLY_ADD(W, T) &ternary<W, T, W, WideMultiplyAdd<W>>
#define SHIFT_BY(T, F) &binary<T, T, u32, F>
#define COMPARE(T, F) &binary<u8, T, T, F>
#define SELECT(T) &select<T>
#define PACK(D, Half) &binary<D, Half, Half, Pack<D, Half>>
#define TO_GENERIC(Space) &to_generic<Space>
#define FROM_GENERIC(Space) &from_generic<Space>
#define LOAD(Space, T, words, Access) &load<Space, T, words, Access>
#define STORE(Space, T, words, Access) &store<Space, T, words, Access>
#define ATOMIC(Space, T, F) &atomic<Space, T, F>

extern const Handler LULL_PTX_HANDLERS[];
const Handler LULL_PTX_HANDLERS[] = {
#define OP(name, handler, ...) handler,
#include "tests/driver/ptx/operations.def"
#undef OP
};

}  // namespace lull::ptx
