// shim/exports.S: every function of hooks.def as an exported symbol, one jump each.
//
//   cuX             jumps through lull_real_cuX (rows marked `pass`) or through lull_slot_cuX (hooks.cpp)
//   lull_real_cuX   the driver's address of cuX (real.h); until that is known, the address of
//   lull_first_cuX  saves the arguments, resolves the row (driver.cpp), goes on to the driver: lazy binding, of our own
//
// The three arrays stand in the order of hooks.def; driver.cpp finds their entries by row number.

#ifdef __CET__
#include <cet.h>
#else
#define _CET_ENDBR
#endif
#define STUB_BYTES 16

.macro hidden label
  .globl \label
  .hidden \label
\label:
.endm

#if defined(__x86_64__)

.macro jump_through word
  _CET_ENDBR
  jmp *\word(%rip)
.endm

.macro first_call
  _CET_ENDBR
  movl $row, %eax
  jmp lull_first_call
.endm

#elif defined(__aarch64__)

.macro jump_through word
  hint #34                      // bti c
  adrp x16, \word
  ldr x17, [x16, #:lo12:\word]
  br x17
.endm

.macro first_call
  hint #34
  mov w16, #row
  b lull_first_call
.endm

#else
#error "no export stubs for this processor"
#endif

// The exported symbols.
.macro export symbol, handler
  .balign STUB_BYTES
  .globl \symbol
  .type \symbol, %function
\symbol:
  .ifeqs "\handler", "pass"
  jump_through lull_real_\symbol
  .else
  jump_through lull_slot_\symbol
  .endif
  .size \symbol, . - \symbol
.endm

  .text
  .balign STUB_BYTES
  hidden lull_exports
  .cfi_startproc
#define HOOK(symbol, name, since, stream, ...) export symbol, #__VA_ARGS__
#include "shim/hooks.def"
#undef HOOK
  .cfi_endproc

// Where a row's first call goes.
.macro first symbol
  .balign STUB_BYTES
lull_first_\symbol:
  first_call
  .set row, row + 1
.endm

  .balign STUB_BYTES
  hidden lull_first
  .cfi_startproc
  .set row, 0
#define HOOK(symbol, ...) first symbol
#include "shim/hooks.def"
#undef HOOK
  .cfi_endproc

// The driver's addresses.
.macro real symbol
  hidden lull_real_\symbol
  .quad lull_first_\symbol
.endm

  .data
  .balign 8
  hidden lull_real
#define HOOK(symbol, ...) real symbol
#include "shim/hooks.def"
#undef HOOK

  .text
#if defined(__x86_64__)

// In: the row in eax, the driver call's arguments in their places (float arguments exist: cuParamSetf).
  .balign 16
  .type lull_first_call, %function
lull_first_call:
  .cfi_startproc
  push %rdi
  .cfi_adjust_cfa_offset 8
  push %rsi
  .cfi_adjust_cfa_offset 8
  push %rdx
  .cfi_adjust_cfa_offset 8
  push %rcx
  .cfi_adjust_cfa_offset 8
  push %r8
  .cfi_adjust_cfa_offset 8
  push %r9
  .cfi_adjust_cfa_offset 8
  sub $136, %rsp
  .cfi_adjust_cfa_offset 136
  movaps %xmm0, (%rsp)
  movaps %xmm1, 16(%rsp)
  movaps %xmm2, 32(%rsp)
  movaps %xmm3, 48(%rsp)
  movaps %xmm4, 64(%rsp)
  movaps %xmm5, 80(%rsp)
  movaps %xmm6, 96(%rsp)
  movaps %xmm7, 112(%rsp)
  mov %eax, %edi
  call lull_resolve
  mov %rax, %r11
  movaps (%rsp), %xmm0
  movaps 16(%rsp), %xmm1
  movaps 32(%rsp), %xmm2
  movaps 48(%rsp), %xmm3
  movaps 64(%rsp), %xmm4
  movaps 80(%rsp), %xmm5
  movaps 96(%rsp), %xmm6
  movaps 112(%rsp), %xmm7
  add $136, %rsp
  .cfi_adjust_cfa_offset -136
  pop %r9
  .cfi_adjust_cfa_offset -8
  pop %r8
  .cfi_adjust_cfa_offset -8
  pop %rcx
  .cfi_adjust_cfa_offset -8
  pop %rdx
  .cfi_adjust_cfa_offset -8
  pop %rsi
  .cfi_adjust_cfa_offset -8
  pop %rdi
  .cfi_adjust_cfa_offset -8
  jmp *%r11
  .cfi_endproc
  .size lull_first_call, . - lull_first_call

#elif defined(__aarch64__)

// In: the row in w16, the driver call's arguments in their places.
  .balign 16
  .type lull_first_call, %function
lull_first_call:
  .cfi_startproc
  stp x29, x30, [sp, #-224]!
  .cfi_adjust_cfa_offset 224
  .cfi_rel_offset x29, 0
  .cfi_rel_offset x30, 8
  mov x29, sp
  stp x0, x1, [sp, #16]
  stp x2, x3, [sp, #32]
  stp x4, x5, [sp, #48]
  stp x6, x7, [sp, #64]
  str x8, [sp, #80]
  stp q0, q1, [sp, #96]
  stp q2, q3, [sp, #128]
  stp q4, q5, [sp, #160]
  stp q6, q7, [sp, #192]
  mov w0, w16
  bl lull_resolve
  mov x17, x0
  ldp x0, x1, [sp, #16]
  ldp x2, x3, [sp, #32]
  ldp x4, x5, [sp, #48]
  ldp x6, x7, [sp, #64]
  ldr x8, [sp, #80]
  ldp q0, q1, [sp, #96]
  ldp q2, q3, [sp, #128]
  ldp q4, q5, [sp, #160]
  ldp q6, q7, [sp, #192]
  ldp x29, x30, [sp], #224
  .cfi_adjust_cfa_offset -224
  .cfi_restore x29
  .cfi_restore x30
  br x17
  .cfi_endproc
  .size lull_first_call, . - lull_first_call

#endif

  .section .note.GNU-stack, "", %progbits
