/* Sockets that ranks speak through: whole messages or a failure. Signals interrupt no transfer. */
#ifndef FG_TCP_SOCKET_H
#define FG_TCP_SOCKET_H

#include <stddef.h>

#include "base.h"

/* All functions name the other side `who` in what they say. FGSM_DEVICE for a side that is gone. */
fgsm_status fg_tcp_send(int socket, const void *x, size_t bytes, const char *who) FGSM_MUST_USE;
fgsm_status fg_tcp_receive(int socket, void *x, size_t bytes, const char *who) FGSM_MUST_USE;

/* A socket that listens at the port, on this machine's loopback alone or on all its addresses. */
fgsm_status fg_tcp_listen(int port, bool loopback, int *out) FGSM_MUST_USE;
/* The next that connects, -1 if none does within a second. */
int fg_tcp_accept(int listener);
/* One try to reach the host's port; -1: nobody answers there yet. */
fgsm_status fg_tcp_connect(const char *host, int port, int *out) FGSM_MUST_USE;
/* What is received within so many seconds, or not; 0: however long it takes. */
void fg_tcp_patience(int socket, int seconds);

#endif
