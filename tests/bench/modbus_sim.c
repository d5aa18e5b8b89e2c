/* Modbus/TCP units for benchmarks: fast enough never to be what is measured.
 *
 *     modbus_sim DEVICES REGISTERS
 *
 * Listens on DEVICES free ports of 127.0.0.1, prints them on one line, and serves until its standard input ends.
 * Holding and input register r of device d is d * 131 + r * 7 + t, with t one more every 100 ms. Requests may follow
 * one another without waiting. What is no such read is refused; "writes" at the end counts what should never come.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 12, MOST = 125, IN = 4096, OUT = 65536 };

struct peer {
    int socket, device, listens;
    size_t got;
    uint8_t in[IN];
};

static int registers;
static unsigned long requests, writes;
static uint8_t out[OUT];

static unsigned tick(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned)(now.tv_sec * 10 + now.tv_nsec / 100000000);
}

static void put(uint8_t *at, unsigned value)
{
    at[0] = value >> 8;
    at[1] = value;
}

static unsigned get(const uint8_t *at) { return (unsigned)at[0] << 8 | at[1]; }

/* One reply to one request; its length. */
static size_t answer(const uint8_t *asked, int device, unsigned now, uint8_t *reply)
{
    unsigned function = asked[7], first = get(asked + 8), count = get(asked + 10);
    memcpy(reply, asked, 4);
    reply[6] = asked[6];
    requests++;
    if (function == 5 || function == 6 || function == 15 || function == 16)
        writes++;
    unsigned code = function != 3 && function != 4 ? 1 : count < 1 || count > MOST ? 3 : first + count > (unsigned)registers ? 2 : 0;
    if (code) {
        put(reply + 4, 3);
        reply[7] = function | 0x80;
        reply[8] = code;
        return 9;
    }
    put(reply + 4, 3 + 2 * count);
    reply[7] = function;
    reply[8] = 2 * count;
    for (unsigned at = 0; at < count; at++)
        put(reply + 9 + 2 * at, device * 131u + (first + at) * 7 + now);
    return 9 + 2 * count;
}

/* Reads what came, answers all whole requests in one go; 0 where the peer is to be dropped. */
static int serve(struct peer *peer)
{
    ssize_t more = recv(peer->socket, peer->in + peer->got, IN - peer->got, 0);
    if (more <= 0)
        return more < 0 && errno == EAGAIN;
    peer->got += more;
    size_t at = 0, size = 0;
    unsigned now = tick();
    while (peer->got - at >= REQUEST && size + 260 <= OUT) {
        if (get(peer->in + at + 4) != REQUEST - 6)
            return 0;
        size += answer(peer->in + at, peer->device, now, out + size);
        at += REQUEST;
    }
    memmove(peer->in, peer->in + at, peer->got - at);
    peer->got -= at;
    /* Replies are small beside a socket's buffer: what does not fit at once is a peer that does not read. */
    return size == 0 || send(peer->socket, out, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static void watch(int epoll, struct peer *peer)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, peer->socket, &event))
        perror("epoll"), exit(1);
}

static struct peer *joined(int socket, int device, int listens)
{
    struct peer *peer = calloc(1, sizeof *peer);
    peer->socket = socket;
    peer->device = device;
    peer->listens = listens;
    return peer;
}

int main(int argc, char **argv)
{
    int devices = argc > 1 ? atoi(argv[1]) : 20, epoll = epoll_create1(0), one = 1;
    registers = argc > 2 ? atoi(argv[2]) : 500;
    for (int device = 0; device < devices; device++) {
        struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof place;
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (bind(listener, (void *)&place, length) || listen(listener, 64) || getsockname(listener, (void *)&place, &length))
            perror("listen"), exit(1);
        printf("%d%c", ntohs(place.sin_port), device + 1 < devices ? ' ' : '\n');
        watch(epoll, joined(listener, device, 1));
    }
    fflush(stdout);
    watch(epoll, joined(STDIN_FILENO, -1, 0));
    for (;;) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, -1);
        for (int at = 0; at < ready; at++) {
            struct peer *peer = events[at].data.ptr;
            if (peer->device < 0) {
                fprintf(stderr, "requests %lu writes %lu\n", requests, writes);
                return 0;
            }
            if (peer->listens) {
                int caller = accept4(peer->socket, NULL, NULL, SOCK_NONBLOCK);
                if (caller >= 0) {
                    setsockopt(caller, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    watch(epoll, joined(caller, peer->device, 0));
                }
            } else if (!serve(peer)) {
                close(peer->socket);
                free(peer);
            }
        }
    }
}
