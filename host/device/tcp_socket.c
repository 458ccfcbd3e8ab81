#include "tcp_socket.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static fgsm_status gone(const char *who, ssize_t got) {
  return FG_FAIL(DEVICE, "%s is gone: %s", who, got < 0 ? strerror(errno) : "it ended");
}

fgsm_status fg_tcp_send(int socket, const void *x, size_t bytes, const char *who) {
  for (size_t at = 0; at < bytes;) {
    ssize_t got = send(socket, (const char *)x + at, bytes - at, MSG_NOSIGNAL);
    if (got < 0 && errno != EINTR)
      return gone(who, got);
    at += got > 0 ? (size_t)got : 0;
  }
  return FGSM_OK;
}

fgsm_status fg_tcp_receive(int socket, void *x, size_t bytes, const char *who) {
  for (size_t at = 0; at < bytes;) {
    ssize_t got = recv(socket, (char *)x + at, bytes - at, 0);
    if (got == 0 || (got < 0 && errno != EINTR))
      return gone(who, got);
    at += got > 0 ? (size_t)got : 0;
  }
  return FGSM_OK;
}

/* Numbers are small and waited for, and a machine that is gone is noticed within minutes. */
static int prepared(int socket) {
  const int yes = 1, idle = 60, probes = 4;
  if (socket < 0)
    return socket;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  return socket;
}

fgsm_status fg_tcp_listen(int port, bool loopback, int *out) {
  const int yes = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  at.sin_addr.s_addr = htonl(loopback ? INADDR_LOOPBACK : INADDR_ANY);
  int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s >= 0)
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (s < 0 || bind(s, (const struct sockaddr *)&at, sizeof at) != 0 || listen(s, SOMAXCONN) != 0) {
    fgsm_status status = FG_FAIL(DEVICE,
                                 "rank 0 cannot listen at port %d: %s; set FGSM_PORT to a "
                                 "free one, the same for all ranks",
                                 port, strerror(errno));
    if (s >= 0)
      close(s);
    return status;
  }
  *out = s;
  return FGSM_OK;
}

int fg_tcp_accept(int listener) {
  struct pollfd at = {.fd = listener, .events = POLLIN};
  return poll(&at, 1, 1000) == 1 ? prepared(accept4(listener, NULL, NULL, SOCK_CLOEXEC)) : -1;
}

fgsm_status fg_tcp_connect(const char *host, int port, int *out) {
  const struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
  struct addrinfo *list;
  char service[8];
  snprintf(service, sizeof service, "%d", port);
  int code = getaddrinfo(host, service, &wanted, &list);
  *out = -1;
  if (code != 0)
    return FG_FAIL(USAGE, "MASTER_ADDR: %.200s: %s", host, gai_strerror(code));
  for (const struct addrinfo *a = list; a && *out < 0; a = a->ai_next) {
    int s = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (s >= 0 && connect(s, a->ai_addr, a->ai_addrlen) == 0)
      *out = prepared(s);
    else if (s >= 0)
      close(s);
  }
  freeaddrinfo(list);
  return FGSM_OK;
}

void fg_tcp_patience(int socket, int seconds) {
  const struct timeval most = {.tv_sec = seconds};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
}
