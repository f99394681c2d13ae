#pragma once

// Shapes of rows in operations.def and operations_rare.def, for the files that include those. T is the type PTX names,
// C the one C++ computes with.

#define SAME2(name, T, C, F) OP(name "." #T, UNARY(C, C, F), T, T, none, none)
#define SAME3(name, T, C, F) OP(name "." #T, BINARY(C, F), T, T, T, none)
#define SAME4(name, T, C, F) OP(name "." #T, TERNARY(C, F), T, T, T, T)

// The same bits come out for either sign.
#define WRAPPING3(name, F) \
  SAME3(name, u16, u16, F) \
  SAME3(name, s16, u16, F) \
  SAME3(name, u32, u32, F) SAME3(name, s32, u32, F) SAME3(name, u64, u64, F) SAME3(name, s64, u64, F)
#define WRAPPING4(name, F) \
  SAME4(name, u16, u16, F) \
  SAME4(name, s16, u16, F) \
  SAME4(name, u32, u32, F) SAME4(name, s32, u32, F) SAME4(name, u64, u64, F) SAME4(name, s64, u64, F)
#define INTEGER3(name, F)  \
  SAME3(name, u16, u16, F) \
  SAME3(name, s16, s16, F) \
  SAME3(name, u32, u32, F) SAME3(name, s32, s32, F) SAME3(name, u64, u64, F) SAME3(name, s64, s64, F)
#define INTEGER4(name, F)  \
  SAME4(name, u16, u16, F) \
  SAME4(name, s16, s16, F) \
  SAME4(name, u32, u32, F) SAME4(name, s32, s32, F) SAME4(name, u64, u64, F) SAME4(name, s64, s64, F)
#define REAL2(name, F) SAME2(name, f32, f32, F) SAME2(name, f64, f64, F)
#define REAL3(name, F) SAME3(name, f32, f32, F) SAME3(name, f64, f64, F)
#define REAL4(name, F) SAME4(name, f32, f32, F) SAME4(name, f64, f64, F)
#define BITS3(name, F) \
  SAME3(name, pred, u8, F) SAME3(name, b16, u16, F) SAME3(name, b32, u32, F) SAME3(name, b64, u64, F)

#define EVERY_INTEGER(X, Y) X(u8, Y) X(u16, Y) X(u32, Y) X(u64, Y) X(s8, Y) X(s16, Y) X(s32, Y) X(s64, Y)
