// shim/glibc.h: included ahead of every file of the shim, so that it loads where glibc is 2.28.
//
// A function that glibc has given a newer version is bound to its oldest one. What 2.28 does not have at all must not
// be used; tests/interpose checks the library. Met so far: gettid, close_range, pidfd_open (use syscall()), stat, fstat
// and lstat (use statx), pthread_cond_clockwait, pthread_mutex_clocklock, arc4random, strerrorname_np.
#pragma once

#if defined(__x86_64__)
#define LULL_GLIBC_OLDEST "GLIBC_2.2.5"
#define LULL_GLIBC_2_3_3 "GLIBC_2.3.3"
#define LULL_GLIBC_2_12 "GLIBC_2.12"
#elif defined(__aarch64__)
#define LULL_GLIBC_OLDEST "GLIBC_2.17"
#define LULL_GLIBC_2_3_3 "GLIBC_2.17"
#define LULL_GLIBC_2_12 "GLIBC_2.17"
#endif

#define LULL_BIND(function, version) asm(".symver " #function ", " #function "@" version);

LULL_BIND(dladdr, LULL_GLIBC_OLDEST)
LULL_BIND(dlclose, LULL_GLIBC_OLDEST)
LULL_BIND(dlerror, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_attr_setstacksize, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_create, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_detach, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_getattr_np, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_getspecific, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_join, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_key_create, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_key_delete, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_kill, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_mutex_trylock, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_once, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_setspecific, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_sigmask, LULL_GLIBC_OLDEST)
LULL_BIND(sem_post, LULL_GLIBC_OLDEST)
LULL_BIND(sem_timedwait, LULL_GLIBC_OLDEST)
LULL_BIND(sem_wait, LULL_GLIBC_OLDEST)
LULL_BIND(pthread_condattr_setclock, LULL_GLIBC_2_3_3)
LULL_BIND(pthread_setname_np, LULL_GLIBC_2_12)

#undef LULL_BIND
