// Every function of the driver API: returns CUDA_SUCCESS and does nothing else. Weak, so that answers.cpp can say more.
  .section .note.GNU-stack, "", %progbits
  .text
null_success:
#if defined(__x86_64__)
  xorl %eax, %eax
  ret
#elif defined(__aarch64__)
  mov w0, #0
  ret
#else
#error "no null driver for this processor"
#endif

#define HOOK(symbol, ...) .weak symbol; .type symbol, %function; .set symbol, null_success;
#include "shim/hooks.def"
