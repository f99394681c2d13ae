/* A program of another C library than the shim's: it uses the loader, threads and files, and the driver's name. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void* work(void* text) { return strdup(text); }

int main(void) {
  pthread_t thread;
  void* said = NULL;
  int status = -1;
  if (pthread_create(&thread, NULL, work, "thread") != 0 || pthread_join(thread, &said) != 0) return 1;
  if (fork() == 0) _exit(7);
  if (wait(&status) < 0) return 2;
  void* next = dlsym(RTLD_NEXT, "strlen");
  void* by_default = dlsym(RTLD_DEFAULT, "strlen");
  void* missing = dlsym(RTLD_DEFAULT, "cu_no_such_function");
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  printf("%s %d %d %d %d\n", (char*)said, WEXITSTATUS(status), next == (void*)strlen && by_default == (void*)strlen,
         missing == NULL, driver == NULL);
  unsigned long long at = 0;
  int (*alloc)(unsigned long long*, size_t) =
      (int (*)(unsigned long long*, size_t))dlsym(RTLD_DEFAULT, "cuMemAlloc_v2");
  fprintf(stderr, "cuMemAlloc %d\n", alloc ? alloc(&at, 1) : -1);
  return 3;
}
