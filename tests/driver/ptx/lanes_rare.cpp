// The lane operations that kernels use now and then: compiled once, for any processor.

#include <type_traits>

#include "tests/driver/ptx/lane_arithmetic.h"
#include "tests/driver/ptx/lane_bits.h"
#include "tests/driver/ptx/lane_convert.h"
#include "tests/driver/ptx/lane_half.h"
#include "tests/driver/ptx/lane_loop.h"
#include "tests/driver/ptx/lane_warp.h"
#include "tests/driver/ptx/operation_rows.h"

namespace lull::ptx {

#define UNARY(D, A, ...) &unary<D, A, __VA_ARGS__>
#define BINARY(T, ...) &binary<T, T, T, __VA_ARGS__>
#define TERNARY(T, ...) &ternary<T, T, T, __VA_ARGS__>
#define PAIR(D, A, F) &binary<D, A, A, F>
#define COMPARE(T, F) &binary<u8, T, T, F>
#define VOTE(D, F) &vote<D, F>
#define REDUCE(T, F) &reduce<T, F>
#define WITH_CARRY(T, F, carry) &with_carry<T, F, Carry::carry>
#define ROUNDED_TO(mode, ...) &rounded<__VA_ARGS__, mode>

extern const Handler kRareHandlers[];
const Handler kRareHandlers[] = {
#define OP(name, handler, ...) handler,
#define OP4(name, handler, ...) handler,
#include "tests/driver/ptx/operations_rare.def"
#undef OP4
#undef OP
};

}  // namespace lull::ptx
