/* lull_soon.h: tells Lull that this service will be asked soon, so that its GPU memory is there when the request comes.
 *
 *   lull_soon(NULL, "30s");        from the service itself
 *   lull_soon("faces", "30s");     for the tenant of that name; who reaches its class may say so
 *
 * Returns 0 when it was said, else -1: no broker, or not permitted; nothing else happens then. It never blocks. */
#ifndef LULL_SOON_H
#define LULL_SOON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static inline int lull_soon_at(const char* path, const char* text) {
  struct sockaddr_un address;
  int fd, sent = -1;
  if (strlen(path) >= sizeof(address.sun_path)) return -1;
  memset(&address, 0, sizeof(address));
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, path);
  fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (sendto(fd, text, strlen(text), MSG_DONTWAIT, (const struct sockaddr*)&address, sizeof(address)) >= 0) sent = 0;
  close(fd);
  return sent;
}

static inline int lull_soon(const char* tenant, const char* lasts) {
  static const char* const places[] = {"", "/inference/socket",
                                       "/interactive/socket"}; /* a container has one mounted */
  const char* chosen = getenv("LULL_RUNTIME_DIR");
  char path[128], text[128];
  int length = snprintf(text, sizeof(text), "%s%s%s", tenant ? tenant : "", tenant ? " " : "", lasts ? lasts : "30s");
  int said = -1;
  unsigned i;
  if (length < 0 || (size_t)length >= sizeof(text)) return -1;
  for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
    length = snprintf(path, sizeof(path), "%s%s/soon", chosen && *chosen ? chosen : "/run/lull", places[i]);
    if (length > 0 && (size_t)length < sizeof(path) && lull_soon_at(path, text) == 0) said = 0;
  }
  return said;
}

#endif
