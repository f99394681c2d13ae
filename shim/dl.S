// shim/dl.S: dlsym, dlvsym, dlopen and dlmopen as other libraries see them.
//
// Each asks its route function (dl.cpp) and then either returns an answer or jumps to the real function with stack and
// arguments as they came: glibc looks at the return address to learn who asks (RTLD_NEXT, RUNPATH, namespaces).

#ifdef __CET__
#include <cet.h>
#else
#define _CET_ENDBR
#endif

.macro export symbol
  .text
  .balign 16
  .globl \symbol
  .type \symbol, %function
\symbol:
  .cfi_startproc
.endm

.macro end symbol
  .cfi_endproc
  .size \symbol, . - \symbol
.endm

#if defined(__x86_64__)

.macro save_arguments
  _CET_ENDBR
  push %rdi
  .cfi_adjust_cfa_offset 8
  push %rsi
  .cfi_adjust_cfa_offset 8
  push %rdx
  .cfi_adjust_cfa_offset 8
.endm

.macro restore_arguments
  pop %rdx
  .cfi_adjust_cfa_offset -8
  pop %rsi
  .cfi_adjust_cfa_offset -8
  pop %rdi
  .cfi_adjust_cfa_offset -8
.endm

// The route is {rax: answer, rdx: next}.
.macro answer_or_jump symbol, route
  export \symbol
  save_arguments
  call \route
  mov %rdx, %r11
  restore_arguments
  test %rax, %rax
  jnz 1f
  jmp *%r11
1:
  ret
  end \symbol
.endm

  answer_or_jump dlsym, lull_route_dlsym
  answer_or_jump dlvsym, lull_route_dlvsym

  export dlopen
  save_arguments
  call lull_route_dlopen        // {rax: mode, rdx: next}
  mov %rdx, %r11
  restore_arguments
  mov %eax, %esi
  jmp *%r11
  end dlopen

  export dlmopen
  save_arguments
  call lull_route_dlmopen       // rax: next
  mov %rax, %r11
  restore_arguments
  jmp *%r11
  end dlmopen

#elif defined(__aarch64__)

.macro save_arguments
  hint #34                      // bti c
  stp x29, x30, [sp, #-48]!
  .cfi_adjust_cfa_offset 48
  .cfi_rel_offset x29, 0
  .cfi_rel_offset x30, 8
  mov x29, sp
  stp x0, x1, [sp, #16]
  str x2, [sp, #32]
.endm

.macro restore_arguments
  ldp x0, x1, [sp, #16]
  ldr x2, [sp, #32]
  ldp x29, x30, [sp], #48
  .cfi_adjust_cfa_offset -48
  .cfi_restore x29
  .cfi_restore x30
.endm

// The route is {x0: answer, x1: next}.
.macro answer_or_jump symbol, route
  export \symbol
  save_arguments
  bl \route
  mov x16, x0
  mov x17, x1
  restore_arguments
  cbnz x16, 1f
  br x17
1:
  mov x0, x16
  ret
  end \symbol
.endm

  answer_or_jump dlsym, lull_route_dlsym
  answer_or_jump dlvsym, lull_route_dlvsym

  export dlopen
  save_arguments
  bl lull_route_dlopen          // {x0: mode, x1: next}
  mov x16, x0
  mov x17, x1
  restore_arguments
  mov w1, w16
  br x17
  end dlopen

  export dlmopen
  save_arguments
  bl lull_route_dlmopen         // x0: next
  mov x17, x0
  restore_arguments
  br x17
  end dlmopen

#else
#error "no loader stubs for this processor"
#endif

  .section .note.GNU-stack, "", %progbits
